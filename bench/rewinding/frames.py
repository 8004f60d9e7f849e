"""The frames that are rewound to: one template, and where in it flows differ."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Frames", "flow_of_turn"]

_ETHERNET = 14
_IPV4, _IPV6 = 0x0800, 0x86DD
_TCP, _UDP = 6, 17
_STRIDE = 0x9E3779B1
_PORT_BITS = 15
"""Both as in rewinder.bpf.c."""


@dataclass(frozen=True, slots=True)
class Frames:
    """A TCP or UDP frame of flow 0, without VLAN tag or extension headers, and how many flows are made from it.

    Flow n has the source port plus the low 15 bits of n and the source address plus the rest of n (or destination port
    and address, see `back`); both sums must stay below 65 536 (of the address: in its low 16 bits).
    """

    template: bytes
    """The frame of flow 0, checksums right, at least as long as its headers rounded up to 8."""
    flows: int = 1
    """A power of two."""
    back: bool = False
    """The frames are on their way back: it is the destination that differs."""

    def __post_init__(self) -> None:
        if self.flows < 1 or self.flows & (self.flows - 1):
            raise ValueError(f"{self.flows} flows: not a power of two")
        if len(self.template) < self.rewound:
            raise ValueError(f"a frame of {len(self.template)} bytes is too short to be rewound: {self.rewound}")
        if self.flows > 1:
            self._expect_room()

    @property
    def is_ipv4(self) -> bool:
        """Else it is IPv6."""
        kind = self._number(12)
        if kind not in (_IPV4, _IPV6):
            raise ValueError(f"EtherType {kind:#06x}: neither IPv4 nor IPv6")
        return kind == _IPV4

    @property
    def rewound(self) -> int:
        """Bytes restored: all headers, rounded up to 8."""
        return (self._segment + (20 if self._protocol == _TCP else 8) + 7) // 8 * 8

    def definitions(self) -> dict[str, int]:
        """What `rewinder.bpf.c` is compiled with."""
        values = {"FRAME": len(self.template), "REWOUND": self.rewound, "FLOWS": self.flows}
        values |= {"ADDRESS_AT": self._address, "PORT_AT": self._port, "CHECKSUM_AT": self._checksum}
        return values | ({"ID_AT": _ETHERNET + 4} if self.is_ipv4 else {})

    def endpoint(self, flow: int) -> tuple[bytes, int]:
        """Address, 4 or 16 bytes, and port of a flow's end that is its own."""
        size, end = 4 if self.is_ipv4 else 16, self._address + 2
        address = int.from_bytes(self.template[end - size : end], "big") + (flow >> _PORT_BITS)
        port = self._number(self._port) + (flow & ((1 << _PORT_BITS) - 1))
        return address.to_bytes(size, "big"), port

    def frame(self, flow: int) -> bytes:
        """The frame of a flow, as the rewinder makes it."""
        if self.flows == 1:
            return self.template
        made = bytearray(self.template)
        address, port = flow >> _PORT_BITS, flow & ((1 << _PORT_BITS) - 1)
        changes = {self._address: address, self._port: port, self._checksum: _sum_less(port + address)}
        if self.is_ipv4:
            changes[_ETHERNET + 4] = _sum_less(address)
        for offset, change in changes.items():
            number = self._number(offset) + change
            made[offset : offset + 2] = _folded(number).to_bytes(2, "big")
        return bytes(made)

    @property
    def _address(self) -> int:
        """Where the low 16 bits of the address that differs are."""
        source = _ETHERNET + (14 if self.is_ipv4 else 22)
        return source + (4 if self.is_ipv4 else 16) if self.back else source

    @property
    def _port(self) -> int:
        return self._segment + (2 if self.back else 0)

    @property
    def _protocol(self) -> int:
        protocol = self.template[_ETHERNET + (9 if self.is_ipv4 else 6)]
        if protocol not in (_TCP, _UDP):
            raise ValueError(f"protocol {protocol}: neither TCP nor UDP")
        return protocol

    @property
    def _segment(self) -> int:
        return _ETHERNET + ((self.template[_ETHERNET] & 15) * 4 if self.is_ipv4 else 40)

    @property
    def _checksum(self) -> int:
        return self._segment + (16 if self._protocol == _TCP else 6)

    def _number(self, offset: int) -> int:
        return int.from_bytes(self.template[offset : offset + 2], "big")

    def _expect_room(self) -> None:
        last = (self.flows - 1) >> _PORT_BITS
        ports = min(self.flows, 1 << _PORT_BITS) - 1
        if self._number(self._port) + ports > 0xFFFF or self._number(self._address) + last > 0xFFFF:
            raise ValueError(f"{self.flows} flows do not fit behind this frame's port and address")


def _sum_less(number: int) -> int:
    """What is added to a checksum's sum to take a number off (RFC 1071)."""
    return 2 * 0xFFFF - number


def _folded(total: int) -> int:
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def flow_of_turn(turn: int, flows: int) -> int:
    """The flow that the packet number `turn`, from 0, belongs to: each has its turn before one has a second."""
    return turn * _STRIDE % (1 << 32) & (flows - 1)
