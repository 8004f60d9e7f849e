"""What members of a cluster say to each other, as bytes and as objects (seed 000, 2.3; docs/wire.md).

Every message begins with four bytes, which tell its size. Connection messages make up almost all of the traffic, so
they are not decoded one by one: neighbours of the same address family come as one `ConnectionRun`, whose records the
database reads in one loop. Decoding knows no state.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from depot.address import FlowKey, Protocol, is_ipv4
from depot.cluster.errors import ClusterError, ErrorCode, RemoteError

__all__ = [
    "CONNECTION_KINDS",
    "HEADER_SIZE",
    "KEEPALIVE",
    "LONGEST_MESSAGE",
    "VERSION",
    "AddressFamily",
    "ConnectionAction",
    "ConnectionKind",
    "ConnectionRecord",
    "ConnectionRun",
    "Join",
    "Keepalive",
    "Leave",
    "Message",
    "MessageType",
    "Reject",
    "SyncAction",
    "encode_connection",
    "encode_join",
    "encode_leave",
    "encode_reject",
    "flow_of",
    "header_word",
    "key_of",
    "read_message",
]

VERSION = 1
"""Of this format; only PEER_JOIN carries it (seed 000, 2.3)."""

HEADER_SIZE = 4
"""Bytes of the header that every message has (seed 000, Fig. 4)."""

_LONGEST_IDENTITY = 255
"""Its length is one byte of the header."""

LONGEST_MESSAGE = HEADER_SIZE + _LONGEST_IDENTITY
"""Bytes of the longest message, a PEER_JOIN: no more than that is ever kept waiting for its rest."""


class MessageType(IntEnum):
    """The first byte (seed 000, Table 1)."""

    INSTALL_CONNECTION = 1
    REMOVE_CONNECTION = 2
    CLUSTER_PEER_SYNC = 3


class ConnectionAction(IntEnum):
    """The second byte of connection messages (seed 000, 2.3)."""

    FORWARD = 1
    """Packets of the connection go to the sender of the message."""
    BYPASS = 2
    """Packets of the connection go on towards their destination untouched."""


class SyncAction(IntEnum):
    """The second byte of CLUSTER_PEER_SYNC (seed 000, 2.3)."""

    PEER_JOIN = 1
    PEER_KEEPALIVE = 2
    PEER_LEAVE = 3
    PEER_REJECT = 4


class AddressFamily(IntEnum):
    """The fourth byte of connection messages: the IP version (seed 000, 2.3). The third is IANA's `Protocol`."""

    IPV4 = 4
    IPV6 = 6


@dataclass(frozen=True, slots=True)
class ConnectionKind:
    """What the header of a connection message says."""

    installs: bool
    """INSTALL_CONNECTION; else REMOVE_CONNECTION."""
    action: ConnectionAction
    """What becomes of the connection's packets."""
    protocol: Protocol
    """TCP or UDP."""
    family: AddressFamily
    """Of both addresses."""


@dataclass(frozen=True, slots=True)
class Join:
    """PEER_JOIN: the first message of either end."""

    version: int
    """The sender's format, 0..255."""
    identity: str
    """The sender's name, 1..255 ASCII letters; empty if the version is not ours, whose rest we cannot read."""


@dataclass(frozen=True, slots=True)
class Keepalive:
    """PEER_KEEPALIVE: the sender lives; the first one says also that all of its connections have been sent."""


@dataclass(frozen=True, slots=True)
class Leave:
    """PEER_LEAVE: the sender ends the channel, and with code LEAVING its membership."""

    code: int
    """An `ErrorCode`, or the number of one that we do not know, 0..255."""


@dataclass(frozen=True, slots=True)
class Reject:
    """PEER_REJECT: the sender will not peer."""

    code: int
    """An `ErrorCode`, or the number of one that we do not know, 0..255."""


ConnectionRecord = tuple[int, bytes, bytes, bytes, bytes]
"""Header as a big-endian number, source port, destination port, source address, destination address."""

_RECORDS = {
    AddressFamily.IPV4: struct.Struct("!I2s2s4s4s"),
    AddressFamily.IPV6: struct.Struct("!I2s2s16s16s"),
}
_HEADERS = {
    AddressFamily.IPV4: struct.Struct("!I12x"),
    AddressFamily.IPV6: struct.Struct("!I36x"),
}
_WORD = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class ConnectionRun:
    """INSTALL_CONNECTION and REMOVE_CONNECTION messages that followed each other, of one address family."""

    family: AddressFamily
    """Of every address inside."""
    data: bytes
    """The whole messages, 16 bytes each for IPv4, 40 for IPv6."""

    def __len__(self) -> int:
        return len(self.data) // _RECORDS[self.family].size

    def records(self) -> Iterator[ConnectionRecord]:
        """Yield the messages in order; each header is a key of CONNECTION_KINDS."""
        return _RECORDS[self.family].iter_unpack(self.data)


Message = ConnectionRun | Join | Keepalive | Leave | Reject
"""All that can be read from a channel."""


def header_word(first: int, second: int, third: int, fourth: int) -> int:
    """Return the four bytes of a header as the number that records carry."""
    return first << 24 | second << 16 | third << 8 | fourth


CONNECTION_KINDS: dict[int, ConnectionKind] = {
    header_word(message_type, action, protocol, family): ConnectionKind(
        message_type is MessageType.INSTALL_CONNECTION, action, protocol, family
    )
    for message_type in (MessageType.INSTALL_CONNECTION, MessageType.REMOVE_CONNECTION)
    for action in ConnectionAction
    for protocol in Protocol
    for family in AddressFamily
}
"""Every header that a connection message can have."""

_WORDS_OF_FAMILY = {
    family: frozenset(word for word, kind in CONNECTION_KINDS.items() if kind.family is family)
    for family in AddressFamily
}

KEEPALIVE = bytes((MessageType.CLUSTER_PEER_SYNC, SyncAction.PEER_KEEPALIVE, 0, 0))
"""The whole message."""


def read_message(data: bytes, offset: int) -> tuple[Message, int] | None:
    """Return the message that begins at an offset and where the next one begins; None if its end is not there yet.

    Raises RemoteError if no message begins like this. As many connection messages as are there make one run.
    """
    if len(data) - offset < HEADER_SIZE:
        return None
    kind = CONNECTION_KINDS.get(_WORD.unpack_from(data, offset)[0])
    if kind is None:
        return _read_sync(data, offset)
    end = _end_of_run(data, offset, kind.family)
    if end == offset:
        return None
    return ConnectionRun(kind.family, data[offset:end]), end


def _end_of_run(data: bytes, offset: int, family: AddressFamily) -> int:
    headers = _HEADERS[family]
    words = _WORDS_OF_FAMILY[family]
    whole = (len(data) - offset) // headers.size
    view = memoryview(data)[offset : offset + whole * headers.size]
    for number, (word,) in enumerate(headers.iter_unpack(view)):
        if word not in words:
            return offset + number * headers.size
    return offset + whole * headers.size


def _read_sync(data: bytes, offset: int) -> tuple[Message, int] | None:
    first, second, third, fourth = data[offset : offset + HEADER_SIZE]
    end = offset + HEADER_SIZE
    if first != MessageType.CLUSTER_PEER_SYNC:
        raise RemoteError(ErrorCode.BAD_MESSAGE, f"header {data[offset:end].hex()} begins no message")
    if second == SyncAction.PEER_JOIN:
        return _read_join(data, end, version=third, length=fourth)
    if fourth == 0:
        if second == SyncAction.PEER_KEEPALIVE and third == 0:
            return Keepalive(), end
        if second == SyncAction.PEER_LEAVE:
            return Leave(third), end
        if second == SyncAction.PEER_REJECT:
            return Reject(third), end
    raise RemoteError(ErrorCode.BAD_MESSAGE, f"header {data[offset:end].hex()} begins no message")


def _read_join(data: bytes, start: int, version: int, length: int) -> tuple[Message, int] | None:
    if version != VERSION:
        return Join(version, ""), start
    end = start + length
    if len(data) < end:
        return None
    identity = data[start:end]
    if not _is_identity(identity):
        raise RemoteError(ErrorCode.BAD_MESSAGE, f"PEER_JOIN with the identity {identity.hex() or 'of no letters'}")
    return Join(version, identity.decode("ascii")), end


def _is_identity(identity: bytes) -> bool:
    return 0 < len(identity) <= _LONGEST_IDENTITY and all(0x21 <= letter <= 0x7E for letter in identity)


def encode_join(identity: str) -> bytes:
    """Return a PEER_JOIN of our version. Raises ClusterError if the identity is not 1..255 visible ASCII letters."""
    name = identity.encode("utf-8")
    if not _is_identity(name):
        raise ClusterError(f"the identity {identity!r} is not 1 to {_LONGEST_IDENTITY} ASCII letters without spaces")
    return bytes((MessageType.CLUSTER_PEER_SYNC, SyncAction.PEER_JOIN, VERSION, len(name))) + name


def encode_leave(code: ErrorCode) -> bytes:
    """Return a PEER_LEAVE."""
    return bytes((MessageType.CLUSTER_PEER_SYNC, SyncAction.PEER_LEAVE, code, 0))


def encode_reject(code: ErrorCode) -> bytes:
    """Return a PEER_REJECT."""
    return bytes((MessageType.CLUSTER_PEER_SYNC, SyncAction.PEER_REJECT, code, 0))


_CONNECTION_HEADERS = {
    (kind.installs, int(kind.action), int(kind.protocol), kind.family is AddressFamily.IPV4): word.to_bytes(4, "big")
    for word, kind in CONNECTION_KINDS.items()
}


def encode_connection(installs: bool, action: int, key: bytes, source_is_hi: bool) -> bytes:
    """Return an INSTALL_CONNECTION or REMOVE_CONNECTION for a compact key, see `key_of`."""
    header = _CONNECTION_HEADERS[installs, action, key[0], len(key) == 13]
    if len(key) == 13:
        if source_is_hi:
            return header + key[11:13] + key[5:7] + key[7:11] + key[1:5]
        return header + key[5:7] + key[11:13] + key[1:5] + key[7:11]
    if source_is_hi:
        return header + key[35:37] + key[17:19] + key[19:35] + key[1:17]
    return header + key[17:19] + key[35:37] + key[1:17] + key[19:35]


def key_of(flow: FlowKey) -> bytes:
    """Return a flow as the compact key of the database: protocol, lower address, its port, higher address, its port.

    13 bytes if both addresses are IPv4, else 37. Raises ClusterError if the protocol is neither TCP nor UDP.
    """
    addr_lo, port_lo, addr_hi, port_hi, protocol = flow
    if protocol not in (Protocol.TCP, Protocol.UDP):
        raise ClusterError(f"protocol {protocol} is neither TCP nor UDP")
    if is_ipv4(addr_lo) and is_ipv4(addr_hi):
        return _IPV4_KEY.pack(protocol, addr_lo & 0xFFFFFFFF, port_lo, addr_hi & 0xFFFFFFFF, port_hi)
    return _IPV6_KEY.pack(protocol, addr_lo.to_bytes(16, "big"), port_lo, addr_hi.to_bytes(16, "big"), port_hi)


_IPV4_KEY = struct.Struct("!BIHIH")
_IPV6_KEY = struct.Struct("!B16sH16sH")
_MAPPED = 0xFFFF << 32


def flow_of(key: bytes) -> FlowKey:
    """Return the flow of a compact key, see `key_of`."""
    if len(key) == _IPV4_KEY.size:
        protocol, addr_lo, port_lo, addr_hi, port_hi = _IPV4_KEY.unpack(key)
        return FlowKey(_MAPPED | addr_lo, port_lo, _MAPPED | addr_hi, port_hi, protocol)
    protocol, low, port_lo, high, port_hi = _IPV6_KEY.unpack(key)
    return FlowKey(int.from_bytes(low, "big"), port_lo, int.from_bytes(high, "big"), port_hi, protocol)
