"""Canonical status codes and the one exception by which this server refuses a request.

Source: P4Runtime specification 1.4, sections 10 (error reporting) and the rules of each message.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Code", "Refusal"]


class Code(IntEnum):
    """google.rpc.Code: what the specification's rules are written in."""

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


class Refusal(Exception):
    """A client's request, or one update of it, that this server does not carry out.

    `code` is what the specification names for the case; `message` says what, where and what to do.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
