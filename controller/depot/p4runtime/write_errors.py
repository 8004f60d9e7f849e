"""What becomes of the updates of a write that failed: pure.

Desired state decides: an insert of what exists becomes a modification, a modification of what is missing an insert, and
a delete of what is missing is done. What is left has failed, and says which update, which code and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from depot.p4runtime.arbitration import StatusCode
from depot.p4runtime.reconcile import Operation, Update

__all__ = ["UpdateError", "WriteFailure", "sort_failures"]


class UpdateError(NamedTuple):
    """What the switch said of one update."""

    code: int
    """A canonical status code; 0: done."""
    message: str
    """The switch's words."""


class WriteFailure(NamedTuple):
    """An update that the switch refused."""

    update: Update
    """What was asked."""
    code: int
    """The canonical status code."""
    message: str
    """The switch's words."""

    @property
    def reason(self) -> str:
        """The code's name, or its number when nobody knows it."""
        return StatusCode(self.code).name if self.code in StatusCode._value2member_map_ else str(self.code)

    def __str__(self) -> str:
        return f"{self.update}: {self.reason}: {self.message or 'no reason given'}"


def sort_failures(updates: Sequence[Update], errors: Sequence[UpdateError]) -> tuple[list[Update], list[WriteFailure]]:
    """Return the updates to be written once more in another form, and those that failed. Same lengths are given."""
    again: list[Update] = []
    failed: list[WriteFailure] = []
    for update, error in zip(updates, errors, strict=True):
        operation, entry = update
        if error.code == StatusCode.OK:
            continue
        if operation is Operation.INSERT and error.code == StatusCode.ALREADY_EXISTS:
            again.append(Update(Operation.MODIFY, entry))
        elif operation is Operation.MODIFY and error.code == StatusCode.NOT_FOUND:
            again.append(Update(Operation.INSERT, entry))
        elif operation is not Operation.DELETE or error.code != StatusCode.NOT_FOUND:
            failed.append(WriteFailure(update, error.code, error.message))
    return again, failed
