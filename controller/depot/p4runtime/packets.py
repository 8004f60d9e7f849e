"""Packets to and from the controller as plain values (`packet_in_t`, `packet_out_t` and punt reasons of `p4src`)."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

__all__ = ["DropReason", "PacketIn", "PacketOut", "PuntReason"]


class PuntReason(IntEnum):
    """Why a packet came to the controller (`punt_reason_t`, constants.p4)."""

    TTL_EXPIRED = 1
    TOO_BIG = 2
    """`PacketIn.detail` is the largest packet, in bytes."""
    NEIGHBOUR_UNRESOLVED = 3
    """`PacketIn.detail` is the port, `PacketIn.address` the next hop."""
    RESET_SESSION = 4


class DropReason(IntEnum):
    """Why a packet was dropped: the index into the counter `drops` (`drop_reason_t`, constants.p4)."""

    MALFORMED = 1
    BAD_CHECKSUM = 2
    NOT_OUR_MAC = 3
    UNKNOWN_ETHER_TYPE = 4
    IP_OPTIONS = 5
    FRAGMENT = 6
    MARTIAN = 7
    NO_SESSION = 8
    NO_MEMBER = 9
    MEMBER_GONE = 10
    DENIED = 11
    NOT_SERVED = 12
    NO_ROUTE = 13
    FOREIGN_NEIGHBOUR = 14
    BAD_PACKET_OUT = 15


class PacketIn(NamedTuple):
    """A packet that the pipeline handed over, as it came in."""

    ingress_port: int
    """Where it came in."""
    reason: int
    """A `PuntReason`; an unknown number comes from a newer program."""
    detail: int
    """16 bit; its meaning depends on the reason."""
    address: int
    """128 bit; its meaning depends on the reason."""
    payload: bytes
    """The whole Ethernet frame."""


class PacketOut(NamedTuple):
    """A packet to be sent."""

    payload: bytes
    """The whole Ethernet frame."""
    egress_port: int = 0
    """Where it leaves, as it is; of no meaning with `submit`."""
    ingress_port: int = 0
    """With `submit`: where it is taken to have come in."""
    submit: bool = False
    """Whether it goes through the whole pipeline."""
