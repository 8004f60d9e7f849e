"""The tunnels between this member and its peers: their entries, and the peers' numbers as members. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from depot.address import is_ipv4, same_family
from depot.config.cluster_model import ClusterConfig, PeerConfig
from depot.p4runtime.entry import Action, Entry, mss_entry, tunnel_entry
from depot.switching.desired import member_entry
from depot.switching.identities import Identities, MemberAction

__all__ = ["PeerTunnels"]

_IPV4_HEADER, _IPV6_HEADER, _TCP_HEADER = 20, 40, 20


class PeerTunnels:
    """The tunnels of one member; without a cluster there are none."""

    def __init__(self, cluster: ClusterConfig | None) -> None:
        self._cluster = cluster
        self._actions = {peer.name: action for peer in self._peers() if (action := self._action(peer))}

    def _peers(self) -> tuple[PeerConfig, ...]:
        return () if self._cluster is None else self._cluster.peers

    def _action(self, peer: PeerConfig) -> MemberAction | None:
        """How packets reach a peer: between the first addresses of ours and theirs that have one family."""
        ends = next(self._pairs(peer), None)
        return None if ends is None else MemberAction(Action.IPIP_TO_MEMBER, ends)

    def _pairs(self, peer: PeerConfig) -> Iterator[tuple[int, int]]:
        ours = () if self._cluster is None else self._cluster.tunnel
        return ((own, their) for own in ours for their in peer.tunnel if same_family(own, their))

    @property
    def actions(self) -> dict[str, MemberAction]:
        """How each peer is reached, by name."""
        return self._actions

    def numbers(self, identities: Identities, now: float) -> dict[str, int]:
        """Return each peer's number as a member, by name."""
        return {name: identities.member(action, now) for name, action in self._actions.items()}

    def entries(self, identities: Identities, now: float) -> list[Entry]:
        """Return the peers as members, the tunnels that are ours, and the largest segments that fit into them."""
        found = [member_entry(identities.member(action, now), action) for action in self._actions.values()]
        found += [tunnel_entry(their, own) for peer in self._peers() for own, their in self._pairs(peer)]
        if self._cluster is not None and self._actions:
            outer = max(
                _IPV4_HEADER if is_ipv4(action.params[0]) else _IPV6_HEADER for action in self._actions.values()
            )
            room = self._cluster.mss_mtu - outer - _TCP_HEADER
            found += [mss_entry(room - _IPV4_HEADER, ipv6=False), mss_entry(room - _IPV6_HEADER, ipv6=True)]
        return found
