"""Who may write to a switch: the controller's side of master arbitration (P4Runtime 1.4, 5), as a pure state.

Every controller of a switch has a 128-bit election id; the highest is the primary. A controller that finds another one
at work waits as its backup, and bids for its place when the server says that it has left. BMv2 promotes a backup by
itself; both ways end in an update with status OK.
"""

from __future__ import annotations

from enum import Enum, IntEnum

__all__ = ["FIRST_ELECTION_ID", "Arbitration", "Role", "StatusCode"]

FIRST_ELECTION_ID = 1000
"""What a controller without a configured election id bids first: room below for those that come second."""


class StatusCode(IntEnum):
    """Canonical status codes that we tell apart (google.rpc.Code)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Role(Enum):
    """What we are to the switch."""

    UNKNOWN = "unknown"
    """Not connected, or the server has not answered yet."""
    PRIMARY = "primary"
    """We may write."""
    BACKUP = "backup"
    """Another controller may."""


class Arbitration:
    """Our bids at one switch, over connections."""

    def __init__(self, election_id: int | None = None) -> None:
        self._fixed = election_id is not None
        self.election_id = election_id if election_id is not None else FIRST_ELECTION_ID
        """What the next MasterArbitrationUpdate bids, 128 bit."""
        self.role = Role.UNKNOWN
        """What the last answer made us."""
        self.primary_id = 0
        """The election id of the primary, as far as we were told."""

    def receive(self, status: int, election_id: int) -> bool:
        """Take a MasterArbitrationUpdate; return whether to send our bid, `election_id`, again."""
        if status == StatusCode.OK:
            self.role = Role.PRIMARY
            self.primary_id = self.election_id
            return False
        self.role = Role.BACKUP
        self.primary_id = election_id
        if status != StatusCode.NOT_FOUND:
            return False
        if election_id > self.election_id:
            self.election_id = election_id  # nobody less than the last primary is accepted (P4Runtime 1.4, 5.3)
        return True

    def id_in_use(self) -> None:
        """Take a stream that was closed because another controller has our id: bid below it next time."""
        self.role = Role.UNKNOWN
        if not self._fixed and self.election_id > 1:
            self.election_id -= 1

    def disconnected(self) -> None:
        """Take the end of the stream."""
        self.role = Role.UNKNOWN
