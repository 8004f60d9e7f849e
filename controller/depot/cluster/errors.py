"""What goes wrong on a control channel, and whose fault it is.

ClusterError: our own code used a core in a way that it cannot be used. RemoteError: the peer broke the protocol; it
carries the code that the peer is told. Nothing else leaves the cores.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ClusterError", "ErrorCode", "RemoteError", "describe_code"]


class ErrorCode(IntEnum):
    """The third byte of PEER_LEAVE and PEER_REJECT (seed 000, 2.3)."""

    LEAVING = 0
    """LEAVE: the sender leaves the cluster of its own will. No fault."""
    BAD_MESSAGE = 1
    """LEAVE: what was read is no message, or none for this state; the rest cannot be parsed."""
    DUPLICATE_CHANNEL = 2
    """LEAVE or REJECT: another channel of the same two members counts. No fault."""
    NOT_A_MEMBER = 3
    """REJECT: the identity is not on the membership list. LEAVE: it is no more."""
    WRONG_VERSION = 4
    """REJECT: the sender does not speak this version."""
    WRONG_IDENTITY = 5
    """REJECT: the identity is not the one that was called, or not the one of the certificate."""
    SILENT = 6
    """LEAVE: nothing was heard for too long."""
    SYNC_TIMEOUT = 7
    """LEAVE: the table of connections did not end in time."""


def describe_code(code: int) -> str:
    """Return a code for people, known or not."""
    try:
        return ErrorCode(code).name.lower().replace("_", " ")
    except ValueError:
        return f"error code {code}"


class ClusterError(Exception):
    """Misuse by our own code."""


class RemoteError(Exception):
    """A peer that broke the protocol."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        """What the peer is told."""
        self.detail = detail
        """For our log."""
