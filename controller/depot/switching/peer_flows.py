"""What the peers say of connections, as entries of the switch: where their packets go, and for how long. Sans-IO.

The directory is asked, never remembered: an entry is what it says now. What it does not say is only good for a moment:
a connection that was handed to a peer and that the peer has not announced yet, and what was found in a switch before
the peers could speak.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from itertools import takewhile

from depot.address import Endpoint, FlowKey
from depot.cluster import Claim, ConnectionAction, flow_of
from depot.config.cluster_model import ClusterConfig, EntryMode
from depot.p4runtime.entry import Action, Entry, connection_flow
from depot.switching.directory import Directory
from depot.switching.holding import Target
from depot.switching.off_box import OffBox, OffBoxConnection

__all__ = ["HandoffCounts", "PeerFlows"]

HANDOFF_WAIT = 2.0
"""Seconds that a peer may take to announce a connection that was handed to it."""
OFF_BOX_IDLE = 60.0
"""Seconds without a packet after which a lazily written entry of a peer's connection leaves the switch."""


@dataclass(slots=True)
class HandoffCounts:
    """What was counted since the start, in connections."""

    handoffs: int = 0
    """Given to a peer by the steering hook."""
    handoffs_lost: int = 0
    """Of those, the ones that the peer did not take."""


class PeerFlows:
    """The peers' connections at one switch. is_own: whether a flow is a session of ours, which no entry may touch."""

    def __init__(self, directory: Directory, is_own: Callable[[FlowKey], bool]) -> None:
        self._directory = directory
        self._is_own = is_own
        self._is_eager = False
        self._numbers: dict[str, int] = {}
        self._up: set[str] = set()
        self._handoffs: dict[FlowKey, tuple[str, float]] = {}  # to whom and until when it may be taken, the first first
        self._unclassified: dict[FlowKey, Entry] = {}  # bypassed, found in the switch: ours or a peer's
        self.off_box = OffBox()
        """Those that have an entry."""
        self.counts = HandoffCounts()
        """What was counted."""

    # Configuration

    def reconfigure(self, cluster: ClusterConfig | None) -> None:
        """Take when entries are written."""
        self._is_eager = cluster is not None and cluster.entries is EntryMode.EAGER

    def set_numbers(self, numbers: dict[str, int]) -> None:
        """Take the peers' numbers as members of the switch; entries of peers that have another now are changed."""
        if numbers == self._numbers:
            return
        self._numbers = numbers
        for one in list(self.off_box):
            number = numbers.get(one.owner)
            if number is None:
                self.off_box.remove(one.flow)
            elif one.member_id not in (0, number):
                self.off_box.put(replace(one, member_id=number))

    # Where packets go

    def target(self, claim: Claim) -> Target | None:
        """Return where the packets of a peer's connection go; None: that peer cannot be reached from this switch.

        What does not come from the far end comes from the owner itself, and passes here on its way: sent back it would
        go round for ever.
        """
        if claim.action is ConnectionAction.BYPASS:
            return Target(0)
        number = self._numbers.get(claim.owner)
        return None if number is None else Target(number, claim.flow.client(claim.source_is_hi), is_peer=True)

    def known(self, flow: FlowKey) -> Target | None:
        """Return where the packets of a flow with an entry go; None: it has none."""
        one = self.off_box.get(flow)
        if one is None or one.member_id == 0:
            return None if one is None else Target(0)
        return Target(one.member_id, flow.client(one.far_is_hi), is_peer=True)

    def write(self, flow: FlowKey, target: Target) -> None:
        """Have the entry of a flow written that was relayed until now, if somebody still has it."""
        claim = self._directory.lookup(flow)
        if claim is not None:
            self._put(flow, claim.owner, target)
        elif (handoff := self._handoffs.get(flow)) is not None:
            self._put(flow, handoff[0], target)

    def _put(self, flow: FlowKey, owner: str, target: Target) -> None:
        timeout = 0.0 if self._is_eager else OFF_BOX_IDLE
        self.off_box.put(OffBoxConnection(flow, owner, target.member_id, target.far_end == flow.high, timeout))

    # Handoffs

    @property
    def reachable(self) -> set[str]:
        """The peers that a connection can be handed to."""
        return self._up & self._numbers.keys()

    def hand_off(self, flow: FlowKey, client: Endpoint, peer: str, now: float) -> Target:
        """Make a client's new session an off-box connection of a peer, which is to announce it (seed 000, 3)."""
        self.counts.handoffs += 1
        self._handoffs.pop(flow, None)  # an earlier one ends earlier
        self._handoffs[flow] = peer, now + HANDOFF_WAIT
        return Target(self._numbers[peer], client, is_peer=True)

    def next_deadline(self) -> float | None:
        """When `handle_timer` wants to be called; None: not yet."""
        return next((until for _, until in self._handoffs.values()), None)

    def handle_timer(self, now: float) -> None:
        """Give up what a peer was given and did not take."""
        for flow in list(takewhile(lambda flow: self._handoffs[flow][1] <= now, self._handoffs)):
            del self._handoffs[flow]
            if self._directory.lookup(flow) is None:
                self.counts.handoffs_lost += 1
                self.off_box.remove(flow)

    # What peers say

    def learnt(self, keys: Collection[bytes]) -> None:
        """A peer announced connections, by compact key."""
        if self._handoffs:
            for key in keys:
                self._handoffs.pop(flow_of(key), None)
        for key in keys if self._is_eager else [key for key in keys if key in self.off_box]:
            self.look_again(flow_of(key))

    def forgotten(self, keys: Collection[bytes]) -> None:
        """A peer has connections no more, by compact key."""
        for key in [key for key in keys if key in self.off_box]:
            self.look_again(self.off_box.flow(key))

    def look_again(self, flow: FlowKey) -> None:
        """Make a flow's entry what the peers say of it now."""
        claim = self._directory.lookup(flow)
        if claim is None:
            if flow not in self._handoffs:
                self.off_box.remove(flow)
        elif not self._is_own(flow) and (target := self.target(claim)) is not None:
            self._put(flow, claim.owner, target)

    def peer_changed(self, peer: str, *, is_up: bool) -> None:
        """A peer is there, or it is gone and its connections are forgotten."""
        if is_up:
            self._up.add(peer)
        else:
            self._up.discard(peer)
            for flow in [flow for flow, (taker, _) in self._handoffs.items() if taker == peer]:
                del self._handoffs[flow]
                self.counts.handoffs_lost += 1
            self.off_box.remove_owner(peer)

    # The switch

    def connected(self, entries: Iterable[Entry]) -> None:
        """The switch holds these entries of peers' or bypassed connections, none of a session of ours."""
        present: dict[FlowKey, Entry] = {}
        owners = {number: name for name, number in self._numbers.items()}
        self._unclassified.clear()
        for entry in entries:
            flow = connection_flow(entry.values)
            is_known = self.off_box.get(flow) is not None
            if is_known or entry.action is Action.FORWARD_TO_PEER:
                present[flow] = entry
                if not is_known:
                    self.off_box.adopt(entry, flow, owners.get(entry.params[0], "") if entry.params else "")
            else:
                self._unclassified[flow] = entry
        self.off_box.rewrite(present)

    def verify(self) -> list[Entry]:
        """All peers have spoken: let go of what nobody claims; return bypassed connections that must be ours."""
        for one in list(self.off_box):
            self.look_again(one.flow)
        unclassified, self._unclassified = self._unclassified, {}
        ours = []
        for flow, entry in unclassified.items():
            claim = self._directory.lookup(flow)
            if claim is None:
                ours.append(entry)
            else:
                self.off_box.adopt(entry, flow, claim.owner)
                self.look_again(flow)
        return ours

    def idle(self, flow: FlowKey) -> bool:
        """An entry saw no packet for its idle timeout; False: it is no peer's."""
        self._unclassified.pop(flow, None)
        return self.off_box.remove(flow)
