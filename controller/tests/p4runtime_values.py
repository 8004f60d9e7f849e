"""What the tests of P4Runtime's values share: the codec of the compiled program and one entry of each kind."""

from __future__ import annotations

from functools import cache

from depot.address import FlowKey, parse_address, parse_mac, parse_prefix
from depot.p4runtime.codec import Codec, parse_p4info
from depot.p4runtime.entry import (
    Action,
    Entry,
    PolicyMatch,
    Table,
    admission_entry,
    bypass_connection_entry,
    bypass_entry,
    connection_entry,
    deny_entry,
    dsr_member_entry,
    hold_entry,
    holder_entry,
    intercept_entry,
    ipip_member_entry,
    local_address_entry,
    mss_entry,
    nat_member_entry,
    nat_source_entry,
    neighbour_entry,
    no_ipv4_route_entry,
    originator_entry,
    peer_connection_entry,
    reset_connection_entry,
    route_connected_entry,
    route_local_entry,
    route_via_entry,
    schedule_entry,
    tunnel_entry,
    vip_entry,
)
from depot.program import find_compiled_program

__all__ = ["ENTRIES", "FLOW", "codec", "p4info_text"]

V4, V6 = parse_address("192.0.2.10"), parse_address("2001:db8::10")
MAC = parse_mac("02:00:00:00:00:01")
FLOW = FlowKey(V6, 80, parse_address("2001:db8::20"), 40000, 6)
RULE = PolicyMatch(
    priority=2**31 - 1,
    port=511,
    source=parse_prefix("10.0.0.0/8"),
    destination=parse_prefix("2001:db8::/32"),
    source_ports=(0, 1023),
    destination_ports=(80, 80),
    protocol=6,
    opens=False,
)

ENTRIES: dict[str, Entry] = {
    "local address": local_address_entry(1, V4, MAC),
    "gateway address": Entry(Table.LOCAL_ADDRESS, (1, V6), Action.ANSWER_BY_BUCKET, (MAC, 0xFFF, 1)),
    "admission": admission_entry(2, MAC),
    "own virtual MAC": Entry(Table.VIRTUAL_MAC, (2, MAC), Action.OWN),
    "watched virtual MAC": Entry(Table.VIRTUAL_MAC, (2, MAC + 1), Action.WATCH),
    "virtual MAC of a plain gateway": Entry(Table.VIRTUAL_MAC, (511, MAC + 2), Action.LEAD_TO_GATEWAY, (3, V4, 1500)),
    "way back of a NAT member": nat_source_entry(V4, 8080, 17, V4 + 1, 53),
    "connection": connection_entry(FLOW, 7, client_is_hi=True, idle_timeout_ns=900_000_000_000),
    "closing connection": connection_entry(FLOW, 65535, client_is_hi=False, closing=True),
    "connection to be reset": reset_connection_entry(FLOW, 10**9),
    "connection of a peer": peer_connection_entry(FLOW, 65535, far_is_hi=True, idle_timeout_ns=10**9),
    "bypassed connection": bypass_connection_entry(FLOW),
    "denied connection": Entry(Table.CONNECTION, (V4, V6, 0, 65535, 6), Action.DENY_CONNECTION),
    "VIP": vip_entry(V6, 443, 6, 0, 1024),
    "VIP by hash": vip_entry(V6, 444, 17, 65535, 0, by_hash=True),
    "shared VIP": vip_entry(V6, 445, 6, 1, 2, shared=True),
    "tunnel": tunnel_entry(V4, V6),
    "proxy": originator_entry(1, MAC, 3, 4),
    "rule that intercepts": intercept_entry(RULE, 5, 2),
    "rule that intercepts everything": intercept_entry(PolicyMatch(1), 0, 0, by_hash=True, shared=True),
    "rule that bypasses": bypass_entry(PolicyMatch(2, opens=True, source_ports=(0, 0)), shared=True),
    "rule that denies": deny_entry(PolicyMatch(3, port=0, destination=parse_prefix("192.0.2.1/32"))),
    "rule of a peer": holder_entry(PolicyMatch(4, source=parse_prefix("0.0.0.0/0")), 9),
    "rule that holds": hold_entry(PolicyMatch(5, protocol=17, destination_ports=(1, 65535))),
    "largest IPv4 segment": mss_entry(1420, ipv6=False),
    "largest IPv6 segment": mss_entry(1380, ipv6=True),
    "slot": schedule_entry(3, 1023, 9),
    "NAT member": nat_member_entry(0, V4, 80),
    "DSR member": dsr_member_entry(1, V6),
    "IP-in-IP member": ipip_member_entry(2, V4, V4 + 1),
    "route by a gateway": route_via_entry(parse_prefix("10.0.0.0/8"), 511, V4, 1500),
    "on-link route": route_connected_entry(parse_prefix("2001:db8::/32"), 1, 9216),
    "own address": route_local_entry(V4),
    "IPv6 default route": route_via_entry(parse_prefix("::/0"), 1, V6, 1280),
    "IPv4 default route": route_via_entry(parse_prefix("0.0.0.0/0"), 1, V4, 1500),
    "no IPv4 route": no_ipv4_route_entry(),
    "neighbour": neighbour_entry(2, V6, MAC, MAC + 1),
    "neighbour of many gateways": Entry(
        Table.NEIGHBOUR, (2, V4), Action.SET_NEIGHBOUR_BY_BUCKET, (MAC, MAC & ~0xFF, 0xFF, 0)
    ),
}


def p4info_text() -> str:
    """The P4Info of the compiled program."""
    return find_compiled_program().p4info.read_text()


@cache
def codec() -> Codec:
    """The codec of the compiled program."""
    return Codec(parse_p4info(p4info_text()))
