"""One gateway address and its virtual MACs, as the packet cases have them: on the clients' port, behind no router."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from depot.address import format_mac, parse_address, parse_mac
from ptf_tests.case import Entry
from ptf_tests.network import CLIENT, FAMILIES, Host, route

__all__ = [
    "GATEWAY",
    "GATEWAY_FRAME_TYPE",
    "PORT",
    "SERIES",
    "VirtualMacs",
    "gateway_frame",
    "lan_host",
    "virtual_mac_entry",
]

PORT = CLIENT.port
GATEWAY = {4: "10.0.1.254", 6: "2001:db8:1::fe"}
"""The address that all hosts know, by family."""
BASE = 0x02_88_88_88_00_00
"""Of the virtual MACs; those of the seed's own experiment have 88 in the fifth place, which K = 4096 needs."""
GATEWAY_FRAME_TYPE = 0x88B5
"""EtherType (IEEE 802, local experimental)."""
SERIES: dict[str, Sequence[int]] = {
    "consecutive": [0x00_00_03_00_00_00 + number for number in range(0x18, 0xF8)],
    "steps_of_256": [0x00_00_03_00_00_00 + (number << 8) for number in range(0x18, 0xF8)],
}
"""The MACs of the seed's 224 hosts, in its first and in its second experiment (seed 004)."""
_hosts = itertools.count(1)


def lan_host(mac: int = 0) -> Host:
    """A host on the LAN with addresses that nobody has heard of (see `cases_responder.asker`); 0: a MAC of its own."""
    number = next(_hosts)
    made = mac or 0x02_00_00_0A_00_00 + 977 * number
    return Host(PORT, format_mac(made), f"10.0.{100 + (number >> 8)}.{number & 0xFF}", f"2001:db8:1::9:{number:x}")


@dataclass(frozen=True, slots=True)
class VirtualMacs:
    """K virtual MACs, and which is whose."""

    size: int = 256
    """K, a power of two."""
    by_crc: bool = True
    """False: the bucket is the MAC modulo K; True: its CRC-32 modulo K."""
    base: int = BASE

    @property
    def group(self) -> str:
        """The multicast MAC that gateways tell each other and the switches by."""
        return format_mac(self.base | 1 << 40)

    @property
    def params(self) -> dict[str, int]:
        """As actions have them."""
        return {"base": self.base, "mask": self.size - 1, "by_crc": int(self.by_crc)}

    def of(self, host: Host) -> str:
        """The virtual MAC that a host is told."""
        mac = parse_mac(host.mac)
        number = zlib.crc32(mac.to_bytes(6, "big")) if self.by_crc else mac
        return format_mac(self.base | number % self.size)

    def address_entries(self, port: int = PORT) -> tuple[Entry, ...]:
        """The gateway address of both families: answered at this port, and never routed to."""
        answered = [
            Entry("local_address_table", {"port": port, "address": parse_address(a)}, "answer_by_bucket", self.params)
            for a in GATEWAY.values()
        ]
        return (*answered, route(f"{GATEWAY[4]}/32", "route_local"), route(f"{GATEWAY[6]}/128", "route_local"))

    def numbered(self, bucket: int) -> str:
        """The virtual MAC of a bucket, from 0."""
        return format_mac(self.base | bucket)

    def held(self, *hosts: Host, action: str = "own", **params: int) -> tuple[Entry, ...]:
        """Entries for the virtual MACs of these hosts."""
        macs = dict.fromkeys(self.of(host) for host in hosts)
        return tuple(virtual_mac_entry(mac, action, **params) for mac in macs)

    def neighbours(self, *hosts: Host) -> tuple[Entry, ...]:
        """What makes these hosts see their virtual MACs as sources, by both addresses."""
        return tuple(
            Entry(
                "neighbour_table",
                {"port": host.port, "address": parse_address(host.address(family))},
                "set_neighbour_by_bucket",
                {"dst_mac": parse_mac(host.mac), **self.params},
            )
            for host in hosts
            for family in FAMILIES
        )


def virtual_mac_entry(mac: str, action: str, at: int = PORT, **params: int) -> Entry:
    """What becomes of a virtual MAC at a port."""
    return Entry("virtual_mac_table", {"port": at, "mac": parse_mac(mac)}, action, params)


def gateway_frame(
    source: str, destination: str, content: bytes = b"taken over", kind: int = GATEWAY_FRAME_TYPE
) -> bytes:
    """A frame such as gateways send on the LAN."""
    packet: Packet = Ether(src=source, dst=destination, type=kind)
    return bytes(packet / Raw(content) if content else packet)
