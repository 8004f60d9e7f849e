"""Random packets around a set of services: whole, odd and broken ones, from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.packet import Packet, Raw

from depot.address import parse_address, parse_mac
from ptf_tests.all_cases import CASES
from ptf_tests.case import Entry
from ptf_tests.cases_responder import group_mac, solicit
from ptf_tests.cluster import Peer, policy_rule
from ptf_tests.gateways import GATEWAY, VirtualMacs, gateway_frame, virtual_mac_entry
from ptf_tests.network import (
    CLIENT,
    FAMILIES,
    FAR,
    MEMBER_1,
    MEMBER_2,
    PEER,
    PORTS,
    ROUTER,
    STRANGER,
    UNRESOLVED,
    Host,
    our_address,
    our_mac,
    vip_address,
)
from ptf_tests.packets import ERRORS, arp, frame, icmp_error, ip_header, ping, segment, to_switch
from ptf_tests.services import MEMBER_PORT, MODES, PROTOCOLS, Service

__all__ = ["RandomPackets"]

HOSTS = (CLIENT, MEMBER_1, MEMBER_2, ROUTER, STRANGER, PEER, FAR, UNRESOLVED)
PEERS = (Peer(4), Peer(6))
"""Members of the cluster, each with tunnels of one family."""
BUCKETS = VirtualMacs(size=16)
"""At each port one gateway address, some of its buckets of each kind and some of other gateways."""
SHORTEST_FRAME = 14  # a real port carries none without a whole Ethernet header

_POLICY_PRIORITY = 1 << 20
"""Above those of `RandomEntries`, which are all different too: whose turn it is among equals no specification says."""
_POLICY_PORTS = 50000
"""From here on servers' ports have rules of the access policy: above all clients' ports of the cases."""
_OPTIONS: Sequence[Sequence[tuple[str, int | bytes | None]]] = (
    (),
    (("MSS", 1460),),
    (("MSS", 1460), ("SAckOK", b""), ("NOP", None), ("WScale", 7)),
    (("MSS", 65535),),
    (("MSS", 536),),
    (("NOP", None), ("NOP", None), ("MSS", 1460)),
    (("WScale", 7),),
)


class RandomPackets:
    """Services of each kind, and packets for, from and around them. The same seed gives the same packets."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.services = [Service(f, p, m) for f in FAMILIES for p in PROTOCOLS for m in MODES]
        self.services += [Service(f, p, "dsr", schedule=(0, 1, 1), by_hash=True) for f in FAMILIES for p in PROTOCOLS]
        self.services += [Service(f, p, "dsr", shared=True) for f in FAMILIES for p in PROTOCOLS]
        self._corpus = [step.packet for case in CASES.values() if case.wire for step in case.steps]
        self._batch = 0

    def entries(self) -> tuple[Entry, ...]:
        """Of all services, peers, and an access policy. One NAT service of each kind has the members' way back."""
        entries = {entry.key: entry for service in self.services for entry in service.entries()}
        peers = [entry for peer in PEERS for entry in peer.entries()]
        sizes = [Entry("mss_table", {"is_ipv6": bit}, "clamp_mss", {"max": 1420 - 40 * bit}) for bit in (0, 1)]
        return (*entries.values(), *peers, *sizes, *self._policy(), *self._gateways())

    def _policy(self) -> Iterator[Entry]:
        """A rule of each kind, for servers' ports that only routed packets have; a proxy that opens connections."""
        own, shared = (next(s for s in self.services if s.mode == "dsr" and s.shared == kind) for kind in (False, True))
        rules: tuple[tuple[str, dict[str, int]], ...] = (
            ("hold", {}),
            ("send_to_holder", {"member_id": PEERS[0].member_id}),
            ("intercept", own.allocation()),
            ("intercept_by_hash", own.allocation()),
            ("intercept", shared.allocation()),
            ("bypass", {"shared": 0}),
            ("bypass", {"shared": 1}),
            ("deny", {}),
        )
        for number, (action, params) in enumerate(rules):
            low = _POLICY_PORTS + 1500 * number
            yield policy_rule(action, _POLICY_PRIORITY + number, params, dst_port=(low, low + 1499))
        proxy = {"port": MEMBER_2.port, "mac": parse_mac(MEMBER_2.mac)}
        yield Entry("originator_table", proxy, "claim", {"vip_id": own.number, "member_id": own.member_id(1)})

    @staticmethod
    def _gateways() -> Iterator[Entry]:
        """Virtual MACs of each kind at each port, and their group."""
        led = {"port": ROUTER.port, "next_hop": parse_address(ROUTER.ipv4), "mtu": 1400}
        kinds: tuple[tuple[str, dict[str, int]], ...] = (("own", {}), ("watch", {}), ("lead_to_gateway", led))
        for port in PORTS:
            yield from BUCKETS.address_entries(port)[:2]
            yield virtual_mac_entry(BUCKETS.group, "watch", at=port)
            for bucket in range(BUCKETS.size * 3 // 4):
                action, params = kinds[bucket % 3]
                yield virtual_mac_entry(BUCKETS.numbered(bucket), action, at=port, **params)
        yield from BUCKETS.address_entries()[2:]

    def begin(self, seed: int, flows: int) -> None:
        """Start over from another seed; batches with the same number of `flows` use the same client ports."""
        self.random.seed(seed)
        self._batch = flows

    def batch(self, size: int) -> tuple[int, list[bytes]]:
        """A port, and packets that arrive there one after the other; no session lasts longer than its batch."""
        self._batch += 1
        port = self.random.choice(PORTS)
        return port, [self._packet(port) for _ in range(size)]

    def _packet(self, port: int) -> bytes:
        kinds: tuple[tuple[int, Callable[[int], bytes]], ...] = (
            (40, self._of_session),
            (10, self._of_icmp),
            (8, self._routed),
            (16, self._tunnel),
            (4, self._fragment),
            (4, self._neighbour),
            (4, self._gateway_asked),
            (2, self._gateway_frame),
            (4, self._odd_bytes),
            (10, self._from_corpus),
        )
        weights, makers = zip(*kinds, strict=True)
        packet = self.random.choices(makers, weights)[0](port)
        if self.random.random() < 0.15:
            packet = bytes.fromhex(self._virtual_mac().replace(":", "")) + packet[6:]
        return self._broken(packet) if self.random.random() < 0.2 else packet

    def _host(self, port: int) -> Host:
        return self.random.choice([host for host in HOSTS if host.port == port])

    def _client_port(self) -> int:
        """A few ports for each batch."""
        return self.random.choice(_client_ports(self._batch))

    def next_client_ports(self) -> Sequence[int]:
        """The client ports of the next batch."""
        return _client_ports(self._batch + 1)

    def _payload(self) -> bytes:
        return self.random.randbytes(self.random.choice((0, 1, 7, 64, 65, 500, 1330, 1380, 1440)))

    def _segment(self, protocol: str, src_port: int, dst_port: int) -> Packet:
        flags = self.random.choice(("S", "S", "A", "PA", "FA", "R", "SA", "SF", "RA"))
        sequence = self.random.choice((1, 2, 0xFFFFFFFF))
        made = segment(protocol, src_port, dst_port, flags=flags, seq=sequence, payload=self._payload())
        if protocol == "udp" and self.random.random() < 0.1:
            made[UDP].chksum = 0
        if protocol == "tcp" and "S" in flags:
            made[TCP].options = list(self.random.choice(_OPTIONS))
        return made

    def _ttl(self) -> int:
        return self.random.choice((0, 1, 2, *[64] * 9, 255))

    def _of_session(self, port: int) -> bytes:
        """From a client to a VIP, or from a member back."""
        service = self.random.choice(self.services)
        host = self._host(port)
        own = host.address(service.family)
        if host in service.members and self.random.random() < 0.7:
            client = self.random.choice((CLIENT, STRANGER)).address(service.family)
            source_port = MEMBER_PORT if service.mode == "nat" else service.port
            source = own if service.mode == "nat" else service.vip
            head = ip_header(source, client, self._ttl(), self.random.randrange(256))
            return to_switch(host, head / self._segment(service.protocol, source_port, self._client_port()))
        head = ip_header(own, service.vip, self._ttl(), self.random.randrange(256))
        return to_switch(host, head / self._segment(service.protocol, self._client_port(), service.port))

    def _of_icmp(self, port: int) -> bytes:
        """An error about a session's packet, or a ping."""
        service = self.random.choice(self.services)
        host = self._host(port)
        own = host.address(service.family)
        client = self.random.choice((CLIENT, STRANGER)).address(service.family)
        if self.random.random() < 0.2:
            target = self.random.choice((service.vip, our_address(port, service.family), client))
            return to_switch(host, ping(own, target, ttl=self._ttl(), data=self._payload()))
        answer = self._segment(service.protocol, service.port, self._client_port())
        quoted, target = ip_header(service.vip, client) / answer, service.vip
        if host in service.members:
            request = self._segment(service.protocol, self._client_port(), MEMBER_PORT)
            quoted, target = ip_header(client, own) / request, client
        return to_switch(host, icmp_error(self.random.choice(ERRORS), own, target, quoted, ttl=self._ttl()))

    def _routed(self, port: int) -> bytes:
        host, family = self._host(port), self.random.choice(FAMILIES)
        target = self.random.choice(HOSTS).address(family)
        made = self._segment(self.random.choice(tuple(PROTOCOLS)), self._client_port(), self.random.randrange(65536))
        return to_switch(host, ip_header(host.address(family), target, self._ttl()) / made)

    def _tunnel(self, port: int) -> bytes:
        """Any packet within a tunnel."""
        makers = (self._of_session, self._of_session, self._of_icmp, self._routed, self._fragment, self._odd_bytes)
        inner = self.random.choice((*makers, self._from_corpus))(self.random.choice(PORTS))
        return self.tunnelled(port, self._broken(inner) if self.random.random() < 0.1 else inner)

    def tunnelled(self, port: int, inner: bytes) -> bytes:
        """The packet of a frame in a tunnel: mostly of a peer to us, else of anybody to anybody."""
        dice, peer, host = self.random, self.random.choice(PEERS), self._host(port)
        source = peer.address if dice.random() < 0.9 else host.address(peer.outer)
        target = peer.ours if dice.random() < 0.85 else dice.choice(HOSTS).address(peer.outer)
        protocol = 4 if inner[12:14] == b"\x08\x00" else 41
        if dice.random() < 0.03:
            protocol = 45 - protocol
        marks, hops = dice.randrange(256), self._ttl()
        if peer.outer == 4:
            head: Packet = IP(src=source, dst=target, ttl=hops, tos=marks, proto=protocol)
        else:
            head = IPv6(src=source, dst=target, hlim=hops, tc=marks, nh=protocol)
        return to_switch(host, head / Raw(inner[14:]))

    def _fragment(self, port: int) -> bytes:
        host, family = self._host(port), self.random.choice(FAMILIES)
        target = self.random.choice((vip_address(family), STRANGER.address(family)))
        content = bytes(self._segment("udp", self._client_port(), self.random.choice(self.services).port))
        offset, more = self.random.choice((0, 0, 1, 100)), self.random.randrange(2)
        protocol = self.random.choice((6, 17, 1, 58))
        if family == 4:
            head: Packet = IP(src=host.ipv4, dst=target, flags=more, frag=offset, proto=protocol)
        else:
            head = IPv6(src=host.ipv6, dst=target) / IPv6ExtHdrFragment(offset=offset, m=more, nh=protocol)
        return to_switch(host, head / Raw(content))

    def _neighbour(self, port: int) -> bytes:
        """ARP from a host that nobody has seen yet."""
        tail = self.random.randrange(1 << 16)
        mac, address = f"02:0a:0b:0c:{tail >> 8:02x}:{tail & 0xFF:02x}", f"10.0.{port}.{self.random.randrange(256)}"
        asked = self.random.choice((our_address(port, 4), vip_address(4), "10.0.1.77"))
        return frame(mac, our_mac(port), arp(self.random.randrange(4), mac, address, our_mac(port), asked))

    def _virtual_mac(self) -> str:
        """Anybody's."""
        return BUCKETS.numbered(self.random.randrange(BUCKETS.size))

    def _gateway_asked(self, port: int) -> bytes:
        """ARP, neighbour discovery or a ping for the gateway address, from a host that nobody has seen yet."""
        tail = self.random.randrange(1 << 16)
        mac = f"02:0a:0b:0d:{tail >> 8:02x}:{tail & 0xFF:02x}"
        host = Host(port, mac, f"10.0.{port}.{tail & 0xFF}", f"2001:db8:{port}::d:{tail:x}")
        family, kind = self.random.choice(FAMILIES), self.random.randrange(3)
        if kind == 0:
            return frame(mac, BUCKETS.of(host), ping(host.address(family), GATEWAY[family], ttl=self._ttl()))
        if family == 4:
            return frame(mac, BUCKETS.of(host), arp(1, mac, host.ipv4, "00:00:00:00:00:00", GATEWAY[4]))
        source = "::" if kind == 1 else host.ipv6
        return frame(mac, group_mac(GATEWAY[6]), solicit(GATEWAY[6], host, src=source, option=kind != 1))

    def _gateway_frame(self, port: int) -> bytes:
        """To the group, to one of it, to the router."""
        target = self.random.choice((BUCKETS.group, BUCKETS.group, self._virtual_mac(), our_mac(port)))
        return gateway_frame(self._virtual_mac(), target, self._payload())

    def _odd_bytes(self, port: int) -> bytes:
        """Noise behind an honest Ethernet header."""
        ether_type = self.random.choice((0x0800, 0x0806, 0x86DD, self.random.randrange(1 << 16)))
        head = bytes.fromhex(our_mac(port).replace(":", "")) + self.random.randbytes(6) + ether_type.to_bytes(2, "big")
        return head + self.random.randbytes(self.random.randrange(200))

    def _from_corpus(self, port: int) -> bytes:
        """A packet of the cases, at a port it may not belong to."""
        packet = self.random.choice(self._corpus)
        return bytes.fromhex(our_mac(port).replace(":", "")) + packet[6:]

    def _broken(self, packet: bytes) -> bytes:
        """Some bits turned, cut, or with bytes behind."""
        broken = bytearray(packet)
        for _ in range(self.random.randrange(4)):
            broken[self.random.randrange(min(len(broken), 90))] ^= 1 << self.random.randrange(8)
        match self.random.randrange(3):
            case 0:
                return bytes(broken[: self.random.randrange(SHORTEST_FRAME, len(broken) + 1)])
            case 1:
                return bytes(broken) + bytes(self.random.randrange(30))
        return bytes(broken)


def _client_ports(batch: int) -> Sequence[int]:
    return [1024 + (batch * 8 + number) % 60000 for number in range(8)]
