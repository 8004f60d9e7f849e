"""The packet replication engine: multicast groups and clone sessions (P4Runtime 9.5)."""

from __future__ import annotations

from softswitch.entities import CloneSession, MulticastGroup, Replica
from softswitch.errors import EntryExists, EntryNotFound, InvalidArgument

__all__ = ["MAX_SESSION", "ReplicationStore"]

MAX_SESSION = 32767
"""The highest clone session id: 15 bits, as in simple_switch."""
_MAX_GROUP = 65535
"""`mcast_grp` has 16 bits."""
_MAX_INSTANCE = 65535
"""`egress_rid` has 16 bits."""

Copies = tuple[tuple[int, int], ...]
"""(port, instance) of each copy."""


class ReplicationStore:
    """Groups and sessions; translated code reads `group_copies` and `session_copies`."""

    def __init__(self) -> None:
        self.groups: dict[int, MulticastGroup] = {}
        self.sessions: dict[int, CloneSession] = {}
        self.group_copies: dict[int, Copies] = {}
        self.session_copies: dict[int, tuple[Copies, int]] = {}
        """Copies and the length they are cut to; zero: not cut."""

    def insert_group(self, group: MulticastGroup) -> None:
        if group.group_id in self.groups:
            raise EntryExists(f"there is a multicast group {group.group_id}")
        if not 0 < group.group_id <= _MAX_GROUP:
            raise InvalidArgument(f"a multicast group's id is from 1 to {_MAX_GROUP}, not {group.group_id}")
        self._put_group(group)

    def modify_group(self, group: MulticastGroup) -> None:
        self.group(group.group_id)
        self._put_group(group)

    def delete_group(self, group_id: int) -> None:
        self.group(group_id)
        del self.groups[group_id], self.group_copies[group_id]

    def group(self, group_id: int) -> MulticastGroup:
        if group_id not in self.groups:
            raise EntryNotFound(f"there is no multicast group {group_id}")
        return self.groups[group_id]

    def insert_session(self, session: CloneSession) -> None:
        if session.session_id in self.sessions:
            raise EntryExists(f"there is a clone session {session.session_id}")
        if not 0 < session.session_id <= MAX_SESSION:
            raise InvalidArgument(f"a clone session's id is from 1 to {MAX_SESSION}, not {session.session_id}")
        self._put_session(session)

    def modify_session(self, session: CloneSession) -> None:
        self.session(session.session_id)
        self._put_session(session)

    def delete_session(self, session_id: int) -> None:
        self.session(session_id)
        del self.sessions[session_id], self.session_copies[session_id]

    def session(self, session_id: int) -> CloneSession:
        if session_id not in self.sessions:
            raise EntryNotFound(f"there is no clone session {session_id}")
        return self.sessions[session_id]

    def _put_group(self, group: MulticastGroup) -> None:
        self.group_copies[group.group_id] = _copies(group.replicas)
        self.groups[group.group_id] = group

    def _put_session(self, session: CloneSession) -> None:
        if session.packet_length < 0:
            raise InvalidArgument("a clone session's packet length is not negative")
        self.session_copies[session.session_id] = _copies(session.replicas), session.packet_length
        self.sessions[session.session_id] = session


def _copies(replicas: tuple[Replica, ...]) -> Copies:
    copies = tuple((replica.port, replica.instance) for replica in replicas)
    if len(set(copies)) != len(copies):
        raise InvalidArgument("two replicas have the same port and instance")
    for port, instance in copies:
        if port < 0 or not 0 <= instance <= _MAX_INSTANCE:
            raise InvalidArgument(
                f"a replica's instance is from 0 to {_MAX_INSTANCE}: port {port}, instance {instance}"
            )
    return copies
