"""What happens in a differential test of the depot's program: packets, and everything a controller may do meanwhile."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sw_fallback.tests.engine_pair import IDLE_NS, EnginePair

from depot.address import format_address
from depot.program import find_compiled_program
from ptf_tests.case import CPU_PORT, DropReason, PuntReason, Submission, Submit
from ptf_tests.library_target import packet_out, table_entry
from ptf_tests.network import NETWORK, PORTS
from ptf_tests.p4names import P4Names
from ptf_tests.packets import ip_header, segment, to_switch
from ptf_tests.random_entries import RandomEntries
from ptf_tests.random_packets import BUCKETS, HOSTS, PEERS, RandomPackets
from ptf_tests.services import PROTOCOLS
from softswitch.entities import ActionCall, Exact, TableEntry, TableKey
from softswitch.entities import Counter as CounterValue

__all__ = [
    "Count",
    "Depot",
    "Learn",
    "Move",
    "PacketOuts",
    "Release",
    "Remember",
    "Sessions",
    "Skip",
    "Traffic",
    "Write",
]

_HEARD = 64
"""Digests that a controller of ours remembers."""
_REASONS: Mapping[str, type[DropReason] | type[PuntReason]] = {"drops": DropReason, "punts": PuntReason}
_ODD_PORTS = (0, 7, 254, 300, 510)
_PACKETS = RandomPackets(0)
"""One for all: each has services of its own."""
_SUBMISSIONS = (*Submission, 5)
_MEMBERS = (
    0,
    *(service.member_id(index) for service in _PACKETS.services for index in (0, 1)),
    *(peer.member_id for peer in PEERS),
)


class Move(ABC):
    """Something that happens."""

    @abstractmethod
    def play(self, depot: Depot) -> None:
        """Do it to both engines. Raises `EnginesDiffer`."""


class Depot:
    """Both engines with the depot's program, the entries that stories begin with, and what was heard in this one."""

    def __init__(self, pair: EnginePair) -> None:
        self.pair = pair
        self.names = P4Names(find_compiled_program().p4info)
        self.info = pair.python.p4info
        self.entries = RandomEntries(self.info, _PACKETS.services)
        self.heard: deque[tuple[str, tuple[int, ...]]] = deque(maxlen=_HEARD)
        """Name and members of digests, the latest last."""
        self.punted: deque[bytes] = deque(maxlen=_HEARD)
        """Packets with their `packet_in` header, the latest last."""
        self.held: dict[TableKey, None] = {}
        """Keys of the entries that are there, in an order that does not depend on hashes."""
        self.reasons: Counter[str] = Counter()
        """Why packets were dropped or went to the controller."""
        everything = (table_entry(self.names, entry) for entry in (*NETWORK, *_PACKETS.entries()))
        self._usual = {entry.key: entry for entry in everything}

    def play(self, moves: Sequence[Move]) -> None:
        """One story, from the usual entries and empty registers on. Raises `EnginesDiffer`."""
        self._begin()
        for move in moves:
            move.play(self)
            self.pair.compare_counters()
        self.pair.compare()
        self.pair.compare_idle()

    def _begin(self) -> None:
        self.pair.back_to_real_time()
        self.heard.clear()
        self.punted.clear()
        for table in self.info.tables.values():
            for entry in list(self.pair.python.entries(table.id)):
                if self._usual.get(entry.key) != entry:
                    self.pair.delete(entry.key)
        for entry in self._usual.values():
            if not self.pair.has(entry.key):
                self.pair.insert(entry)
        self.held = dict.fromkeys(self._usual)
        self.pair.clear_registers()

    def write(self, kind: str, entry: TableEntry) -> bool:
        """Insert, modify or delete; whether it was accepted."""
        match kind:
            case "insert":
                accepted = self.pair.insert(entry)
                if accepted:
                    self.held[entry.key] = None
            case "modify":
                accepted = self.pair.modify(entry)
            case _:
                accepted = self.pair.delete(entry.key)
                if accepted:
                    del self.held[entry.key]
        return accepted

    def send(self, port: int, packet: bytes) -> None:
        """One packet."""
        left = self.pair.process(port, packet)
        self.punted += [frame for out_port, frame in left if out_port == CPU_PORT]
        for digest_id, members in self.pair.last_digests:
            self.heard.append((self.names.digest_names[digest_id], members))

    def reasons_counted(self) -> Counter[str]:
        """What the program has counted so far."""
        found: Counter[str] = Counter()
        for name, reasons in _REASONS.items():
            counter = self.names.counters[name].preamble.id
            for reason in reasons:
                found[f"{name} {reason.name}"] = self.pair.python.counter(counter, reason).packets
        return found

    def id_of(self, action: str) -> int:
        """Of an action."""
        return self.names.actions[action].preamble.id

    def summary(self) -> str:
        """What became of all packets so far."""
        seen = self.pair.seen
        refused = ", ".join(f"{count} {kind}" for kind, count in seen.refused.most_common())
        lines = [
            f"{seen.packets} packets and {seen.writes} writes through both engines",
            f"  {seen.forwarded:7d} frames left, {seen.to_controller} went to the controller, {seen.digests} digests",
            f"  {seen.refused.total():7d} writes refused: {refused or 'none'}",
        ]
        for name, title in (("drops", "packets dropped"), ("punts", "packets for the controller")):
            counts = {r.partition(" ")[2]: n for r, n in self.reasons.most_common() if n and r.startswith(name)}
            told = ", ".join(f"{count} {reason}" for reason, count in counts.items())
            lines.append(f"  {sum(counts.values()):7d} {title}: {told}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Traffic(Move):
    """Packets at one port, now and then at another."""

    seed: int
    flows: int
    """Which client ports."""
    count: int

    def play(self, depot: Depot) -> None:
        dice, before = random.Random(self.seed), depot.reasons_counted()
        _PACKETS.begin(self.seed, self.flows)
        port, packets = _PACKETS.batch(self.count)
        for packet in packets:
            chance = dice.random()
            elsewhere = _ODD_PORTS if chance < 0.02 else PORTS
            short = packet[: dice.randrange(15)] if chance > 0.995 else packet
            depot.send(dice.choice(elsewhere) if chance < 0.1 else port, short)
        depot.reasons += depot.reasons_counted() - before


@dataclass(frozen=True, slots=True)
class Sessions(Move):
    """Whole packets of sessions that have an entry, in both directions, as routers and hosts nearby send them."""

    seed: int
    count: int

    def play(self, depot: Depot) -> None:
        dice, before = random.Random(self.seed), depot.reasons_counted()
        _PACKETS.begin(self.seed, 0)
        table = depot.names.tables["connection_table"].preamble.id
        known = [key for key in depot.held if key.table_id == table]
        for _ in range(self.count if known else 0):
            *ends, protocol = (part.value for part in dice.choice(known).match if isinstance(part, Exact))
            source, target = (ends[0], ends[2]), (ends[1], ends[3])
            if dice.random() < 0.5:
                source, target = target, source
            packet = self._packet(dice, source, target, protocol)
            if packet is not None:
                at, frame = packet
                depot.send(at, _PACKETS.tunnelled(at, frame) if dice.random() < 0.25 else frame)
        depot.reasons += depot.reasons_counted() - before

    @staticmethod
    def _packet(
        dice: random.Random, source: tuple[int, int], target: tuple[int, int], protocol: int
    ) -> tuple[int, bytes] | None:
        """Where it arrives, and the packet; None where no packet of ours has such ends."""
        names = [format_address(end[0]) for end in (source, target)]
        kinds = [name for name, number in PROTOCOLS.items() if number == protocol]
        if not kinds or (":" in names[0]) != (":" in names[1]):
            return None
        from_host = next((host for host in HOSTS if names[0] in (host.ipv4, host.ipv6)), dice.choice(HOSTS))
        flags = dice.choice(("A", "A", "PA", "S", "FA", "R"))
        payload = bytes(dice.choice((0, 1, 100, 1000)))
        made = segment(kinds[0], source[1], target[1], flags=flags, payload=payload)
        return from_host.port, to_switch(from_host, ip_header(names[0], names[1], 64) / made)


@dataclass(frozen=True, slots=True)
class PacketOuts(Move):
    """Packets of the controller: they run through the python engine, over the registers of the XDP engine."""

    seed: int
    count: int

    def play(self, depot: Depot) -> None:
        dice, before = random.Random(self.seed), depot.reasons_counted()
        _PACKETS.begin(self.seed, self.seed % 4)
        port, packets = _PACKETS.batch(self.count)
        for packet in packets:
            egress = dice.choice((*PORTS, *_ODD_PORTS, CPU_PORT, 511, 512, 65535))
            ingress = port if dice.random() < 0.9 else dice.choice((0, CPU_PORT, 511, 65535))
            header = packet_out(depot.names, Submit(egress, ingress, dice.choice(_SUBMISSIONS), dice.choice(_MEMBERS)))
            depot.send(CPU_PORT, header + packet)
        depot.reasons += depot.reasons_counted() - before


@dataclass(frozen=True, slots=True)
class Release(Move):
    """The controller lets go what it was given: to a member, a peer, by its route, or back into the pipeline."""

    seed: int

    def play(self, depot: Depot) -> None:
        dice, before = random.Random(self.seed), depot.reasons_counted()
        length = sum(depot.names.header_widths("packet_in").values()) // 8
        told = list(depot.punted)
        for frame in dice.sample(told, min(len(told), 8)):
            port, detail = int.from_bytes(frame[:2], "big"), int.from_bytes(frame[4:6], "big")
            member = dice.choice((detail, dice.choice(_MEMBERS)))
            submit = Submit(0, port, dice.choice(_SUBMISSIONS[1:]), member)
            depot.send(CPU_PORT, packet_out(depot.names, submit) + frame[length:])
        depot.reasons += depot.reasons_counted() - before


@dataclass(frozen=True, slots=True)
class Write(Move):
    """Entries of any table come, change or go, with no packet between."""

    seed: int
    kind: str
    count: int

    def play(self, depot: Depot) -> None:
        dice = random.Random(self.seed)
        for _ in range(self.count):
            table = depot.entries.table(dice)
            entry = depot.entries.entry(dice, table)
            held = [key for key in depot.held if key.table_id == table.id]
            if held and dice.random() < (0.95 if self.kind != "insert" else 0.1):
                entry = replace(entry, key=dice.choice(held))
            if dice.random() < (0.5 if table.notifies_idle else 0.01):
                entry = replace(entry, idle_timeout_ns=IDLE_NS)
            depot.write(self.kind, entry)


@dataclass(frozen=True, slots=True)
class Learn(Move):
    """The controller answers what it heard: entries for sessions and neighbours, and for sessions that end."""

    seed: int

    def play(self, depot: Depot) -> None:
        dice = random.Random(self.seed)
        told = list(depot.heard)
        for name, members in dice.sample(told, min(len(told), 8)):
            match name:
                case "new_flow_t":
                    self._session(depot, dice, members[:5], client_is_hi=members[5], member=members[8])
                case "tcp_event_t":
                    self._session(depot, dice, (*members[:4], 6), client_is_hi=members[4], member=0)
                case _:
                    self._neighbour(depot, dice, members)

    @staticmethod
    def _session(depot: Depot, dice: random.Random, ends: tuple[int, ...], client_is_hi: int, member: int) -> None:
        table = depot.names.tables["connection_table"].preamble.id
        key = TableKey(table, tuple(map(Exact, ends)))
        others = [service.member_id(dice.randrange(2)) for service in dice.sample(_PACKETS.services, 2)]
        action = ActionCall(
            depot.id_of("forward_to_member"),
            (dice.choice((member, member, *others)), client_is_hi, int(dice.random() < 0.3)),
        )
        chance = dice.random()
        if chance < 0.2:
            action = ActionCall(depot.id_of("deny_connection" if chance < 0.1 else "reset_connection"))
        elif chance < 0.4:
            action = ActionCall(depot.id_of("forward_to_peer"), (dice.choice(PEERS).member_id, dice.randrange(2)))
        elif chance < 0.5:
            action = ActionCall(depot.id_of("bypass_connection"))
        entry = TableEntry(key, action, IDLE_NS if dice.random() < 0.5 else 0)
        if not depot.pair.has(key):
            depot.write("insert", entry)
        else:
            depot.write("delete" if dice.random() < 0.3 else "modify", entry)

    @staticmethod
    def _neighbour(depot: Depot, dice: random.Random, members: tuple[int, ...]) -> None:
        port, address, mac = members
        key = TableKey(depot.names.tables["neighbour_table"].preamble.id, (Exact(port & 0x1FF), Exact(address)))
        action = ActionCall(depot.id_of("set_neighbour"), (dice.getrandbits(48), mac))
        if dice.random() < 0.5:
            known_by = (mac, BUCKETS.base, BUCKETS.size - 1, dice.randrange(2))
            action = ActionCall(depot.id_of("set_neighbour_by_bucket"), known_by)
        entry = TableEntry(key, action)
        depot.write("modify" if depot.pair.has(key) else "insert", entry)


@dataclass(frozen=True, slots=True)
class Count(Move):
    """The controller writes a counter: of an entry, or of an array (not of those that are summed up here)."""

    seed: int

    def play(self, depot: Depot) -> None:
        dice = random.Random(self.seed)
        value = CounterValue(*(dice.choice((0, 0, dice.getrandbits(20), (1 << 63) - 1, 1 << 63)) for _ in range(2)))
        key = dice.choice(list(depot.held))
        depot.pair.apply(lambda switch: switch.set_direct_counter(key, value), f"counter of {key} := {value}")


@dataclass(frozen=True, slots=True)
class Remember(Move):
    """The controller writes a register: any value into a cell that is in use, or a bit of it turned."""

    seed: int

    def play(self, depot: Depot) -> None:
        dice = random.Random(self.seed)
        register = dice.choice(list(depot.info.registers.values()))
        used = depot.pair.used_cells(register.id)
        index = dice.choice(used) if used and dice.random() < 0.9 else dice.randrange(register.size + 1)
        value = dice.getrandbits(register.width + (dice.random() < 0.05))
        if index < register.size and dice.random() < 0.5:
            value = depot.pair.python.register(register.id, index) ^ 1 << dice.randrange(register.width)
        depot.pair.apply(
            lambda switch: switch.set_register(register.id, index, value), f"{register.name}[{index}] := {value:#x}"
        )


@dataclass(frozen=True, slots=True)
class Skip(Move):
    """Time passes, for the flow cache."""

    seconds: float

    def play(self, depot: Depot) -> None:
        depot.pair.skip(self.seconds)
