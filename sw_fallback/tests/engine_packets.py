"""Entities and random packets for the programs in `p4/`: what the engine and BMv2 are both given.

Packets are such that no program reads a field of a header that is not there: its value is whatever an earlier
packet left, in BMv2.
"""

from __future__ import annotations

from random import Random

from sw_fallback.tests.engine_programs import CompiledProgram

from softswitch.entities import (
    CloneSession,
    Exact,
    FieldMatch,
    GroupMember,
    GroupRef,
    Lpm,
    MemberRef,
    MulticastGroup,
    Range,
    Replica,
    SelectorGroup,
    SelectorMember,
    TableEntry,
    Ternary,
)
from softswitch.switch import Entity

Packet = tuple[int, bytes]
"""Port and bytes."""

_ADDRESSES = (0x0A000001, 0x0A000002, 0x0A0000FF, 0x0A0000F0, 0x0B000000, 0x0B123456, 0xFFFFFFFF, 0)
_NUMBERS = (0, 1, 2, 5, 7, 10, 15, 20, 300, 65535)


def lpm(address: int, length: int) -> Lpm | None:
    """A prefix of 32-bit addresses."""
    return Lpm(address >> (32 - length) << (32 - length), length) if length else None


def ternary(value: int, mask: int) -> Ternary | None:
    return Ternary(value & mask, mask) if mask else None


def matches_entities(program: CompiledProgram, random: Random) -> list[Entity]:
    """Entries for every table of `matches.p4`, no two priorities equal."""
    found: dict[object, TableEntry] = {}

    def add(table: str, action: str, value: int, *match: FieldMatch | None, priority: int = 0) -> None:
        entry = program.entry(table, match, program.call(action, value & 0xFF), priority)
        found.setdefault(entry.key, entry)

    pick = random.choice
    for number in range(12):
        add("exact_table", "exact_hit", number, Exact(pick(_ADDRESSES)), Exact(pick(_NUMBERS)))
    for number in range(60):
        prefix = lpm(pick(_ADDRESSES), pick((0, 1, 4, 8, 16, 24, 31, 32)))
        add("lpm_table", "lpm_hit", number, Exact(pick(_NUMBERS)), prefix)
    priorities = random.sample(range(1, 1000), 300)
    for number in range(80):
        left = ternary(pick(_ADDRESSES), pick((0, 0xFF000000, 0xFFFFFFFF, 0xFF, 0xFFFF0000)))
        right = ternary(random.getrandbits(12), pick((0, 0xFFF, 0xF00, 0xF)))
        add("ternary_table", "ternary_hit", number, left, Exact(pick(_NUMBERS)), right, priority=priorities.pop())
    for number in range(40):
        low, high = sorted((pick(_NUMBERS), pick(_NUMBERS)))
        interval = None if (low, high) == (0, 65535) else Range(low, high)
        middle = ternary(random.getrandbits(12), pick((0, 0xFFF, 0xF00)))
        prefix = lpm(pick(_ADDRESSES), pick((0, 8, 32)))
        add("range_table", "range_hit", number, interval, middle, prefix, priority=priorities.pop())
    for number in range(30):
        first = pick((None, Exact(pick(_ADDRESSES))))
        second = pick((None, Exact(pick(_NUMBERS))))
        add("optional_table", "optional_hit", number, first, second, priority=priorities.pop())
    entities: list[Entity] = list(found.values())
    for valid, number in ((0, 0), (1, 0), (1, 1), (1, 5)):
        action = program.call("low") if number == 1 else program.call("high", 40 + number)
        entities.append(program.entry("mixed_table", (Exact(valid), Exact(number)), action))
    return entities


def matches_packets(random: Random, count: int) -> list[Packet]:
    packets = []
    for _ in range(count):
        follows = random.choice((0, 1, 1, 2))
        packet = random.choice(_ADDRESSES).to_bytes(4, "big") + random.choice(_NUMBERS).to_bytes(2, "big")
        packet += (random.getrandbits(12) << 4 | follows).to_bytes(2, "big") + bytes(7)
        if follows == 1:
            packet += random.choice(_NUMBERS).to_bytes(2, "big")
        packets.append((random.randrange(1, 5), packet + random.randbytes(random.choice((0, 3)))))
    return packets


_OPERATIONS = (*range(38), 40, 41, 41, 50, 60, 61, 70, 71, 72, 73, *range(0x90, 0x97))


def arithmetic_packets(random: Random, count: int) -> list[Packet]:
    packets = []
    for _ in range(count):
        operation = random.choice(_OPERATIONS)
        packet = bytes([operation])
        for _ in range(2):
            value = random.choice((random.getrandbits(32), random.getrandbits(5), 0xFFFFFFFF, 0, 0x80000000))
            packet += value.to_bytes(4, "big")
        for _ in range(2):
            packet += random.choice((random.getrandbits(16), 0x8000, 0x7FFF, 0xFFFF, 0)).to_bytes(2, "big")
        packet += bytes(6) + random.randbytes(2)
        if operation >= 0x80:
            packet += random.randbytes(30)
        packets.append((random.randrange(1, 5), packet + random.randbytes(random.choice((0, 1, 2, 7, 40)))))
    return packets


def _ipv4(random: Random) -> bytes:
    length = random.choice((5, 5, 5, 6, 15, 4, 8))
    version = random.choice((0x40, 0x40, 0x40, 0x50))
    packet = bytes([version | length, random.choice((0, 1))]) + random.randbytes(6)
    packet += bytes([random.choice((9, 10, 64)), 6]) + random.randbytes(10)
    return packet + random.randbytes(4 * max(0, length - 5))


def _labels(random: Random) -> bytes:
    count, packet = random.choice((1, 1, 2, 3, 4, 5, 6)), b""
    for number in range(count):
        label = random.choice((1, 2, 3, 4, 5, 6, random.getrandbits(20)))
        word = label << 12 | random.getrandbits(3) << 9 | (number == count - 1) << 8 | random.getrandbits(8)
        packet += word.to_bytes(4, "big")
    return packet + (_ipv4(random) if random.random() < 0.7 else b"")


def _marker(random: Random) -> bytes:
    kind, value = random.choice((1, 2, 3, 4, 5)), random.choice((5, 0x10, 0x1F, 0x21, random.getrandbits(24)))
    packet = bytes([kind]) + value.to_bytes(3, "big")
    match kind:
        case 1:
            return packet + _ipv4(random)
        case 2:
            return packet + random.randbytes(8)
        case 3:
            return packet + bytes([kind]) + random.choice((value, random.getrandbits(24))).to_bytes(3, "big")
        case _:
            return packet


def stacks_packets(random: Random, count: int) -> list[Packet]:
    packets = []
    for _ in range(count):
        kind, rest = random.choice(
            (
                (0x8847, _labels(random)),
                (0x0800, _ipv4(random)),
                (random.choice((0x1000, 0x1FFF)), _marker(random)),
                (0x9999, random.randbytes(4) + _marker(random)),
                (0x1234, b""),
            )
        )
        packet = random.randbytes(12) + kind.to_bytes(2, "big") + rest + random.randbytes(random.choice((0, 5, 33)))
        if random.random() < 0.15:
            packet = packet[: random.randrange(1, len(packet))]
        packets.append((random.randrange(1, 5), packet))
    return packets


def replicas_entities(program: CompiledProgram) -> list[Entity]:
    """Groups, sessions, members and entries for `replicas.p4`."""
    chooser, profile = program.profile("chooser"), program.profile("profile")
    entities: list[Entity] = [
        MulticastGroup(1, (Replica(1, 0), Replica(2, 7), Replica(3, 9), Replica(3, 10))),
        MulticastGroup(2, (Replica(4, 1),)),
        CloneSession(1, (Replica(2, 0),)),
        CloneSession(2, (Replica(3, 5), Replica(4, 6))),
        CloneSession(3, (Replica(1, 0),)),
    ]
    entities += [SelectorMember(chooser, number, program.call("choose", 10 * number)) for number in range(1, 7)]
    entities.append(SelectorMember(chooser, 7, program.call("refuse")))
    entities.append(SelectorGroup(chooser, 1, tuple(GroupMember(number, 1) for number in range(1, 6)), 10))
    entities.append(SelectorGroup(chooser, 2, (GroupMember(6, 1), GroupMember(7, 1)), 10))
    for argument, target in ((1, GroupRef(1)), (2, GroupRef(2)), (3, MemberRef(3))):
        entities.append(program.entry("selector_table", (Exact(argument),), target))
    entities += [SelectorMember(profile, number, program.call("choose", 20 * number)) for number in range(1, 4)]
    for number in (1, 2):
        entities.append(program.entry("profile_table", (Exact(number),), MemberRef(number)))
    entities.append(program.entry("meter_table", (Exact(1),), program.call("metered")))
    return entities


_ORDERS = (*range(15), 16, 17, 18, 19)
"""All but 15: its random numbers are each switch's own."""


def order(operation: int, argument: int = 0, *, rest: bytes = bytes(12), payload: bytes = b"") -> bytes:
    """An `order_t` of `replicas.p4`."""
    return bytes([operation, argument]) + bytes(2) + rest + payload


def replicas_packets(random: Random, count: int) -> list[Packet]:
    packets = []
    for _ in range(count):
        operation, argument = random.choice(_ORDERS), random.choice((0, 1, 2, 3, 4, 5))
        if operation in (12, 19):
            argument = random.choice((1, 5, 14, 20, 30, 60, 0))
        elif operation == 14 and argument == 1:
            argument = 2  # the assertion would end BMv2
        elif operation == 17:
            argument = random.choice((0, 2, 5, 9))
        payload = random.randbytes(random.choice((0, 2, 40)))
        packet = order(operation, argument, rest=random.randbytes(10) + bytes(2), payload=payload)
        port = random.choice((1, 2, 3, 4, 500))
        if port == 500:
            packet = random.choice((1, 2, 3)).to_bytes(2, "big") + packet
        if random.random() < 0.05:
            packet = packet[: random.randrange(1, len(packet))]
        packets.append((port, packet))
    return packets
