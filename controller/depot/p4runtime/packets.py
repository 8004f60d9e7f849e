"""Packets to and from the controller as plain values (`packet_in_t`, `packet_out_t` and their constants in `p4src`)."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

__all__ = ["DropReason", "PacketIn", "PacketOut", "PuntReason", "Submission"]


class PuntReason(IntEnum):
    """Why a packet came to the controller (`punt_reason_t`, constants.p4)."""

    TTL_EXPIRED = 1
    TOO_BIG = 2
    """`PacketIn.detail` is the largest packet, in bytes."""
    NEIGHBOUR_UNRESOLVED = 3
    """`PacketIn.detail` is the port, `PacketIn.address` the next hop."""
    RESET_SESSION = 4
    NEW_SESSION = 5
    """Of a shared service: the peers are to know first. `PacketIn.detail` is the member, 0 for a bypassed session;
    `PacketIn.address` the vip_id."""
    UNKNOWN_FLOW = 6
    """Of a flow that may be a peer's."""
    OUTBOUND_SESSION = 7
    """A proxy of ours opens it: `PacketIn.detail` is the member, `PacketIn.address` the vip_id, as
    `originator_table` has them. Also a datagram that answers a session whose entry is not there yet."""
    ASKED = 8
    """An address behind virtual MACs is asked for, one that is watched: the payload is the ready answer, to leave at
    the ingress port. `PacketIn.detail` is 0 for ARP, 1 for neighbour discovery; `PacketIn.address` the asker's MAC."""
    GATEWAY_FRAME = 9
    """A frame of EtherType 0x88B5 to a virtual MAC, or the group of them, that is watched."""


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
    PEER_LOOP = 16
    HOLD_EXPIRED = 17


class Submission(IntEnum):
    """What becomes of a packet-out (`PACKET_OUT_*`, constants.p4)."""

    EMIT = 0
    """Leaves at `PacketOut.egress_port` as it is."""
    SUBMIT = 1
    """Takes the pipeline as if it had come in at `PacketOut.ingress_port`."""
    RELEASE = 2
    """Goes to `PacketOut.member_id`, a proxy of ours or a peer, whether its session has an entry or not; with member 0
    where its route leads, as a bypassed session does. Tells nothing."""
    SUBMIT_HELD = 3
    """As `SUBMIT`, but has been held long enough: it does not come back as `PuntReason.UNKNOWN_FLOW`."""
    RELEASE_FROM_MEMBER = 4
    """Of a session, in the direction away from its member: as `RELEASE`, but goes where its route leads."""


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
    """The whole Ethernet frame, without the tunnel if a peer sent it; with `PuntReason.ASKED` the answer to it."""
    from_peer: bool = False
    """Whether a peer sent it through its tunnel: it must not go on to a peer."""


class PacketOut(NamedTuple):
    """A packet to be sent."""

    payload: bytes
    """The whole Ethernet frame."""
    egress_port: int = 0
    """Where it leaves; for `Submission.EMIT` only."""
    ingress_port: int = 0
    """Where it is taken to have come in; for all but `Submission.EMIT`."""
    submit: Submission = Submission.EMIT
    """What becomes of it."""
    member_id: int = 0
    """Where it goes; for `Submission.RELEASE` only."""
    from_peer: bool = False
    """As `PacketIn.from_peer` said of it."""
