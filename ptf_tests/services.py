"""VIPs, members and sessions of the packet cases: table entries, digests and packets that belong together."""

from __future__ import annotations

import itertools
import zlib
from dataclasses import dataclass, field

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from depot.address import parse_address
from ptf_tests.case import Digest, Entry
from ptf_tests.network import CLIENT, MEMBER_1, MEMBER_2, Host, our_address, vip_address
from ptf_tests.packets import FLAGS, from_switch, ip_header, segment, to_switch

__all__ = ["MODES", "PROTOCOLS", "Service", "Session"]

PROTOCOLS = {"tcp": 6, "udp": 17}
MODES = ("nat", "dsr", "ipip4", "ipip6")
MEMBER_PORT = 8080

# Registers outlive a case on a target that cannot reset them: every service has a VIP id and client ports of its own.
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Service:
    """A VIP of one family and protocol whose sessions go to `members` by turns, in one mode."""

    family: int
    protocol: str
    mode: str
    members: tuple[Host, ...] = (MEMBER_1, MEMBER_2)
    schedule: tuple[int, ...] = (0, 1)
    """Indices into `members`, one for each slot."""
    by_hash: bool = False
    """True: a new session takes the slot that its endpoints hash to."""
    number: int = field(default_factory=lambda: next(_numbers))

    @property
    def vip(self) -> str:
        return vip_address(self.family)

    @property
    def port(self) -> int:
        """The VIP's port."""
        return 1000 + self.number

    def member_id(self, index: int) -> int:
        return 10 * self.number + index

    def member_address(self, index: int) -> str:
        """Where a member takes its packets: a tunnel may be of the other family than what it carries."""
        family = {"ipip4": 4, "ipip6": 6}.get(self.mode, self.family)
        return self.members[index].address(family)

    def tunnel_source(self) -> str:
        return our_address(2, 4 if self.mode == "ipip4" else 6)

    def entries(self) -> tuple[Entry, ...]:
        """The VIP, its schedule, its members, and for NAT their way back."""
        vip_key = {"address": parse_address(self.vip), "port": self.port, "protocol": PROTOCOLS[self.protocol]}
        action = "serve_vip_by_hash" if self.by_hash else "serve_vip"
        params = {"vip_id": self.number, "schedule_size": len(self.schedule), "shared": 0}
        entries = [Entry("vip_table", vip_key, action, params)]
        for slot, index in enumerate(self.schedule):
            key = {"vip_id": self.number, "slot": slot}
            entries.append(Entry("schedule_table", key, "assign_member", {"member_id": self.member_id(index)}))
        for index in range(len(self.members)):
            entries += self._member_entries(index)
        return tuple(entries)

    def _member_entries(self, index: int) -> list[Entry]:
        address = parse_address(self.member_address(index))
        key = {"member_id": self.member_id(index)}
        if self.mode == "dsr":
            return [Entry("member_table", key, "dsr_to_member", {"address": address})]
        if self.mode != "nat":
            tunnel = {"outer_src": parse_address(self.tunnel_source()), "outer_dst": address}
            return [Entry("member_table", key, "ipip_to_member", tunnel)]
        back_key = {"address": address, "port": MEMBER_PORT, "protocol": PROTOCOLS[self.protocol]}
        back = {"vip_addr": parse_address(self.vip), "vip_port": self.port}
        return [
            Entry("member_table", key, "nat_to_member", {"address": address, "port": MEMBER_PORT}),
            Entry("nat_source_table", back_key, "restore_vip", back),
        ]

    def wrap(self, index: int, inner: Packet) -> Packet:
        """A client's packet as the switch sends it to member `index` of a `dsr` or IP-in-IP service."""
        if self.mode == "dsr":
            return inner
        return outer_header(self.tunnel_source(), self.member_address(index), inner) / inner

    def session(self, index: int = 0, client: Host = CLIENT) -> Session:
        """The service's session number `index`, with client ports that no other one has."""
        return Session(self, 20000 + 16 * self.number + index, client)


@dataclass(frozen=True)
class Session:
    """A client's session with a service."""

    service: Service
    client_port: int
    client: Host

    @property
    def client_address(self) -> str:
        return self.client.address(self.service.family)

    @property
    def endpoints(self) -> tuple[tuple[int, int], tuple[int, int], bool]:
        """The canonical key's endpoints, lower one first, and whether the client is the higher one."""
        client = (parse_address(self.client_address), self.client_port)
        vip = (parse_address(self.service.vip), self.service.port)
        return min(client, vip), max(client, vip), client > vip

    def hashed_slot(self) -> int:
        """The slot of a service by hash: CRC-32 (IEEE 802.3) over the key in the program's order, modulo the slots."""
        low, high, _ = self.endpoints
        key = high[0].to_bytes(16, "big") + low[1].to_bytes(2, "big") + high[1].to_bytes(2, "big")
        key += low[0].to_bytes(16, "big") + bytes([PROTOCOLS[self.service.protocol]])
        return zlib.crc32(key) % len(self.service.schedule)

    def entry(self, action: str, **params: int) -> Entry:
        """The session's entry in the connection table."""
        low, high, _ = self.endpoints
        key = {
            "addr_lo": low[0],
            "addr_hi": high[0],
            "port_lo": low[1],
            "port_hi": high[1],
            "protocol": PROTOCOLS[self.service.protocol],
        }
        return Entry("connection_table", key, action, params)

    def known(self, index: int, *, closing: bool = False) -> Entry:
        """The entry that the controller installs: the session belongs to member `index`."""
        _, _, client_is_hi = self.endpoints
        member_id = self.service.member_id(index)
        return self.entry(
            "forward_to_member", member_id=member_id, client_is_hi=int(client_is_hi), closing=int(closing)
        )

    def new_flow(self, index: int, flags: str = "", *, remembered: bool = True) -> Digest:
        """The digest that announces the session with member `index`; `remembered`: the flow cache has it now."""
        low, high, client_is_hi = self.endpoints
        bits = sum(FLAGS[flag] for flag in flags)
        protocol = PROTOCOLS[self.service.protocol]
        ids = (self.service.number, self.service.member_id(index), int(remembered))
        return Digest("new_flow_t", (low[0], high[0], low[1], high[1], protocol, int(client_is_hi), bits, *ids))

    def tcp_event(self, flags: str, *, from_client: bool) -> Digest:
        """The digest of a SYN, FIN or RST."""
        low, high, client_is_hi = self.endpoints
        bits = sum(FLAGS[flag] for flag in flags)
        return Digest("tcp_event_t", (low[0], high[0], low[1], high[1], int(client_is_hi == from_client), bits))

    def segment_to(self, port: int, flags: str = "A", seq: int = 1000, payload: bytes = b"payload") -> Packet:
        """The client's segment for a port of the service."""
        protocol = self.service.protocol
        return segment(protocol, self.client_port, port, flags=flags, seq=seq, payload=payload)

    def segment_from(self, port: int, flags: str = "A", seq: int = 1000, payload: bytes = b"payload") -> Packet:
        """A segment for the client from a port of the service."""
        protocol = self.service.protocol
        return segment(protocol, port, self.client_port, flags=flags, seq=seq, payload=payload)

    def request(self, flags: str = "A", seq: int = 1000, payload: bytes = b"payload", ttl: int = 64) -> bytes:
        """What the client sends, as it arrives at the switch."""
        head = ip_header(self.client_address, self.service.vip, ttl)
        return to_switch(self.client, head / self.segment_to(self.service.port, flags, seq, payload))

    def delivered(
        self, index: int, flags: str = "A", seq: int = 1000, payload: bytes = b"payload", ttl: int = 63
    ) -> tuple[int, bytes]:
        """The same as it leaves towards member `index`."""
        service = self.service
        if service.mode == "nat":
            head = ip_header(self.client_address, service.member_address(index), ttl)
            return from_switch(service.members[index], head / self.segment_to(MEMBER_PORT, flags, seq, payload))
        inner = ip_header(self.client_address, service.vip, ttl) / self.segment_to(service.port, flags, seq, payload)
        return from_switch(service.members[index], service.wrap(index, inner))

    def reply(self, index: int, flags: str = "A", seq: int = 1000, payload: bytes = b"payload") -> bytes:
        """What member `index` answers, as it arrives at the switch (with NAT, from the member's own address)."""
        service = self.service
        nat = service.mode == "nat"
        head = ip_header(service.member_address(index) if nat else service.vip, self.client_address)
        port = MEMBER_PORT if nat else service.port
        return to_switch(service.members[index], head / self.segment_from(port, flags, seq, payload))

    def returned(self, flags: str = "A", seq: int = 1000, payload: bytes = b"payload") -> tuple[int, bytes]:
        """The same as it leaves towards the client."""
        head = ip_header(self.service.vip, self.client_address, 63)
        return from_switch(self.client, head / self.segment_from(self.service.port, flags, seq, payload))


def outer_header(source: str, destination: str, inner: Packet) -> Packet:
    """The tunnel header that the program puts in front of `inner` (RFC 2003, RFC 2473)."""
    inner_is_ipv4 = isinstance(inner, IP)
    protocol = 4 if inner_is_ipv4 else 41
    traffic_class = inner.tos if inner_is_ipv4 else inner.tc
    if "." in destination:
        return IP(src=source, dst=destination, id=0, flags="DF", ttl=64, proto=protocol, tos=traffic_class)
    return IPv6(src=source, dst=destination, hlim=64, nh=protocol, tc=traffic_class)
