"""Addresses, endpoints and flow keys as the forwarding program holds them.

Every IP address is one unsigned 128-bit int, IPv4 mapped into IPv6 as ``::ffff:a.b.c.d`` (RFC 4291 2.5.5.2), so there
is one table per purpose, not one per family. A flow key is canonical, the numerically lower (address, port) endpoint
first, so one table entry serves both directions of a flow.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

__all__ = [
    "ALL_IPV4",
    "AddressError",
    "Endpoint",
    "FlowKey",
    "InterfaceAddress",
    "Prefix",
    "Protocol",
    "format_address",
    "format_mac",
    "is_ipv4",
    "parse_address",
    "parse_endpoint",
    "parse_interface",
    "parse_mac",
    "parse_prefix",
    "same_family",
]

_IPV4_MAPPED = 0xFFFF << 32
_IPV4_PREFIX_BITS = 96
_ALL_ONES = (1 << 128) - 1
_MAC_PATTERN = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)


class AddressError(ValueError):
    """A text that is no address, prefix, endpoint or MAC; the message says what was expected."""


class Protocol(IntEnum):
    """IP protocol numbers (IANA) of the sessions that Depot switches."""

    TCP = 6
    UDP = 17


def parse_address(text: str) -> int:
    """Return the 128-bit int of an IPv4 or IPv6 address; IPv4 comes back mapped. Raises AddressError."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        raise AddressError(f"{text!r} is no IPv4 or IPv6 address") from None
    if parsed.version == 4:
        return _IPV4_MAPPED | int(parsed)
    if parsed.scope_id is not None:
        raise AddressError(f"{text!r} carries a zone; write the address without %{parsed.scope_id}")
    return int(parsed)


def format_address(address: int) -> str:
    """Return the usual text of a 128-bit address: dotted quad when it is an IPv4-mapped one, else RFC 5952."""
    if is_ipv4(address):
        return str(ipaddress.IPv4Address(address & 0xFFFFFFFF))
    return str(ipaddress.IPv6Address(address))


def is_ipv4(address: int) -> bool:
    """Say whether a 128-bit address is an IPv4-mapped one."""
    return address >> 32 == 0xFFFF


def same_family(one: int, other: int) -> bool:
    """Say whether two 128-bit addresses are both IPv4 or both IPv6."""
    return is_ipv4(one) == is_ipv4(other)


def parse_mac(text: str) -> int:
    """Return the 48-bit int of a MAC written ``02:00:00:00:00:01``. Raises AddressError."""
    if not _MAC_PATTERN.fullmatch(text):
        raise AddressError(f"{text!r} is no MAC address; write six hexadecimal pairs like 02:00:00:00:00:01")
    return int(text.replace(":", ""), 16)


def format_mac(mac: int) -> str:
    """Return ``02:00:00:00:00:01`` for a 48-bit int."""
    return mac.to_bytes(6, "big").hex(":")


@dataclass(frozen=True, slots=True)
class Prefix:
    """A network as the longest-prefix match of ``route_table`` holds it."""

    network: int
    """Lowest address, 128 bit, all host bits zero."""
    length: int
    """Prefix bits of the 128-bit form, 0..128: an IPv4 /24 is 120."""

    def __contains__(self, address: object) -> bool:
        """Say whether a 128-bit address lies inside; prefixes of one family never hold the other's addresses."""
        if not isinstance(address, int):
            return False
        if self.length < _IPV4_PREFIX_BITS and is_ipv4(address):
            return False
        return address & self.mask == self.network

    @property
    def mask(self) -> int:
        """The 128-bit netmask."""
        return _ALL_ONES ^ ((1 << (128 - self.length)) - 1)

    @property
    def ipv4(self) -> bool:
        """Whether this is an IPv4 network."""
        return self.length >= _IPV4_PREFIX_BITS and is_ipv4(self.network)

    def __str__(self) -> str:
        length = self.length - _IPV4_PREFIX_BITS if self.ipv4 else self.length
        return f"{format_address(self.network)}/{length}"


ALL_IPV4 = Prefix(_IPV4_MAPPED, _IPV4_PREFIX_BITS)
"""0.0.0.0/0 in its 128-bit form."""


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """An address of a switch port with the network that is on-link there, written ``10.0.0.1/24``."""

    address: int
    """The port's own address, 128 bit."""
    prefix: Prefix
    """The on-link network."""

    def __str__(self) -> str:
        return f"{format_address(self.address)}/{str(self.prefix).rpartition('/')[2]}"


def parse_prefix(text: str) -> Prefix:
    """Return the Prefix of ``10.0.0.0/24`` or ``2001:db8::/32``; host bits must be zero. Raises AddressError."""
    interface = _parse_slash(text)
    if interface.address != interface.prefix.network:
        raise AddressError(f"{text!r} has bits set after the prefix; did you mean {interface.prefix}?")
    return interface.prefix


def parse_interface(text: str) -> InterfaceAddress:
    """Return the InterfaceAddress of ``10.0.0.1/24`` or ``fd00::1/64``. Raises AddressError."""
    return _parse_slash(text)


def _parse_slash(text: str) -> InterfaceAddress:
    host, slash, bits = text.partition("/")
    if not slash:
        raise AddressError(f"{text!r} lacks its prefix length; write it like {host}/{32 if '.' in host else 64}")
    address = parse_address(host)
    widest = 32 if "." in host and ":" not in host else 128
    if not (bits.isascii() and bits.isdigit() and int(bits) <= widest):
        raise AddressError(f"{text!r} has no prefix length between 0 and {widest}")
    length = int(bits) + 128 - widest
    mask = _ALL_ONES ^ ((1 << (128 - length)) - 1)
    return InterfaceAddress(address, Prefix(address & mask, length))


class Endpoint(NamedTuple):
    """One end of a flow. A tuple, since endpoints are compared, hashed and ordered on the hot path."""

    address: int
    """128-bit address."""
    port: int
    """TCP or UDP port, 0..65535."""

    def __str__(self) -> str:
        host = format_address(self.address)
        return f"{host}:{self.port}" if is_ipv4(self.address) else f"[{host}]:{self.port}"


def parse_endpoint(text: str) -> Endpoint:
    """Return the Endpoint of ``10.0.0.1:80`` or ``[2001:db8::1]:80``. Raises AddressError."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or (":" in host) != bracketed or not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise AddressError(f"{text!r} is no endpoint; write 10.0.0.1:80 or [2001:db8::1]:80")
    return Endpoint(parse_address(host.strip("[]") if bracketed else host), int(port))


class FlowKey(NamedTuple):
    """The canonical key of ``connection_table``: (addr_lo, port_lo) <= (addr_hi, port_hi).

    A tuple, since it keys every session map. Build it with `FlowKey.between`, or field by field from a digest,
    which is canonical already.
    """

    addr_lo: int
    """128-bit address of the numerically lower endpoint."""
    port_lo: int
    """Port of the lower endpoint."""
    addr_hi: int
    """128-bit address of the higher endpoint."""
    port_hi: int
    """Port of the higher endpoint."""
    protocol: int
    """IP protocol number, see `Protocol`."""

    @classmethod
    def between(cls, one: Endpoint, other: Endpoint, protocol: int) -> FlowKey:
        """Return the key of the flow between two endpoints, in whichever order they are given."""
        low, high = (one, other) if one <= other else (other, one)
        return cls(low.address, low.port, high.address, high.port, protocol)

    @property
    def low(self) -> Endpoint:
        """The lower endpoint."""
        return Endpoint(self.addr_lo, self.port_lo)

    @property
    def high(self) -> Endpoint:
        """The higher endpoint."""
        return Endpoint(self.addr_hi, self.port_hi)

    def client(self, client_is_hi: bool) -> Endpoint:
        """Return the client's endpoint; `client_is_hi` as the ``new_flow`` digest gives it."""
        return self.high if client_is_hi else self.low

    def server(self, client_is_hi: bool) -> Endpoint:
        """Return the server's (the VIP's) endpoint; `client_is_hi` as the ``new_flow`` digest gives it."""
        return self.low if client_is_hi else self.high

    def __str__(self) -> str:
        name = Protocol(self.protocol).name.lower() if self.protocol in (6, 17) else str(self.protocol)
        return f"{name} {self.low} <-> {self.high}"
