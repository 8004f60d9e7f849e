"""The proxy cluster at the seed's size, real members with their real channels over loopback: how long a 21st takes to
join, what one member hears and says in the seed's worst case, how much it can hear, and the memory of its database.

Nothing but the switch is missing in a member: what peers say goes through the depot's whole reaction. The load comes
from another process, on the other core, which is nineteen peers with 20 000 requests each: whenever one ends, the
next begins. As in the seed (2.3, 3) a request is two connections, so it makes four messages of 16 bytes to each peer.

Where the member's time goes in the worst case (py-spy): 43 % database, a fifth of it for copies of dicts that have
become too large; 8 % the rest of the core, 12 % reads, 10 % waiting for them, 9 % telling the depot, 14 % its own
requests. When it still settled after each read, 35 % went there, and it made half as many passes of its loop in a
second. With 64 KiB in each read instead of a few messages, all that is not database is a quarter.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from bench.cluster_load import Account, Helper, Place, free_ports, helper, replay, serve
from bench.harness import AtLeast, AtMost, Reference, Row, publish
from depot.cluster.certificates_shell import issue

COMMAND = "make bench NAME=cluster"
MEMBERS = 20
REQUESTS = 20_000
"""Under way at each member (seed 000, 3)."""
CONNECTIONS = 20_000
"""Of each member where another joins."""
RATE = 2_000
"""Requests per second and member (seed 000, 3)."""
PEERS = MEMBERS - 1
HIGH_RATE = 4_500
"""342 000 messages per second."""
WORST_CASE = PEERS * RATE * 4
"""Messages per second that a member hears then: two connections of each request, installed and removed."""
MBITS = PEERS * RATE * 4 * 16 * 8 / 1e6
"""Mbit/s that it says, 19.456: the seed's "roughly 19.5"."""
SEGMENT_HEADERS = 20 + 20 + 12
"""Bytes of IPv4, TCP and its timestamps."""
WINDOW = 2.0
"""Seconds of a measurement."""
WINDOWS = 3
WARM_UP = 1.0
"""Seconds of load before."""
SIZES = (5_000, 10_000, REQUESTS, 22_000)
"""Requests of each member whose memory is measured; at the last one the tables have just doubled."""

Window = tuple[Account, Account]
"""A member before and after."""


@dataclass(frozen=True, slots=True)
class Join:
    """A cluster that forms, and one more that joins it, seconds."""

    formed: float
    """Until all of the first know all of each other."""
    joined: float
    """Until the last one knows all, and all of the first know the last one."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a member's process has grown by, bytes."""

    entries: int
    """Own connections and those of all peers."""
    joined: int
    """When it has just heard of all of them."""
    churned: int
    """When as many have ended and others begun."""


def all_cores() -> list[int]:
    """Where this process may run."""
    return sorted(os.sched_getaffinity(0))


def join(folder: Path | None, members: int = MEMBERS, connections: int = CONNECTIONS) -> Join:
    """Form a cluster, let one more join; `folder`: everybody's certificates, None: plain TCP."""
    ports = free_ports(members + 1)
    with ExitStack() as stack:
        cluster = [
            stack.enter_context(helper(all_cores(), serve, Place(ports, number, connections // 2, folder)))
            for number in range(members + 1)
        ]
        for member in cluster:
            member.tell(("own", 0))
        formed = _all_know(cluster[:-1], cluster[:-1], (members - 1) * connections)
        joined = _all_know(cluster, cluster[-1:], members * connections)
    return Join(formed, joined)


def _all_know(members: Sequence[Helper], starting: Sequence[Helper], entries: int) -> float:
    """Seconds from the start of some to the moment when all know so many entries of peers."""
    for member in members:
        member.tell(("know", entries))
    begun = time.monotonic()
    for member in starting:
        member.tell(("start", 0))
    return float(max(member.answer() for member in members)) - begun


@contextmanager
def loaded(requests: int) -> Iterator[tuple[Helper, Helper, Account]]:
    """A member with its replayed peers, so many requests of each: both, and the account of the member before all."""
    cores = all_cores()
    ports = free_ports(MEMBERS)
    with (
        helper(cores[:1], serve, Place(ports, PEERS, requests)) as member,
        helper(cores[-1:], replay, range(PEERS), requests, ports[PEERS]) as peers,
    ):
        before = account(member)
        member.tell(("own", 0))
        member.tell(("know", PEERS * requests * 2))
        member.tell(("start", 0))
        peers.tell("join")
        member.answer()
        yield member, peers, before


def account(member: Helper) -> Account:
    """A member's account now."""
    member.tell(("account", 0))
    found = member.answer()
    if not isinstance(found, Account):
        raise SystemExit(f"a member answered {found}")
    return found


def windows(member: Helper, peers: Helper, rate: int | None) -> list[Window]:
    """Accounts before and after each window under a load: requests per second of each peer, None: what TCP takes."""
    peers.tell(rate)
    time.sleep(WARM_UP)
    accounts = [account(member)]
    for _ in range(WINDOWS):
        time.sleep(WINDOW)
        accounts.append(account(member))
    return list(pairwise(accounts))


def heard(window: Window) -> float:
    """Messages per second."""
    before, after = window
    return (after.messages - before.messages) / (after.at - before.at)


def said(window: Window, headers: int = 0) -> float:
    """Mbit/s, with so many bytes of headers for each segment."""
    before, after = window
    sent = after.bytes_sent - before.bytes_sent + headers * (after.segments_sent - before.segments_sent)
    return sent * 8e-6 / (after.at - before.at)


def memory(requests: int) -> Memory:
    """Of a member in a cluster where each has so many requests."""
    with loaded(requests) as (member, peers, before):
        time.sleep(WARM_UP)
        joined = account(member)
        entries = MEMBERS * requests * 2
        member.tell(("requests", RATE))
        peers.tell(HIGH_RATE)
        while account(member).messages - joined.messages < 2 * entries:
            time.sleep(0.1)
        peers.tell(0.0)
        time.sleep(WARM_UP)
        after = account(member)
    return Memory(entries, joined.resident - before.resident, after.resident - before.resident)


def join_rows(plain: Join, encrypted: Join) -> list[Row]:
    """How long a cluster takes to know all."""
    size = f"{MEMBERS} members with {CONNECTIONS} connections each"
    rows = []
    for how, measured in (("", plain), (", TLS", encrypted)):
        rows.append(Row(f"a 21st joins {size}{how}", measured.joined, "s", COMMAND, target=AtMost(10)))
        rows.append(Row(f"{size} start at once{how}", measured.formed, "s", COMMAND))
    return rows


def load_rows(loads: Mapping[int | None, Sequence[Window]]) -> list[Row]:
    """What a member hears, by requests per second of each peer, while its own are those of the seed's worst case."""
    reference = Reference("the seed's worst case", WORST_CASE)
    rows = []
    for rate, measured in loads.items():
        rates = [heard(window) for window in measured]
        spread = (max(rates) - min(rates)) / 2
        what = "as fast as TCP takes it" if rate is None else f"{rate} requests/s of each peer, as they come"
        target = AtLeast(0.99, of_reference=True) if rate == RATE else AtLeast(300_000)
        rows.append(Row(f"heard, {what}", median(rates), "messages/s", COMMAND, reference, target, spread))
    return rows


def wire_rows(measured: Sequence[Window]) -> list[Row]:
    """What a member says in the seed's worst case."""
    speed = median(said(window) for window in measured)
    whole = median(said(window, SEGMENT_HEADERS) for window in measured)
    seed = Reference("the seed", MBITS)
    return [
        Row(f"said to {PEERS} peers at {RATE} requests/s", speed, "Mbit/s", COMMAND, seed),
        Row("that with headers of TCP and IP", whole, "Mbit/s", COMMAND, seed),
        Row("distance of what is said from the seed's", abs(speed / MBITS - 1) * 100, "%", COMMAND, target=AtMost(5)),
    ]


def memory_rows(measured: Sequence[Memory]) -> list[Row]:
    """The growth of a member's process by its connections."""
    rows = []
    for one in measured:
        target = AtMost(80) if one.entries == MEMBERS * REQUESTS * 2 else None
        for when, value in (("just heard of", one.joined), ("after as many ends and beginnings", one.churned)):
            reference = Reference("the seed's 32 bytes each", one.entries * 32e-6)
            rows.append(Row(f"{one.entries} connections, {when}", value / 1e6, "MB", COMMAND, reference, target))
    return rows


def main() -> None:
    """Measure and publish."""
    with tempfile.TemporaryDirectory(prefix="depot-bench-") as scratch:
        folder = Path(scratch)
        issue(folder, [f"m{number:02}" for number in range(MEMBERS + 1)])
        joins = join(None), join(folder)
    loads: dict[int | None, Sequence[Window]] = {}
    with loaded(REQUESTS) as (member, peers, _):
        member.tell(("requests", RATE))
        for rate in (RATE, HIGH_RATE, None):
            loads[rate] = windows(member, peers, rate)
    rows = join_rows(*joins) + load_rows(loads) + wire_rows(loads[RATE])
    publish(__file__, "The proxy cluster at the seed's size", [*rows, *memory_rows([memory(size) for size in SIZES])])


if __name__ == "__main__":
    main()
