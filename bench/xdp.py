"""Nanoseconds that the XDP engine needs for a packet of the depot's program: of an established session and of a new
one, with one session known and with a million, beside a bare XDP_TX and beside Katran.

By BPF_PROG_TEST_RUN over frames that are put back for every packet (`bench.rewinding`), on one core. A value is what
the program adds to its reference "bare", which is putting the frame back and an XDP_TX; both together are what
the kernel says of a packet. Frames are of 64 bytes with IPv4, of 84 with IPv6. The digests of new sessions are taken
between the rounds.

Where the time goes, found by ending copies of the generated C after one step or the next, measured in turns. Of an
established NAT packet's 109 to 112 ns: 11 until the parser, 12 parsing, 6 the IPv4 checksum; tables: 12 whether the
packet is for us, 8 the member's way back, 16 the connection, 9 the member, the route with 16 to 22 by a binary search
among intervals, and the neighbour with 12; the headers are written in 10. All but the route and the sum was measured
when prefixes were in bit vectors and a packet took 120 to 127.
Katran, 101, has two lookups for the same packet, of fixed purpose. Among a million sessions a packet waits for memory
once and a half: for its bucket of the table's index (8 MB, partly in the shared cache) and then for its row (128
bytes of 134 MB); the last row says what one such wait costs on the machine at the time, and that alone is more than
all the work on a packet of one flow. A new session's packet waits for its set in the flow cache (2 MB); while a
million are known, for the bucket where it is not found too. Of the rest, the digest is 20 ns, the clock 20, the
registers' locks 20.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType

from ptf_tests.case import Step
from ptf_tests.library_target import LibraryTarget, table_entry
from ptf_tests.network import CLIENT, MEMBER_1, NETWORK, PORTS, STRANGER, Host
from ptf_tests.services import Service, Session

from bench import katran
from bench.harness import AtMost, Reference, Row, publish
from bench.rewinding import Frames, Load, RandomRead, Rewinder, Timing
from depot.program import find_compiled_program
from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.engine import XdpEngine
from softswitch.entities import Exact, TableKey

COMMAND = "make bench NAME=xdp"
UNIT = "ns/packet"
FLOWS = 1 << 20
"""A million, as a power of two."""
LINES = 1 << 21
"""Lines of 64 bytes, as many as a million sessions take."""
NEW_FLOWS = 1 << 24
"""More than are sent: each SYN is of a session of its own."""
NEW_IN_A_ROUND = 15_000
"""With those of all rounds most find a free slot in the flow cache; their digests fit into the ring buffer, so none is
lost however slow its consumer is."""
CONTENTION = 1.1
"""Seconds after which the flow cache gives a session's slot to another one (FLOW_CACHE_CONTENTION)."""
TUNNEL = "IP-in-IP (IPv4)"
KNOWN_CLIENT = STRANGER
"""Behind a router, so that the switch has no neighbours to know for all who are behind it."""
PAYLOAD = b"0123456789"
PATIENCE = 20.0
_LOOPBACK = 1
_IPV4_MAPPED = 0xFFFF << 32


@dataclass(frozen=True, slots=True)
class Way:
    """What happens to packets of an established session."""

    what: str
    mode: str
    limit: int
    """Nanoseconds, on one flow."""
    back: bool = False

    def packet(self, session: Session) -> tuple[int, bytes]:
        """Where a packet of the session arrives, and the packet."""
        if self.back:
            return MEMBER_1.port, session.reply(0, payload=PAYLOAD)
        return KNOWN_CLIENT.port, session.request(payload=PAYLOAD)

    def result(self, session: Session) -> tuple[int, bytes]:
        """Where it leaves, and as what."""
        return session.returned(payload=PAYLOAD) if self.back else session.delivered(0, payload=PAYLOAD)


WAYS = (
    Way("NAT", "nat", 120),
    Way("NAT, way back", "nat", 120, back=True),
    Way("DSR", "dsr", 120),
    Way(TUNNEL, "ipip4", 160),
    Way("IP-in-IP (IPv6)", "ipip6", 160),
)
NEW_LIMIT = 250


class Balancer:
    """The program in the kernel with one service of two members; a context manager."""

    def __init__(self, family: int) -> None:
        """Raises `EngineUnavailable`."""
        self.service = Service(family, "tcp", "nat")
        self.other = Service(family, "udp", "nat")
        """For new UDP sessions."""
        self.target = LibraryTarget(find_compiled_program(), "xdp")
        kernel = self.target.switch.kernel
        if not isinstance(kernel, XdpEngine):
            raise TypeError("this switch has no XDP engine")
        self.kernel = kernel

    def __enter__(self) -> Balancer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.target.close()

    def use(self, mode: str) -> Session:
        """Let the service reach its members in this mode; its first session, which is known."""
        session = replace(self.service, mode=mode).session(client=KNOWN_CLIENT)
        self.target.load((*NETWORK, *session.service.entries(), *self.other.entries(), session.known(0)))
        self.target.switch.flush()
        return session

    def know(self, frames: Frames) -> None:
        """Insert the session of every flow of the frames but the first, which is known."""
        session = self.use("nat")
        first = table_entry(self.target.names, session.known(0))
        low, high, client_is_high = session.endpoints
        vip = low if client_is_high else high
        fields = [field.name for field in self.target.names.tables["connection_table"].match_fields]
        insert = self.target.switch.insert
        for flow in range(1, frames.flows):
            address, port = frames.endpoint(flow)
            client = (int.from_bytes(address, "big") | (_IPV4_MAPPED if frames.is_ipv4 else 0), port)
            low, high = sorted((client, vip))
            values = {"addr_lo": low[0], "addr_hi": high[0], "port_lo": low[1], "port_hi": high[1], "protocol": 6}
            key = TableKey(first.key.table_id, tuple(Exact(values[field]) for field in fields))
            insert(replace(first, key=key))

    @contextmanager
    def arriving_at(self, port: int) -> Iterator[None]:
        """Let test runs' packets arrive at this port, and every port be the loopback interface."""
        for each in sorted(PORTS, key=lambda number: number == port):  # the last one is where packets come from
            self.kernel.connect(each, _LOOPBACK)
        try:
            yield
        finally:
            for each in PORTS:
                self.kernel.disconnect(each, _LOOPBACK)

    def time(self, frames: Frames, port: int, load: Load) -> Timing:
        """Time packets that all leave. Exits if one did not."""
        before = self.kernel.statistics()
        with self.arriving_at(port), Rewinder(frames) as rewinder:
            timing = rewinder.time(self.kernel.program, load)
        after = self.kernel.statistics()
        counted = {name: after[name] - before[name] for name in after if after[name] != before[name]}
        if set(counted) != {"packets_in", "packets_out"} or len(set(counted.values())) != 1:
            raise SystemExit(f"not every packet left, nothing to measure: {counted}")
        return timing


class Consumer:
    """Takes the digests of a round before the next one: as many as fit into the ring buffer.

    Not meanwhile: the two CPUs of a small virtual machine may be threads of one core. Every packet is to cause one.
    """

    def __init__(self, balancer: Balancer) -> None:
        self._switch, self._kernel = balancer.target.switch, balancer.kernel
        self._taken = 0
        self._before = self._packets()

    def catch_up(self) -> None:
        """Take the digest of every packet so far. Exits after `PATIENCE`."""
        expected, deadline = self._packets() - self._before, time.monotonic() + PATIENCE
        while self._taken != expected:
            if time.monotonic() > deadline:
                raise SystemExit(f"{expected} packets, {self._taken} digests: not every one was of a new session")
            self._switch.poll()
            self._taken += len(self._switch.take_digests())

    def _packets(self) -> int:
        return self._kernel.statistics()["packets_in"]


def established(balancer: Balancer, flows: int, load: Load) -> dict[str, Timing]:
    """Packets of so many flows, which are known, by what happens to them."""
    timings = {}
    for way in WAYS:
        session = balancer.use(way.mode)
        port, packet = way.packet(session)
        outcome = balancer.target.run(Step(packet, port))
        if outcome.outputs != {way.result(session): 1}:
            raise SystemExit(f"{way.what}: the session's packet does not arrive, nothing to measure")
        timings[way.what] = balancer.time(Frames(packet, flows, way.back), port, load)
    return timings


def new(balancer: Balancer, clients: Iterator[Host], load: Load) -> dict[str, Timing]:
    """Packets each of a session of its own that nobody knows, by their protocol."""
    balancer.use("nat")
    timings = {}
    for what, service, flags in (("TCP SYN", balancer.service, "S"), ("UDP", balancer.other, "")):
        frames = Frames(service.session(client=next(clients)).request(flags, payload=PAYLOAD), NEW_FLOWS)
        time.sleep(CONTENTION)
        consumer = Consumer(balancer)
        timings[what] = balancer.time(frames, CLIENT.port, replace(load, before_round=consumer.catch_up))
        consumer.catch_up()
    return timings


def new_clients() -> Iterator[Host]:
    """Hosts none of whose `NEW_FLOWS` sessions is a known one, or one of another host."""
    for number in itertools.count():
        yield Host(CLIENT.port, CLIENT.mac, f"10.0.{128 + 2 * number}.0", f"2001:db8:1::{0x8000 + 0x200 * number:x}")


@dataclass(frozen=True, slots=True)
class Measured:
    """One family's timings, each by what happens to the packets."""

    one: Mapping[str, Timing]
    """Packets of one established session, which alone is known."""
    crowded: Mapping[str, Timing]
    """The same while a million are known."""
    many: Mapping[str, Timing]
    """Packets of a million established sessions."""
    new: Mapping[str, Timing]
    """Packets of new sessions, while one is known."""
    new_crowded: Mapping[str, Timing]
    """The same while a million are known."""


def measured(family: int, rounds: int) -> Measured:
    """With one session known, then with a million."""
    load, new_load = Load(rounds=rounds), Load(NEW_IN_A_ROUND, rounds, warm_up=NEW_IN_A_ROUND)
    clients = new_clients()
    with Balancer(family) as balancer:
        one, fresh = established(balancer, 1, load), new(balancer, clients, new_load)
        balancer.know(Frames(balancer.use("nat").request(payload=PAYLOAD), FLOWS))
        crowded, many = established(balancer, 1, load), established(balancer, FLOWS, load)
        return Measured(one, crowded, many, fresh, new(balancer, clients, new_load))


def random_read(load: Load) -> Timing:
    """What a packet pays for a row that is in no cache."""
    with RandomRead(LINES) as memory, Rewinder(Frames(katran.tcp_frame())) as rewinder:
        return rewinder.time(memory.program, load)


def bare(timing: Timing) -> Reference:
    """What is there without the program."""
    return Reference("bare XDP_TX and putting the frame back", timing.rewinding)


def rows_of(family: int, measured: Measured) -> list[Row]:
    """On one flow beside nothing, on a million beside one."""
    limits = {way.what: way.limit for way in WAYS}
    twice, unslowed = AtMost(2, of_reference=True), AtMost(1.1, of_reference=True)
    made = []
    for what, timing in measured.one.items():
        title, one = f"IPv{family}, established, {what}", Reference("1 flow", timing.net)
        made.append(_row(f"{title}, 1 flow", timing, bare(timing), AtMost(limits[what])))
        made.append(_row(f"{title}, 1 flow, 1 million known", measured.crowded[what], one, unslowed))
        made.append(_row(f"{title}, 1 million flows", measured.many[what], one, twice))
    for what, timing in measured.new.items():
        title, one = f"IPv{family}, new, {what}", Reference("1 flow known", timing.net)
        made.append(_row(title, timing, bare(timing), AtMost(NEW_LIMIT)))
        made.append(_row(f"{title}, 1 million known", measured.new_crowded[what], one, twice))
    return made


def _row(what: str, timing: Timing, reference: Reference, target: AtMost | None) -> Row:
    return Row(what, timing.net, UNIT, COMMAND, reference, target, timing.spread)


def beside_katran(ours: Measured, theirs: Mapping[str, Timing]) -> list[Row]:
    """The same job: IPv4 TCP put into IP-in-IP of IPv4. A new flow has no target."""
    limit = AtMost(1.2, of_reference=True)
    same = {"1 flow": ours.one[TUNNEL], "1 million flows": ours.many[TUNNEL]}
    made = [
        _row(f"beside Katran: IPv4, established, {TUNNEL}, {what}", same[what], Reference("Katran", timing.net), limit)
        for what, timing in theirs.items()
        if what in same
    ]
    if "new flow" in theirs:
        katran_new = Reference("Katran, IP-in-IP", theirs["new flow"].net)
        made.append(_row("beside Katran: IPv4, new, TCP SYN, NAT", ours.new["TCP SYN"], katran_new, None))
    return made


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    given = parser.parse_args()
    reason = why_not()
    if reason is not None:
        print(f"xdp not measured: {reason}")
        return
    ipv4 = measured(4, given.rounds)
    theirs = katran.measure() or {}
    rows = [*beside_katran(ipv4, theirs), *rows_of(4, ipv4), *rows_of(6, measured(6, given.rounds))]
    read = random_read(Load(rounds=given.rounds))
    rows.append(_row(f"a program that reads one line of {LINES >> 14} MB by chance", read, bare(read), None))
    publish(__file__, "The XDP engine's time per packet", rows)


if __name__ == "__main__":
    main()
