"""Entries of the forwarding program's tables as plain values, one constructor per table and action.

Tables, key fields, actions and parameters carry the names of `p4src`; ids stay inside the codec. An `Entry` is a
tuple, since connection entries are made, compared and hashed some thousand times a second.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from depot.address import ALL_IPV4, FlowKey, Prefix

__all__ = [
    "ACTION_PARAMS",
    "KEY_FIELDS",
    "PRIORITISED",
    "TWO_PLACES",
    "Action",
    "Entry",
    "EntryKey",
    "PolicyMatch",
    "Table",
    "admission_entry",
    "bypass_connection_entry",
    "bypass_entry",
    "connection_entry",
    "connection_flow",
    "connection_key",
    "deny_entry",
    "dsr_member_entry",
    "hold_entry",
    "holder_entry",
    "intercept_entry",
    "ipip_member_entry",
    "local_address_entry",
    "mss_entry",
    "nat_member_entry",
    "nat_source_entry",
    "neighbour_entry",
    "no_ipv4_route_entry",
    "originator_entry",
    "peer_connection_entry",
    "reset_connection_entry",
    "route_connected_entry",
    "route_local_entry",
    "route_via_entry",
    "schedule_entry",
    "tunnel_entry",
    "vip_entry",
]


class Table(StrEnum):
    """The tables of `depot.p4`, in the order of its controls."""

    LOCAL_ADDRESS = "local_address_table"
    TUNNEL = "tunnel_table"
    ADMISSION = "admission_table"
    VIRTUAL_MAC = "virtual_mac_table"
    NAT_SOURCE = "nat_source_table"
    CONNECTION = "connection_table"
    VIP = "vip_table"
    ORIGINATOR = "originator_table"
    POLICY = "policy_table"
    SCHEDULE = "schedule_table"
    MEMBER = "member_table"
    ROUTE = "route_table"
    NEIGHBOUR = "neighbour_table"
    MSS = "mss_table"


class Action(StrEnum):
    """The actions that entries can carry."""

    ANSWER = "answer"
    ANSWER_BY_BUCKET = "answer_by_bucket"
    ACCEPT_FROM_PEER = "accept_from_peer"
    ADMIT = "admit"
    OWN = "own"
    WATCH = "watch"
    LEAD_TO_GATEWAY = "lead_to_gateway"
    RESTORE_VIP = "restore_vip"
    FORWARD_TO_MEMBER = "forward_to_member"
    FORWARD_TO_PEER = "forward_to_peer"
    BYPASS_CONNECTION = "bypass_connection"
    RESET_CONNECTION = "reset_connection"
    DENY_CONNECTION = "deny_connection"
    SERVE_VIP = "serve_vip"
    SERVE_VIP_BY_HASH = "serve_vip_by_hash"
    CLAIM = "claim"
    INTERCEPT = "intercept"
    INTERCEPT_BY_HASH = "intercept_by_hash"
    BYPASS = "bypass"
    DENY = "deny"
    SEND_TO_HOLDER = "send_to_holder"
    HOLD = "hold"
    ASSIGN_MEMBER = "assign_member"
    NAT_TO_MEMBER = "nat_to_member"
    DSR_TO_MEMBER = "dsr_to_member"
    IPIP_TO_MEMBER = "ipip_to_member"
    ROUTE_VIA = "route_via"
    ROUTE_CONNECTED = "route_connected"
    ROUTE_LOCAL = "route_local"
    NO_ROUTE = "no_route"
    SET_NEIGHBOUR = "set_neighbour"
    SET_NEIGHBOUR_BY_BUCKET = "set_neighbour_by_bucket"
    CLAMP_MSS = "clamp_mss"


KEY_FIELDS: dict[Table, tuple[str, ...]] = {
    Table.LOCAL_ADDRESS: ("port", "address"),
    Table.TUNNEL: ("outer_src", "outer_dst"),
    Table.ADMISSION: ("port", "mac"),
    Table.VIRTUAL_MAC: ("port", "mac"),
    Table.NAT_SOURCE: ("address", "port", "protocol"),
    Table.CONNECTION: ("addr_lo", "addr_hi", "port_lo", "port_hi", "protocol"),
    Table.VIP: ("address", "port", "protocol"),
    Table.ORIGINATOR: ("port", "mac"),
    Table.POLICY: ("port", "src_addr", "dst_addr", "src_port", "dst_port", "protocol", "opens"),
    Table.SCHEDULE: ("vip_id", "slot"),
    Table.MEMBER: ("member_id",),
    Table.ROUTE: ("address",),
    Table.NEIGHBOUR: ("port", "address"),
    Table.MSS: ("is_ipv6",),
}
"""The match fields of each table in the order of `Entry.values`. Those of `TWO_PLACES` have two values each."""

TWO_PLACES = frozenset({Table.ROUTE, Table.POLICY})
"""Tables whose fields have two values each: a prefix and its length, value and mask of a ternary field, the ends of a
range; an optional field and 1, or 0 and 0 where it may be anything."""

PRIORITISED = frozenset({Table.POLICY})
"""Tables whose entries have a priority, from 1 on, the highest wins: the last of `Entry.values`."""

ACTION_PARAMS: dict[Action, tuple[str, ...]] = {
    Action.ANSWER: ("mac",),
    Action.ANSWER_BY_BUCKET: ("base", "mask", "by_crc"),
    Action.ACCEPT_FROM_PEER: (),
    Action.ADMIT: (),
    Action.OWN: (),
    Action.WATCH: (),
    Action.LEAD_TO_GATEWAY: ("port", "next_hop", "mtu"),
    Action.RESTORE_VIP: ("vip_addr", "vip_port"),
    Action.FORWARD_TO_MEMBER: ("member_id", "client_is_hi", "closing"),
    Action.FORWARD_TO_PEER: ("member_id", "far_is_hi"),
    Action.BYPASS_CONNECTION: (),
    Action.RESET_CONNECTION: (),
    Action.DENY_CONNECTION: (),
    Action.SERVE_VIP: ("vip_id", "schedule_size", "shared"),
    Action.SERVE_VIP_BY_HASH: ("vip_id", "schedule_size", "shared"),
    Action.CLAIM: ("vip_id", "member_id"),
    Action.INTERCEPT: ("vip_id", "schedule_size", "shared"),
    Action.INTERCEPT_BY_HASH: ("vip_id", "schedule_size", "shared"),
    Action.BYPASS: ("shared",),
    Action.DENY: (),
    Action.SEND_TO_HOLDER: ("member_id",),
    Action.HOLD: (),
    Action.ASSIGN_MEMBER: ("member_id",),
    Action.NAT_TO_MEMBER: ("address", "port"),
    Action.DSR_TO_MEMBER: ("address",),
    Action.IPIP_TO_MEMBER: ("outer_src", "outer_dst"),
    Action.ROUTE_VIA: ("port", "next_hop", "mtu"),
    Action.ROUTE_CONNECTED: ("port", "mtu"),
    Action.ROUTE_LOCAL: (),
    Action.NO_ROUTE: (),
    Action.SET_NEIGHBOUR: ("src_mac", "dst_mac"),
    Action.SET_NEIGHBOUR_BY_BUCKET: ("dst_mac", "base", "mask", "by_crc"),
    Action.CLAMP_MSS: ("max",),
}
"""The parameters of each action in the order of `Entry.params`."""


ANYWHERE = Prefix(0, 0)
"""Every address of both families."""
ALL_PORTS = (0, 65535)


class EntryKey(NamedTuple):
    """What makes an entry unique on a switch."""

    table: Table
    """Its table."""
    values: tuple[int, ...]
    """Match values in the order of `KEY_FIELDS`."""

    def __str__(self) -> str:
        fields, values = KEY_FIELDS[self.table], self.values
        if self.table is Table.POLICY:
            pairs = zip(fields, values[::2], values[1::2], strict=False)
            named = ", ".join(f"{name}={first:#x}:{second:#x}" for name, first, second in pairs)
            return f"{self.table} [{named}, priority={values[-1]}]"
        named = ", ".join(f"{name}={value:#x}" for name, value in zip(fields, values, strict=False))
        suffix = f"/{values[-1]}" if len(values) > len(fields) else ""
        return f"{self.table} [{named}{suffix}]"


class Entry(NamedTuple):
    """One table entry as it should be, or as the switch holds it."""

    table: Table
    """Its table."""
    values: tuple[int, ...]
    """Match values in the order of `KEY_FIELDS`."""
    action: Action
    """What a hit runs."""
    params: tuple[int, ...] = ()
    """Its parameters in the order of `ACTION_PARAMS`."""
    idle_timeout_ns: int = 0
    """Nanoseconds without a hit after which the switch tells us; 0: never. Connections only."""

    @property
    def key(self) -> EntryKey:
        """Table and match values."""
        return EntryKey(self.table, self.values)

    def __str__(self) -> str:
        names = ACTION_PARAMS[self.action]
        params = ", ".join(f"{name}={value:#x}" for name, value in zip(names, self.params, strict=True))
        return f"{self.key} -> {self.action}({params})"


def local_address_entry(port: int, address: int, mac: int) -> Entry:
    """On `port`, ARP, neighbour discovery and ping for `address` are answered with `mac`."""
    return Entry(Table.LOCAL_ADDRESS, (port, address), Action.ANSWER, (mac,))


def tunnel_entry(peer: int, own: int) -> Entry:
    """What arrives in a tunnel from the peer's address to our own is taken out and switched as if it came itself."""
    return Entry(Table.TUNNEL, (peer, own), Action.ACCEPT_FROM_PEER)


def admission_entry(port: int, mac: int) -> Entry:
    """Frames for `mac` that arrive at `port` are ours."""
    return Entry(Table.ADMISSION, (port, mac), Action.ADMIT)


def nat_source_entry(address: int, port: int, protocol: int, vip_address: int, vip_port: int) -> Entry:
    """What a NAT member sends from this endpoint is its VIP's answer."""
    return Entry(Table.NAT_SOURCE, (address, port, protocol), Action.RESTORE_VIP, (vip_address, vip_port))


def connection_key(flow: FlowKey) -> EntryKey:
    """The key of a flow's entry in `connection_table`."""
    return EntryKey(Table.CONNECTION, (flow[0], flow[2], flow[1], flow[3], flow[4]))


def connection_flow(values: tuple[int, ...]) -> FlowKey:
    """The flow that an entry of `connection_table` is about, from its match values."""
    addr_lo, addr_hi, port_lo, port_hi, protocol = values
    return FlowKey(addr_lo, port_lo, addr_hi, port_hi, protocol)


def connection_entry(
    flow: FlowKey, member_id: int, *, client_is_hi: bool, closing: bool = False, idle_timeout_ns: int = 0
) -> Entry:
    """The session's packets from the client go to the member."""
    return Entry(
        Table.CONNECTION,
        (flow[0], flow[2], flow[1], flow[3], flow[4]),
        Action.FORWARD_TO_MEMBER,
        (member_id, int(client_is_hi), int(closing)),
        idle_timeout_ns,
    )


def peer_connection_entry(flow: FlowKey, member_id: int, *, far_is_hi: bool, idle_timeout_ns: int = 0) -> Entry:
    """The session is a peer's: what its far end sends goes to this member, an IP-in-IP one, the rest where it leads."""
    return Entry(*connection_key(flow), Action.FORWARD_TO_PEER, (member_id, int(far_is_hi)), idle_timeout_ns)


def bypass_connection_entry(flow: FlowKey, *, idle_timeout_ns: int = 0) -> Entry:
    """The session's packets go where their route leads, untouched."""
    return Entry(*connection_key(flow), Action.BYPASS_CONNECTION, (), idle_timeout_ns)


def reset_connection_entry(flow: FlowKey, idle_timeout_ns: int = 0) -> Entry:
    """The session's packets come to the controller, which answers them with a TCP reset."""
    return Entry(*connection_key(flow), Action.RESET_CONNECTION, (), idle_timeout_ns)


def vip_entry(
    address: int,
    port: int,
    protocol: int,
    vip_id: int,
    schedule_size: int,
    *,
    by_hash: bool = False,
    shared: bool = False,
) -> Entry:
    """New sessions for this endpoint are served from the first `schedule_size` slots of the VIP's schedule.

    by_hash: each takes the slot that its endpoints hash to, instead of the next one. shared: peers may have sessions of
    this VIP, so new ones, and packets of unknown ones, come to the controller first.
    """
    action = Action.SERVE_VIP_BY_HASH if by_hash else Action.SERVE_VIP
    return Entry(Table.VIP, (address, port, protocol), action, (vip_id, schedule_size, int(shared)))


def originator_entry(port: int, mac: int, vip_id: int, member_id: int) -> Entry:
    """What opens a session and comes from this MAC at `port` comes to the controller: a proxy of ours sent it."""
    return Entry(Table.ORIGINATOR, (port, mac), Action.CLAIM, (vip_id, member_id))


class PolicyMatch(NamedTuple):
    """Which packets a rule of the access policy is about: those that no session, VIP or proxy of ours has."""

    priority: int
    """From 1 on; of the rules that fit, the one with the highest decides."""
    port: int | None = None
    """Where they arrive; None: anywhere."""
    source: Prefix = ANYWHERE
    """Their source, in its 128-bit form."""
    destination: Prefix = ANYWHERE
    """Their destination."""
    source_ports: tuple[int, int] = ALL_PORTS
    """Lowest and highest source port."""
    destination_ports: tuple[int, int] = ALL_PORTS
    """Lowest and highest destination port."""
    protocol: int | None = None
    """IP protocol number; None: TCP and UDP."""
    opens: bool | None = None
    """True: a TCP SYN, or any UDP; False: any other TCP; None: both."""

    @property
    def values(self) -> tuple[int, ...]:
        """`Entry.values` of the rule."""
        return (
            *_optional(self.port),
            self.source.network,
            self.source.mask,
            self.destination.network,
            self.destination.mask,
            *self.source_ports,
            *self.destination_ports,
            *_optional(self.protocol),
            *_optional(None if self.opens is None else int(self.opens)),
            self.priority,
        )


def _optional(value: int | None) -> tuple[int, int]:
    return (0, 0) if value is None else (value, 1)


def intercept_entry(
    match: PolicyMatch, vip_id: int, schedule_size: int, *, by_hash: bool = False, shared: bool = False
) -> Entry:
    """The packets are served as if they were for a VIP, by DSR members; the rest as in `vip_entry`."""
    action = Action.INTERCEPT_BY_HASH if by_hash else Action.INTERCEPT
    return Entry(Table.POLICY, match.values, action, (vip_id, schedule_size, int(shared)))


def bypass_entry(match: PolicyMatch, *, shared: bool = False) -> Entry:
    """The packets are routed. shared: they come to the controller first, with member 0, for the peers to know."""
    return Entry(Table.POLICY, match.values, Action.BYPASS, (int(shared),))


def deny_entry(match: PolicyMatch) -> Entry:
    """The packets are dropped."""
    return Entry(Table.POLICY, match.values, Action.DENY)


def holder_entry(match: PolicyMatch, member_id: int) -> Entry:
    """The packets go to the peer that holds the rule, an IP-in-IP member."""
    return Entry(Table.POLICY, match.values, Action.SEND_TO_HOLDER, (member_id,))


def hold_entry(match: PolicyMatch) -> Entry:
    """The packets come to the controller: their flow may be a peer's. Held for long enough they are dropped."""
    return Entry(Table.POLICY, match.values, Action.HOLD)


def schedule_entry(vip_id: int, slot: int, member_id: int) -> Entry:
    """The VIP's `slot`, from 0, goes to the member."""
    return Entry(Table.SCHEDULE, (vip_id, slot), Action.ASSIGN_MEMBER, (member_id,))


def nat_member_entry(member_id: int, address: int, port: int) -> Entry:
    """The member is reached by NAT to this endpoint."""
    return Entry(Table.MEMBER, (member_id,), Action.NAT_TO_MEMBER, (address, port))


def dsr_member_entry(member_id: int, address: int) -> Entry:
    """The member is reached unchanged, through the MAC of this address, and answers by itself."""
    return Entry(Table.MEMBER, (member_id,), Action.DSR_TO_MEMBER, (address,))


def ipip_member_entry(member_id: int, outer_source: int, outer_destination: int) -> Entry:
    """The member is reached inside an IP tunnel between these addresses."""
    return Entry(Table.MEMBER, (member_id,), Action.IPIP_TO_MEMBER, (outer_source, outer_destination))


def route_via_entry(prefix: Prefix, port: int, next_hop: int, mtu: int) -> Entry:
    """The prefix lies behind a router on `port`; `mtu` is in bytes of IP."""
    return Entry(Table.ROUTE, (prefix.network, prefix.length), Action.ROUTE_VIA, (port, next_hop, mtu))


def route_connected_entry(prefix: Prefix, port: int, mtu: int) -> Entry:
    """The prefix is on-link at `port`; `mtu` is in bytes of IP."""
    return Entry(Table.ROUTE, (prefix.network, prefix.length), Action.ROUTE_CONNECTED, (port, mtu))


def route_local_entry(address: int) -> Entry:
    """The address is our own: nothing is routed to it."""
    return Entry(Table.ROUTE, (address, 128), Action.ROUTE_LOCAL)


def no_ipv4_route_entry() -> Entry:
    """IPv4 without a route of its own has none: as mapped addresses it would follow an IPv6 default route."""
    return Entry(Table.ROUTE, (ALL_IPV4.network, ALL_IPV4.length), Action.NO_ROUTE)


def neighbour_entry(port: int, address: int, source_mac: int, destination_mac: int) -> Entry:
    """The next hop `address` on `port` has `destination_mac`; `source_mac` is the port's own."""
    return Entry(Table.NEIGHBOUR, (port, address), Action.SET_NEIGHBOUR, (source_mac, destination_mac))


def mss_entry(largest: int, *, ipv6: bool) -> Entry:
    """Sessions of one family announce no segments of more than `largest` bytes, so that they fit into tunnels."""
    return Entry(Table.MSS, (int(ipv6),), Action.CLAMP_MSS, (largest,))
