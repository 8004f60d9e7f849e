"""Which controller may write: client arbitration for one device, without sockets.

A stream is named by any hashable token of the shell's choice. Each change of the election returns the notices to
send, in order. Source: P4Runtime specification 1.4, section 5 (client arbitration and controller replication).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from softswitch.server.status import Code, Refusal

__all__ = ["DEFAULT_ROLE", "MAX_STREAMS_PER_ROLE", "Arbitration", "Notice"]

DEFAULT_ROLE = ""
"""The role of a client that names none: full access to the pipeline (section 5.1)."""

MAX_STREAMS_PER_ROLE = 64
"""More clients than any replicated controller has; what is above is a client that leaks streams."""

MAX_ROLES = 64
"""Roles are remembered for the life of the server (their highest election id must be), so their number is bounded."""

_STATUS_TEXT = {
    Code.OK: "you are the primary",
    Code.ALREADY_EXISTS: "you are a backup: another client is the primary",
    Code.NOT_FOUND: "you are a backup: there is no primary",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """One MasterArbitrationUpdate for one client (section 5.4)."""

    stream: Hashable
    """Who is told."""
    role: str
    """The role of the election; `DEFAULT_ROLE` where the client named none."""
    election_id: int | None
    """The highest election id any primary of this role ever had; None when there was none."""
    code: Code
    """OK for the primary, ALREADY_EXISTS for a backup beside a primary, NOT_FOUND for a backup without one."""

    @property
    def message(self) -> str:
        """The code in words."""
        return _STATUS_TEXT[self.code]


@dataclass(slots=True)
class _Election:
    """The state of one role."""

    clients: dict[Hashable, int | None] = field(default_factory=dict)
    """Election id of each live client; None when the client left it unset."""
    highest: int | None = None
    """The highest election id ever accepted for a primary; survives that primary."""
    primary: Hashable | None = None


class Arbitration:
    """The elections of one device, one for each role."""

    def __init__(self, device_id: int, max_streams_per_role: int = MAX_STREAMS_PER_ROLE) -> None:
        self.device_id = device_id
        self._max_streams = max_streams_per_role
        self._elections: dict[str, _Election] = {}
        self._roles: dict[Hashable, str] = {}

    def update(
        self,
        stream: Hashable,
        *,
        device_id: int,
        role: str = DEFAULT_ROLE,
        election_id: int | None = None,
        has_role_config: bool = False,
    ) -> list[Notice]:
        """Take a MasterArbitrationUpdate (section 5.3).

        Raises `Refusal` when the stream must be closed with that code; the caller then calls `disconnect`.
        """
        self._check(stream, device_id, role, has_role_config)
        election = self._elections.get(role)
        if election is None:
            if len(self._elections) >= MAX_ROLES:
                raise Refusal(Code.RESOURCE_EXHAUSTED, f"this server keeps at most {MAX_ROLES} roles")
            election = _Election()
        if stream not in election.clients and len(election.clients) >= self._max_streams:
            raise Refusal(
                Code.RESOURCE_EXHAUSTED, f"{self._max_streams} clients of role {role!r} are connected already"
            )
        if election_id is not None:
            for other, its_id in election.clients.items():
                if its_id == election_id and other != stream:
                    # the words "election ID … is already used" are what clients look for
                    text = f"Election ID {election_id} is already used by another connection with the same role"
                    raise Refusal(Code.INVALID_ARGUMENT, text)
        self._elections[role] = election
        self._roles[stream] = role
        election.clients[stream] = election_id
        return self._elect(stream, election, role)

    def disconnect(self, stream: Hashable) -> list[Notice]:
        """Forget a client whose stream ended; unknown streams are none."""
        role = self._roles.pop(stream, None)
        if role is None:
            return []
        election = self._elections[role]
        del election.clients[stream]
        if election.primary != stream:
            return []
        election.primary = None
        return self._tell_all(election, role)

    def check_write(self, role: str, election_id: int | None) -> None:
        """Refuse a Write or SetForwardingPipelineConfig that does not come from the primary (sections 12 and 14)."""
        election = self._elections.get(role)
        if election is None and role != DEFAULT_ROLE:
            raise Refusal(Code.NOT_FOUND, f"no client of role {role!r} is known to device {self.device_id}")
        if election is None or election.primary is None:
            raise Refusal(
                Code.PERMISSION_DENIED,
                "not primary: no client is; open a StreamChannel and send a MasterArbitrationUpdate first",
            )
        if election_id is None or election.clients[election.primary] != election_id:
            said = "no election id" if election_id is None else f"election id {election_id}"
            raise Refusal(Code.PERMISSION_DENIED, f"not primary: {said}, the primary has another")

    def is_primary(self, stream: Hashable) -> bool:
        """Whether this stream's client is the primary of its role."""
        role = self._roles.get(stream)
        return role is not None and self._elections[role].primary == stream

    def primaries(self) -> list[Hashable]:
        """The streams that take packet-ins, digests and idle timeouts: the primary of each role."""
        return [election.primary for election in self._elections.values() if election.primary is not None]

    def _check(self, stream: Hashable, device_id: int, role: str, has_role_config: bool) -> None:
        own_role = self._roles.get(stream)
        if own_role is None and device_id != self.device_id:
            raise Refusal(Code.NOT_FOUND, f"no device {device_id} here, only device {self.device_id}")
        if device_id != self.device_id:
            text = f"this stream belongs to device {self.device_id}; open another one for device {device_id}"
            raise Refusal(Code.FAILED_PRECONDITION, text)
        if own_role is not None and own_role != role:
            text = f"this stream has role {own_role!r}; open another one for role {role!r}"
            raise Refusal(Code.FAILED_PRECONDITION, text)
        if has_role_config:
            text = "role.config is not understood here: every role has full access to the pipeline; leave it unset"
            raise Refusal(Code.INVALID_ARGUMENT, text)

    def _elect(self, stream: Hashable, election: _Election, role: str) -> list[Notice]:
        election_id = election.clients[stream]
        if election_id is not None and (election.highest is None or election_id >= election.highest):
            election.highest = election_id
            election.primary = stream
            return self._tell_all(election, role)
        if election.primary == stream:
            election.primary = None
            return self._tell_all(election, role)
        return [self._notice(stream, election, role)]

    def _tell_all(self, election: _Election, role: str) -> list[Notice]:
        """Everybody of the role; the new primary last, so that backups step down first (section 5.3)."""
        order = sorted(election.clients, key=lambda stream: stream == election.primary)
        return [self._notice(stream, election, role) for stream in order]

    @staticmethod
    def _notice(stream: Hashable, election: _Election, role: str) -> Notice:
        if election.primary is None:
            code = Code.NOT_FOUND
        else:
            code = Code.OK if stream == election.primary else Code.ALREADY_EXISTS
        return Notice(stream, role, election.highest, code)
