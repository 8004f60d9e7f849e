"""The connection database: who owns a flow, whatever comes in whatever order."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from depot.address import Endpoint, FlowKey, Protocol, parse_endpoint
from depot.cluster.database import Changes, ConnectionDatabase, OwnConnections
from depot.cluster.wire import AddressFamily, ConnectionAction, ConnectionRun, encode_connection, key_of

FORWARD, BYPASS = ConnectionAction.FORWARD, ConnectionAction.BYPASS
SERVER = parse_endpoint("192.0.2.10:80")
V6_SERVER = parse_endpoint("[2001:db8::80]:80")


def flow(number: int, protocol: Protocol = Protocol.TCP) -> FlowKey:
    return FlowKey.between(Endpoint(0xFFFF << 32 | 0x0A000000 + number, 4000), SERVER, protocol)


def v6_flow(number: int) -> FlowKey:
    return FlowKey.between(Endpoint(0x20010DB8 << 96 | number, 4000), V6_SERVER, Protocol.TCP)


X, Y, Z = flow(1), flow(2), v6_flow(3)


def message(
    installs: bool, which: FlowKey, action: ConnectionAction = FORWARD, source_is_hi: bool = False
) -> ConnectionRun:
    data = encode_connection(installs, action, key_of(which), source_is_hi)
    return ConnectionRun(AddressFamily.IPV4 if len(data) == 16 else AddressFamily.IPV6, data)


def together(*messages: ConnectionRun) -> ConnectionRun:
    return ConnectionRun(messages[0].family, b"".join(run.data for run in messages))


def flows(keys: Iterable[bytes]) -> set[bytes]:
    return set(keys)


def owner(database: ConnectionDatabase, which: FlowKey) -> str | None:
    claim = database.lookup(which)
    return None if claim is None else claim.owner


def test_what_was_announced_is_found() -> None:
    database = ConnectionDatabase()
    assert database.lookup(X) is None
    changes = database.apply("a", message(True, X, BYPASS, True), 7.0)
    assert (flows(changes.learnt), flows(changes.forgotten), changes.unknown) == ({key_of(X)}, set(), 0)
    claim = database.lookup(X)
    assert claim is not None
    assert (claim.flow, claim.owner, claim.action, claim.source_is_hi) == (X, "a", BYPASS, True)
    assert abs(claim.since - 7.0) <= 1 / 8
    assert list(database.claims("a")) == [claim]
    assert list(database.claims("b")) == []


def test_families_and_protocols_are_kept_apart() -> None:
    database = ConnectionDatabase()
    database.apply("a", message(True, Z), 1.0)
    database.apply("b", message(True, flow(1, Protocol.UDP)), 1.0)
    assert owner(database, Z) == "a"
    assert owner(database, flow(1, Protocol.UDP)) == "b"
    assert owner(database, X) is None
    assert database.lookup(X._replace(protocol=1)) is None


def test_one_flow_has_one_key_however_it_is_sent() -> None:
    database = ConnectionDatabase()
    database.apply("a", message(True, X, source_is_hi=False), 1.0)
    changes = database.apply("a", message(False, X, source_is_hi=True), 2.0)
    assert flows(changes.forgotten) == {key_of(X)}
    mapped = bytes.fromhex("01010606") + X.port_lo.to_bytes(2, "big") + X.port_hi.to_bytes(2, "big")
    mapped += X.addr_lo.to_bytes(16, "big") + X.addr_hi.to_bytes(16, "big")
    database.apply("a", ConnectionRun(AddressFamily.IPV6, mapped), 3.0)
    assert owner(database, X) == "a"
    database.apply("a", message(False, X), 4.0)
    assert len(database) == 0


def test_an_install_again_replaces_the_first() -> None:
    database = ConnectionDatabase()
    database.apply("a", message(True, X, FORWARD), 1.0)
    database.apply("a", message(True, X, BYPASS), 5.0)
    claim = database.lookup(X)
    assert claim is not None
    assert claim.action is BYPASS
    assert claim.since >= 4.5
    assert database.count("a") == 1
    assert database.apply("a", message(False, X, FORWARD), 6.0).unknown == 0, "whatever the action"
    assert database.lookup(X) is None


def test_a_remove_of_what_is_not_there() -> None:
    database = ConnectionDatabase()
    changes = database.apply("a", message(False, X), 1.0)
    assert (list(changes.learnt), list(changes.forgotten), changes.unknown) == ([], [], 1)


def test_the_last_install_wins_and_others_do_not_remove_it() -> None:
    for seconds in (0.0, 10.0):
        database = ConnectionDatabase()
        database.apply("b", message(True, X), 1.0)
        database.apply("a", message(True, X), 1.0 + seconds)
        assert owner(database, X) == "a"
        database.apply("b", message(False, X), 1.0 + 2 * seconds)
        assert owner(database, X) == "a"
        database.apply("b", message(True, X), 1.0 + 3 * seconds)
        assert owner(database, X) == "b"
        database.apply("b", message(False, X), 1.0 + 4 * seconds)
        assert owner(database, X) == "a", "its claim never ended"
        database.drop("a")
        assert owner(database, X) is None


def test_a_clock_that_goes_back_changes_no_order() -> None:
    database = ConnectionDatabase()
    database.apply("a", message(True, X), 1000.0)
    database.apply("b", message(True, X), 1.0)
    assert owner(database, X) == "b"


def test_a_batch_tells_how_it_ended() -> None:
    database = ConnectionDatabase()
    install, remove = message(True, X), message(False, X)
    changes = database.apply("a", together(install, remove), 1.0)
    assert (flows(changes.learnt), flows(changes.forgotten)) == (set(), {key_of(X)})
    changes = database.apply("a", together(install, remove, message(True, Y), install), 1.0)
    assert (flows(changes.learnt), flows(changes.forgotten)) == ({key_of(X), key_of(Y)}, set())
    assert owner(database, X) == owner(database, Y) == "a"


def test_a_table_sent_again_replaces_the_old_one_at_its_end() -> None:
    database = ConnectionDatabase()
    database.apply("a", together(message(True, X), message(True, Y), message(True, flow(9))), 1.0)
    database.begin_sync("a")
    assert owner(database, X) == "a", "the old one counts until then"
    assert database.apply("a", message(True, X), 2.0).unknown == 0
    assert flows(database.apply("a", message(False, flow(9)), 2.0).forgotten) == {key_of(flow(9))}
    database.begin_sync("a")  # broke, and again
    assert database.count("a") == 2
    database.apply("a", message(True, X), 3.0)
    changes = database.end_sync("a")
    assert flows(changes.forgotten) == {key_of(Y)}
    assert (owner(database, X), owner(database, Y), database.count("a")) == ("a", None, 1)
    assert list(database.end_sync("a").forgotten) == []


def test_dropping_a_peer_tells_what_went() -> None:
    database = ConnectionDatabase()
    database.apply("a", together(message(True, X), message(True, Y)), 1.0)
    database.begin_sync("a")
    database.apply("a", message(True, X), 1.0)
    assert flows(database.drop("a").forgotten) == {key_of(X), key_of(Y)}
    assert list(database.drop("a").forgotten) == []
    assert len(database) == 0


def test_own_connections_are_told_once() -> None:
    own = OwnConnections("me")
    assert own.install(X, True, FORWARD, 1.0) == encode_connection(True, FORWARD, key_of(X), True)
    assert own.install(X, True, FORWARD, 2.0) is None
    assert own.install(X, True, BYPASS, 3.0) == encode_connection(True, BYPASS, key_of(X), True)
    assert own.install(Z, False, FORWARD, 3.0) is not None
    database = ConnectionDatabase()
    table = own.table()
    database.apply("me", ConnectionRun(AddressFamily.IPV4, table[:16]), 3.0)
    database.apply("me", ConnectionRun(AddressFamily.IPV6, table[16:]), 3.0)
    assert list(database.claims("me")) == list(own.claims())
    assert X in own
    assert own.lookup(X) == database.lookup(X)
    assert own.remove(X) == encode_connection(False, BYPASS, key_of(X), True)
    assert own.remove(X) is None
    assert own.lookup(X) is None
    assert own.table() == table[16:]
    assert len(own) == 1


ENTRIES = 20_000


def batches(installs: bool, first: int, size: int) -> Iterator[ConnectionRun]:
    """Messages about ENTRIES flows, so many at a time."""
    for number in range(first, first + ENTRIES, size):
        keys = [key_of(flow(each)) for each in range(number, number + size)]
        messages = [encode_connection(installs, FORWARD, key, False) for key in keys]
        yield ConnectionRun(AddressFamily.IPV4, b"".join(messages))


@pytest.mark.parametrize("size", [4, 1000])
def test_what_an_entry_costs(size: int) -> None:
    """20 members with 20 000 connections of two entries each in 80 MB are 100 bytes an entry, however they come."""
    tracemalloc.start()
    database = ConnectionDatabase()
    for number, batch in enumerate(batches(True, 1, size)):
        database.apply("a", batch, number * size / 10_000)
    del batch
    fresh = tracemalloc.get_traced_memory()[0]
    for number, (ends, begins) in enumerate(
        zip(batches(False, 1, size), batches(True, 1 + ENTRIES, size), strict=True)
    ):
        database.apply("a", together(ends, begins), 2 + number * size / 10_000)
    del ends, begins
    later = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(database) == ENTRIES
    assert owner(database, flow(ENTRIES)) is None
    assert owner(database, flow(ENTRIES + 1)) == owner(database, flow(2 * ENTRIES)) == "a"
    assert max(fresh, later) <= ENTRIES * 100


PEERS = ("a", "b", "c")
FLOWS = [flow(n) for n in range(4)] + [v6_flow(n) for n in range(2)]


class AgainstTheSimplestModel(RuleBasedStateMachine):
    """The database beside dictionaries of claims with the number of their announcement."""

    def __init__(self) -> None:
        super().__init__()
        self.database = ConnectionDatabase()
        self.now = 0.0
        self.number = 0
        self.claims: dict[tuple[str, FlowKey], int] = {}
        self.old: set[tuple[str, FlowKey]] = set()
        self.told: set[tuple[str, bytes]] = set()

    def tell(self, peer: str, changes: Changes) -> None:
        self.told -= {(peer, key) for key in changes.forgotten}
        self.told |= {(peer, key) for key in changes.learnt}

    @rule(
        peer=st.sampled_from(PEERS),
        batch=st.lists(st.tuples(st.booleans(), st.sampled_from(FLOWS), st.booleans()), max_size=6),
        seconds=st.sampled_from([0.0, 0.0, 0.05, 1.0]),
    )
    def messages(self, peer: str, batch: list[tuple[bool, FlowKey, bool]], seconds: float) -> None:
        self.now += seconds
        for is_ipv6 in (False, True):
            chosen = [entry for entry in batch if (entry[1] in FLOWS[4:]) is is_ipv6]
            if not chosen:
                continue
            self.number += 1
            for installs, which, _ in chosen:
                self.old.discard((peer, which))
                if installs:
                    self.claims[peer, which] = self.number
                else:
                    self.claims.pop((peer, which), None)
            run = together(*[message(installs, which, FORWARD, hi) for installs, which, hi in chosen])
            self.tell(peer, self.database.apply(peer, run, self.now))

    @rule(peer=st.sampled_from(PEERS))
    def begin(self, peer: str) -> None:
        self.old |= {entry for entry in self.claims if entry[0] == peer}
        self.database.begin_sync(peer)

    @rule(peer=st.sampled_from(PEERS))
    def end(self, peer: str) -> None:
        for entry in [entry for entry in self.old if entry[0] == peer]:
            del self.claims[entry]
            self.old.discard(entry)
        self.tell(peer, self.database.end_sync(peer))

    @rule(peer=st.sampled_from(PEERS))
    def drop(self, peer: str) -> None:
        self.claims = {entry: number for entry, number in self.claims.items() if entry[0] != peer}
        self.old = {entry for entry in self.old if entry[0] != peer}
        self.tell(peer, self.database.drop(peer))

    @invariant()
    def equal(self) -> None:
        for which in FLOWS:
            claims = [(number, peer) for (peer, claimed), number in self.claims.items() if claimed == which]
            assert owner(self.database, which) == (max(claims)[1] if claims else None)
        for peer in PEERS:
            assert {claim.flow for claim in self.database.claims(peer)} == {f for p, f in self.claims if p == peer}
        assert self.told == {(peer, key_of(which)) for peer, which in self.claims}
        assert len(self.database) == len(self.claims)


AgainstTheSimplestModel.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestAgainstTheSimplestModel = AgainstTheSimplestModel.TestCase


def test_a_peer_has_room_for_as_many_as_its_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last that came find none; what is there can be announced again, and what ends makes room."""
    monkeypatch.setattr("depot.cluster.database.MOST_CONNECTIONS", 3)
    database = ConnectionDatabase()
    changes = database.apply("a", together(*(message(True, flow(number)) for number in range(5))), 1.0)
    assert (len(changes.learnt), changes.refused) == (3, 2)
    assert database.count("a") == 3
    assert owner(database, flow(4)) is None
    again = database.apply("a", message(True, flow(0), BYPASS), 2.0)
    assert (list(again.learnt), again.refused) == ([key_of(flow(0))], 0)
    database.apply("a", message(False, flow(1)), 3.0)
    assert database.apply("a", message(True, flow(4)), 4.0).refused == 0
    assert owner(database, flow(4)) == "a"
