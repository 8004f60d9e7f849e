"""Random table entries that packets of `RandomPackets` meet: valid ones, odd ones, some that a switch must refuse."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from depot.address import parse_address, parse_mac
from ptf_tests.network import FAMILIES, PORTS, our_address, our_mac, vip_address
from ptf_tests.random_packets import BUCKETS, HOSTS, PEERS
from ptf_tests.services import MEMBER_PORT, PROTOCOLS, Service
from softswitch.entities import ActionCall, Exact, FieldMatch, Lpm, Range, TableEntry, TableKey, Ternary
from softswitch.p4info import MatchType, P4Info, TableInfo

__all__ = ["RandomEntries"]

_ADDRESS_BITS = 128
_PREFIXES = (0, 1, 8, 64, 96, 97, 104, 120, 127, 128)
_KINDS = {
    "addr_lo": "address",
    "addr_hi": "address",
    "outer_src": "address",
    "outer_dst": "address",
    "vip_addr": "address",
    "next_hop": "address",
    "src_mac": "mac",
    "dst_mac": "mac",
    "port_lo": "port",
    "port_hi": "port",
    "vip_port": "port",
    "src_addr": "address",
    "dst_addr": "address",
    "src_port": "port",
    "dst_port": "port",
    "client_is_hi": "bit",
    "far_is_hi": "bit",
    "closing": "bit",
    "shared": "bit",
    "opens": "bit",
    "is_ipv6": "bit",
    "by_crc": "bit",
    "max": "segment_size",
}
"""What a match field or parameter is one of, where its name does not say it."""
_OF_SWITCH_PORTS = (
    "admission_table",
    "lead_to_gateway",
    "local_address_table",
    "neighbour_table",
    "originator_table",
    "policy_table",
    "route_connected",
    "route_via",
    "virtual_mac_table",
)
"""Tables and actions whose `port` is one of the switch."""


class RandomEntries:
    """Entries for every table of the program. The same dice give the same ones."""

    def __init__(self, info: P4Info, services: Sequence[Service]) -> None:
        """`services`: whose packets are to come."""
        self._tables = list(info.tables.values())
        self._actions = info.actions
        self._pools = _pools(services)

    def table(self, dice: random.Random) -> TableInfo:
        """Any of them."""
        return dice.choice(self._tables)

    def entry(self, dice: random.Random, table: TableInfo) -> TableEntry:
        """A key and an action."""
        match = tuple(
            self._match(dice, self._kind(field.name, table.alias), field.width, field.match_type)
            for field in table.match_fields
        )
        has_priority = table.needs_priority != (dice.random() < 0.01)  # the wrong way is refused
        priority = dice.randrange(1, 1 << 20) if has_priority else 0
        return TableEntry(TableKey(table.id, match, priority), self.action(dice, table))

    def action(self, dice: random.Random, table: TableInfo) -> ActionCall:
        """With arguments; seldom one that only the default may run."""
        allowed = [number for number in table.action_ids if number not in table.default_only or dice.random() < 0.03]
        action = self._actions[dice.choice(allowed)]
        arguments = [self._value(dice, self._kind(p.name, action.alias), p.width) for p in action.params]
        return ActionCall(action.id, tuple(arguments))

    @staticmethod
    def _kind(name: str, owner: str) -> str:
        kind = _KINDS.get(name, name)
        if (kind, owner) == ("mac", "virtual_mac_table"):
            return "virtual_mac"
        return "switch_port" if kind == "port" and owner in _OF_SWITCH_PORTS else kind

    def _match(self, dice: random.Random, kind: str, width: int, match_type: MatchType) -> FieldMatch | None:
        value = self._value(dice, kind, width)
        length = dice.choice(_PREFIXES)
        match match_type:
            case MatchType.EXACT:
                return Exact(value)
            case MatchType.OPTIONAL:
                return Exact(value) if dice.random() < 0.3 else None
            case MatchType.RANGE:
                low, high = sorted((value, dice.choice((0, value, 1 << width - 1, (1 << width) - 1))))
                return Range(low, high) if dice.random() < 0.5 and (low, high) != (0, (1 << width) - 1) else None
            case MatchType.TERNARY:
                mask = dice.getrandbits(width) if dice.random() < 0.1 else (1 << width) - (1 << width - length)
                return Ternary(value & mask, mask) if mask and dice.random() < 0.7 else None
        return Lpm(value >> width - length << width - length, length) if length else None

    def _value(self, dice: random.Random, kind: str, width: int) -> int:
        """Mostly one that packets have; else any that the field takes, or one that it does not."""
        chance = dice.random()
        if chance < 0.93:
            return dice.choice(self._pools[kind]) & (1 << width) - 1
        if chance < 0.995:
            return dice.choice((0, (1 << width) - 1, dice.getrandbits(width)))
        return 1 << width


def _pools(services: Sequence[Service]) -> Mapping[str, Sequence[int]]:
    """Values by kind, the more often the likelier."""
    addresses = [host.address(family) for host in HOSTS for family in FAMILIES]
    addresses += [our_address(port, family) for port in PORTS for family in FAMILIES]
    addresses += [vip_address(family) for family in FAMILIES] * 8
    addresses += [address for peer in PEERS for address in (peer.ours, peer.address)] * 2
    macs = [our_mac(port) for port in PORTS] * 2 + [host.mac for host in HOSTS]
    return {
        "address": [parse_address(address) for address in addresses],
        "mac": [parse_mac(mac) for mac in macs],
        "virtual_mac": [parse_mac(BUCKETS.numbered(number)) for number in range(BUCKETS.size)]
        + [BUCKETS.base | 1 << 40] * 4,
        "base": [BUCKETS.base] * 4 + [BUCKETS.base | 1 << 12],
        "mask": [BUCKETS.size - 1] * 4 + [0, 0xFF, 0xFFF],
        "port": [service.port for service in services] + [MEMBER_PORT] * 4,
        "switch_port": [*PORTS * 5, 0, 254, 255, 300, 510, 511, 512, 65535],
        "protocol": [*PROTOCOLS.values(), *PROTOCOLS.values(), 1, 58, 255],
        "vip_id": [service.number for service in services],
        "member_id": [service.member_id(index) for service in services for index in range(len(service.members))]
        + [peer.member_id for peer in PEERS] * 4,
        "slot": [0, 1, 2, 3],
        "schedule_size": [0, 1, 2, 3, 4, 65535],
        "mtu": [0, 60, 576, 1280, 1400, 1500, 9000, 65535],
        "segment_size": [0, 536, 1380, 1420, 1460, 65535],
        "bit": [0, 1],
    }
