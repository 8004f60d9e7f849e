"""An own session that begins: its first packet is held until the peers know of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from depot.cluster import ConnectionAction
from depot.p4runtime.packets import PacketIn, PuntReason
from depot.switching.announcer import Announcement
from depot.switching.frames import FlowPacket
from depot.switching.policy import BYPASS_VIP_ID
from depot.switching.roster import Roster

__all__ = ["Beginning", "SessionKind"]


class SessionKind(Enum):
    """Who has a session."""

    SERVED = "served"
    """A client's, of a VIP or intercepted."""
    OUTBOUND = "outbound"
    """A proxy's own."""
    BYPASSED = "bypassed"
    """Nobody."""


@dataclass(slots=True)
class Beginning:
    """A session that begins."""

    seen: FlowPacket
    """Its first packet."""
    kind: SessionKind
    """Who has it."""
    vip_id: int
    """Its VIP, or BYPASS_VIP_ID."""
    member_id: int
    """The proxy; 0 if it is bypassed."""
    far_is_hi: bool
    """SERVED and BYPASSED: whether the client is the flow's higher endpoint; OUTBOUND: whether the server is."""
    from_peer: bool
    """Whether a peer sent it here, so that it stays."""

    @classmethod
    def of(cls, seen: FlowPacket, packet: PacketIn, roster: Roster, *, from_peer: bool) -> Beginning:
        """Return what NEW_SESSION or OUTBOUND_SESSION says."""
        source_is_hi = seen.source == seen.flow.high
        vip_id, member_id = packet.address, packet.detail
        if packet.reason == PuntReason.OUTBOUND_SESSION:
            # a proxy of several VIPs is known by one of them
            vip_of_protocol = roster.transparent_vip(member_id, seen.flow.protocol)
            vip_id = vip_id if vip_of_protocol is None else vip_of_protocol
            return cls(seen, SessionKind.OUTBOUND, vip_id, member_id, not source_is_hi, from_peer)
        if member_id == 0:
            return cls.bypassed(seen, source_is_hi, from_peer=from_peer)
        return cls(seen, SessionKind.SERVED, vip_id, member_id, source_is_hi, from_peer)

    @classmethod
    def bypassed(cls, seen: FlowPacket, client_is_hi: bool, *, from_peer: bool) -> Beginning:
        """Return a session that passes untouched."""
        return cls(seen, SessionKind.BYPASSED, BYPASS_VIP_ID, 0, client_is_hi, from_peer)

    @property
    def announcement(self) -> Announcement:
        """What the peers are told."""
        bypassed = self.kind is SessionKind.BYPASSED
        action = ConnectionAction.BYPASS if bypassed else ConnectionAction.FORWARD
        return Announcement(self.seen.flow, self.far_is_hi, action)
