"""What members say to each other on a bus: the messages of docs/wire.md behind a header that numbers them.

A channel is a stream of its own and in order; a bus may lose what is on its way when it restarts. So a member says with
everything which of its lives speaks and how many batches of changes that one has sent.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from depot.cluster.errors import ErrorCode, RemoteError
from depot.cluster.wire import ConnectionRun, Keepalive, Leave, read_message

__all__ = ["BusKind", "BusMessage", "encode_bus", "read_bus", "read_runs", "read_sign"]

_VERSION = 1
_HEADER = struct.Struct("!BBHIQQ")


class BusKind(IntEnum):
    """The second byte of the header."""

    CHANGES = 1
    """Connection messages follow."""
    SIGN = 2
    """One PEER_KEEPALIVE or PEER_LEAVE follows."""
    TABLE = 3
    """The sender's table as of this sequence number is in the store; nothing follows."""
    ASK = 4
    """Whoever gets this is to put its table into the store; nothing follows."""


@dataclass(frozen=True, slots=True)
class BusMessage:
    """One message on the bus."""

    kind: BusKind
    """What it is."""
    epoch: int
    """Which life of the sender speaks, 64 bits: a later one has the greater number. 0 in ASK."""
    sequence: int
    """The batches of changes that this life has sent, this one included, 64 bits. 0 in ASK."""
    count: int = 0
    """TABLE: how many parts it has. ASK: how often it has been asked in vain. 32 bits."""
    body: bytes = b""
    """Whole messages of docs/wire.md."""


def encode_bus(message: BusMessage) -> bytes:
    """Return the bytes of a message."""
    return _HEADER.pack(_VERSION, message.kind, 0, message.count, message.epoch, message.sequence) + message.body


def read_bus(data: bytes) -> BusMessage:
    """Return the message. Raises RemoteError if it is none."""
    if len(data) < _HEADER.size:
        raise RemoteError(ErrorCode.BAD_MESSAGE, f"{len(data)} bytes are no message of the bus")
    version, kind, zero, count, epoch, sequence = _HEADER.unpack_from(data)
    if version != _VERSION:
        raise RemoteError(ErrorCode.WRONG_VERSION, f"the sender speaks version {version}, we speak {_VERSION}")
    body = data[_HEADER.size :]
    is_bare = kind in (BusKind.TABLE, BusKind.ASK)
    if zero or not BusKind.CHANGES <= kind <= BusKind.ASK or is_bare != (not body):
        raise RemoteError(ErrorCode.BAD_MESSAGE, f"header {data[: _HEADER.size].hex()} begins no message of the bus")
    return BusMessage(BusKind(kind), epoch, sequence, count, body)


def read_runs(data: bytes) -> list[ConnectionRun]:
    """Return the connection messages that the whole of `data` must be. Raises RemoteError."""
    return list(_runs(data))


def _runs(data: bytes) -> Iterator[ConnectionRun]:
    offset = 0
    while offset < len(data):
        found = read_message(data, offset)
        if found is None or not isinstance(found[0], ConnectionRun):
            raise RemoteError(ErrorCode.BAD_MESSAGE, f"no connection message at byte {offset}")
        yield found[0]
        offset = found[1]


def read_sign(data: bytes) -> Keepalive | Leave:
    """Return the one message that `data` must be. Raises RemoteError."""
    found = read_message(data, 0)
    if found is None or found[1] != len(data) or not isinstance(found[0], Keepalive | Leave):
        raise RemoteError(ErrorCode.BAD_MESSAGE, f"{data[:8].hex()} is no sign of life")
    return found[0]
