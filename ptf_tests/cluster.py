"""The cluster of the packet cases: a peer behind its tunnels, flows that no VIP knows, the access policy's entries."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from scapy.packet import Packet

from depot.address import parse_address
from ptf_tests.case import Digest, Entry, PacketIn, PuntReason
from ptf_tests.network import CLIENT, PEER, STRANGER, Host, our_address
from ptf_tests.packets import FLAGS, from_switch, ip_header, segment, to_switch
from ptf_tests.services import PROTOCOLS, outer_header, slot_of

__all__ = ["ALL_ONES", "Flow", "Peer", "policy_rule", "unknown_flow"]

ALL_ONES = (1 << 128) - 1
"""The mask of a whole address."""
_member_ids = itertools.count(60000)
"""Peers' numbers as members, above those of every service's; each its own, so that its counter is a case's own too."""
_ports = itertools.count(40000)
"""Registers outlive a case on some targets: every flow has a client port of its own, above those of services."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another member of the cluster: its tunnels of one outer family, to and from the switch's port it is at."""

    outer: int
    """4 or 6."""
    host: Host = PEER
    member_id: int = field(default_factory=lambda: next(_member_ids))

    @property
    def address(self) -> str:
        """Its end of the tunnels."""
        return self.host.address(self.outer)

    @property
    def ours(self) -> str:
        """The switch's end of the tunnels."""
        return our_address(self.host.port, self.outer)

    def entries(self) -> tuple[Entry, Entry]:
        """What sends packets to it, and what takes packets from it."""
        ours, theirs = parse_address(self.ours), parse_address(self.address)
        return (
            Entry(
                "member_table",
                {"member_id": self.member_id},
                "ipip_to_member",
                {"outer_src": ours, "outer_dst": theirs},
            ),
            Entry("tunnel_table", {"outer_src": theirs, "outer_dst": ours}, "accept_from_peer"),
        )

    def gets(self, inner: Packet) -> tuple[int, bytes]:
        """(port, frame): `inner` as the switch sends it to the peer."""
        return from_switch(self.host, outer_header(self.ours, self.address, inner) / inner)

    def sends(self, inner: Packet, traffic_class: int | None = None) -> bytes:
        """The frame in which the peer sends `inner`; `traffic_class` of the tunnel is its own if not given."""
        head = outer_header(self.address, self.ours, inner)
        if traffic_class is not None:
            setattr(head, "tos" if self.outer == 4 else "tc", traffic_class)
        return to_switch(self.host, head / inner)

    def unwrapped(self, inner: Packet) -> bytes:
        """The frame that the controller gets of it."""
        return to_switch(self.host, inner)


@dataclass(frozen=True, slots=True)
class Flow:
    """A connection from one host to another."""

    family: int
    protocol: str
    client: Host = CLIENT
    server: Host = STRANGER
    server_port: int = 80
    client_port: int = field(default_factory=lambda: next(_ports))

    @property
    def opening(self) -> str:
        """The TCP flags of its first packet."""
        return "S" if self.protocol == "tcp" else ""

    @property
    def endpoints(self) -> tuple[tuple[int, int], tuple[int, int], bool]:
        """The canonical key's endpoints, lower one first, and whether the client is the higher one."""
        client = (parse_address(self.client.address(self.family)), self.client_port)
        server = (parse_address(self.server.address(self.family)), self.server_port)
        return min(client, server), max(client, server), client > server

    def entry(self, action: str, **params: int) -> Entry:
        """Its entry in the connection table."""
        low, high, _ = self.endpoints
        key = {
            "addr_lo": low[0],
            "addr_hi": high[0],
            "port_lo": low[1],
            "port_hi": high[1],
            "protocol": PROTOCOLS[self.protocol],
        }
        return Entry("connection_table", key, action, params)

    def hashed_slot(self, slots: int) -> int:
        """The slot of a service by hash (see `Session.hashed_slot`)."""
        low, high, _ = self.endpoints
        return slot_of(low, high, PROTOCOLS[self.protocol], slots)

    def at_peer(self, member_id: int, *, far_end_is_client: bool = True) -> Entry:
        """The entry of a peer's flow: what its far end sends goes to the peer."""
        _, _, client_is_hi = self.endpoints
        return self.entry("forward_to_peer", member_id=member_id, far_is_hi=int(client_is_hi == far_end_is_client))

    def known(self, member_id: int, *, closing: bool = False) -> Entry:
        """The entry that gives its client's packets to a member."""
        _, _, client_is_hi = self.endpoints
        return self.entry(
            "forward_to_member", member_id=member_id, client_is_hi=int(client_is_hi), closing=int(closing)
        )

    def there(
        self, flags: str = "A", *, ttl: int = 64, seq: int = 1000, payload: bytes = b"payload", marks: int = 0
    ) -> Packet:
        """An IP packet from client to server."""
        head = ip_header(self.client.address(self.family), self.server.address(self.family), ttl, marks)
        return head / segment(self.protocol, self.client_port, self.server_port, flags=flags, seq=seq, payload=payload)

    def back(
        self, flags: str = "A", *, ttl: int = 64, seq: int = 1000, payload: bytes = b"payload", marks: int = 0
    ) -> Packet:
        """An IP packet from server to client."""
        head = ip_header(self.server.address(self.family), self.client.address(self.family), ttl, marks)
        return head / segment(self.protocol, self.server_port, self.client_port, flags=flags, seq=seq, payload=payload)

    def tcp_event(self, flags: str, *, from_client: bool) -> Digest | None:
        """The digest of a SYN, FIN or RST; None for UDP and for other segments."""
        if self.protocol != "tcp" or not set(flags) & set("SFR"):
            return None
        low, high, client_is_hi = self.endpoints
        bits = sum(FLAGS[flag] for flag in flags)
        return Digest("tcp_event_t", (low[0], high[0], low[1], high[1], int(client_is_hi == from_client), bits))

    def new_flow(self, vip_id: int, member_id: int, flags: str) -> Digest:
        """The digest that announces it; the flow cache has it now."""
        low, high, client_is_hi = self.endpoints
        bits = sum(FLAGS[flag] for flag in flags)
        ends = (low[0], high[0], low[1], high[1], PROTOCOLS[self.protocol])
        return Digest("new_flow_t", (*ends, int(client_is_hi), bits, vip_id, member_id, 1))


def policy_rule(
    action: str, priority: int = 10, params: dict[str, int] | None = None, **match: int | tuple[int, int]
) -> Entry:
    """An entry of the access policy; fields that are not named may be anything."""
    return Entry("policy_table", match, action, params or {}, priority)


def unknown_flow(port: int, payload: bytes, *, from_peer: bool = False) -> PacketIn:
    """What the controller hears of a packet whose flow may be a peer's."""
    return PacketIn(PuntReason.UNKNOWN_FLOW, port, payload, from_peer=int(from_peer))
