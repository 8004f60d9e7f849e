"""What a switch's core asks of the cluster: whose a connection is."""

from __future__ import annotations

from typing import Protocol

from depot.address import FlowKey
from depot.cluster import Claim

__all__ = ["NO_CLUSTER", "Directory"]


class Directory(Protocol):
    """The connection database of the peers, as it is now."""

    @property
    def in_sync(self) -> bool:
        """Whether all connections of all peers that can be reached are known."""

    def lookup(self, flow: FlowKey) -> Claim | None:
        """Return the peers' claim that counts for a flow; None: nobody's."""


class _NoCluster:
    """There are no peers."""

    in_sync = True

    def lookup(self, flow: FlowKey) -> Claim | None:
        return None


NO_CLUSTER: Directory = _NoCluster()
"""The directory of a depot that is no member of a cluster."""
