"""Rewritten checksums are right for any addresses, ports and contents: compared with full sums by scapy."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.packet import Packet

from depot.address import parse_address, parse_mac
from ptf_tests.case import Entry
from ptf_tests.library_target import LibraryTarget
from ptf_tests.packets import frame, icmp_error, ip_header, segment
from ptf_tests.services import PROTOCOLS

IN_PORT, OUT_PORT = 1, 2
OURS, THEIRS = "02:00:00:00:00:01", "02:00:00:00:00:02"
NEXT_HOPS = {4: parse_address("10.255.0.1"), 6: parse_address("2001:db8:ffff::1")}

_ports = st.one_of(st.integers(0, 65535), st.sampled_from((0, 1, 0xFFFF, 0x8000)))
_payloads = st.one_of(st.binary(max_size=40), st.sampled_from((b"\xff" * 8, bytes(9), b"\xff\xfe")))


def _addresses(family: int) -> st.SearchStrategy[str]:
    """Unicast addresses, some of them all ones or zeros in places."""
    if family == 4:
        return st.ip_addresses(v=4, network="10.0.0.0/8").map(str)
    return st.ip_addresses(v=6, network="2000::/3").map(str)


def _network() -> list[Entry]:
    """Everything is behind one next hop of its family, out of port 2."""
    entries = [Entry("admission_table", {"port": IN_PORT, "mac": parse_mac(OURS)}, "admit")]
    macs = {"src_mac": parse_mac(OURS), "dst_mac": parse_mac(THEIRS)}
    route_via = {"port": OUT_PORT, "mtu": 1500}
    default = {**route_via, "next_hop": NEXT_HOPS[6]}
    entries.append(Entry("route_table", {"address": (0, 0)}, "route_via", default))
    mapped = {**route_via, "next_hop": NEXT_HOPS[4]}
    entries.append(Entry("route_table", {"address": (0xFFFF << 32, 96)}, "route_via", mapped))
    for next_hop in NEXT_HOPS.values():
        entries.append(Entry("neighbour_table", {"port": OUT_PORT, "address": next_hop}, "set_neighbour", macs))
    return entries


def _service(protocol: str, client: tuple[str, int], vip: tuple[str, int], member: tuple[str, int]) -> list[Entry]:
    """One session of a NAT service with one member."""
    (low, low_port), (high, high_port) = sorted(((parse_address(a), p) for a, p in (client, vip)))
    key = {"addr_lo": low, "addr_hi": high, "port_lo": low_port, "port_hi": high_port}
    client_is_hi = int((parse_address(client[0]), client[1]) == (high, high_port))
    number, member_address = PROTOCOLS[protocol], parse_address(member[0])
    return [
        Entry(
            "connection_table",
            {**key, "protocol": number},
            "forward_to_member",
            {"member_id": 7, "client_is_hi": client_is_hi, "closing": 0},
        ),
        Entry(
            "member_table", {"member_id": 7}, "nat_to_member", {"address": parse_address(member[0]), "port": member[1]}
        ),
        Entry(
            "nat_source_table",
            {"address": member_address, "port": member[1], "protocol": number},
            "restore_vip",
            {"vip_addr": parse_address(vip[0]), "vip_port": vip[1]},
        ),
    ]


def _sent(target: LibraryTarget, packet: Packet) -> bytes:
    """The frame that leaves for a packet that arrives."""
    outcome = target.send(IN_PORT, frame(THEIRS, OURS, packet))
    ((port, left),) = outcome.outputs
    assert port == OUT_PORT
    return left


@settings(max_examples=150, deadline=None)
@given(data=st.data(), family=st.sampled_from((4, 6)), protocol=st.sampled_from(tuple(PROTOCOLS)), payload=_payloads)
def test_nat(target: LibraryTarget, data: st.DataObject, family: int, protocol: str, payload: bytes) -> None:
    client_address, vip_address, member_address = data.draw(
        st.lists(_addresses(family), min_size=3, max_size=3, unique=True)
    )
    client, vip, member = ((a, data.draw(_ports)) for a in (client_address, vip_address, member_address))
    target.load((*_network(), *_service(protocol, client, vip, member)))

    request = segment(protocol, client[1], vip[1], payload=payload)
    translated = segment(protocol, client[1], member[1], payload=payload)
    left = _sent(target, ip_header(client[0], vip[0], 64) / request)
    assert left == frame(OURS, THEIRS, ip_header(client[0], member[0], 63) / translated)

    answer = segment(protocol, member[1], client[1], payload=payload)
    restored = segment(protocol, vip[1], client[1], payload=payload)
    left = _sent(target, ip_header(member[0], client[0], 2) / answer)
    assert left == frame(OURS, THEIRS, ip_header(vip[0], client[0], 1) / restored)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), family=st.sampled_from((4, 6)), protocol=st.sampled_from(tuple(PROTOCOLS)))
def test_nat_of_quoted_packets(target: LibraryTarget, data: st.DataObject, family: int, protocol: str) -> None:
    client_address, vip_address, member_address, router = data.draw(
        st.lists(_addresses(family), min_size=4, max_size=4, unique=True)
    )
    client, vip, member = ((a, data.draw(_ports)) for a in (client_address, vip_address, member_address))
    target.load((*_network(), *_service(protocol, client, vip, member)))

    answer = ip_header(vip[0], client[0]) / segment(protocol, vip[1], client[1])
    arrives = icmp_error("unreachable", router, vip[0], answer)
    as_member_sent = ip_header(member[0], client[0]) / segment(protocol, member[1], client[1])
    as_member_sent.payload.chksum = answer.__class__(bytes(answer)).payload.chksum  # no rewrite touches a quoted one
    left = _sent(target, arrives)
    assert left == frame(OURS, THEIRS, icmp_error("unreachable", router, member[0], as_member_sent, ttl=63))
