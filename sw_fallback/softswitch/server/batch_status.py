"""The outcome of a batch as a google.rpc.Status with one p4.v1.Error for each element.

Source: P4Runtime specification 1.4, sections 10 and 12.3 (error reporting), 18 (metadata size).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from finsy.proto import p4r, rpc_status

from softswitch.server.status import Code, Refusal

__all__ = ["batch_status"]

_TEXT_BUDGET = 24 * 1024
"""Bytes of error texts in one status. It travels as gRPC metadata, of which clients take a bounded amount (finsy:
64 KB), and 500 codes alone need 18 KB; errors past the budget keep their code and lose their text."""


def batch_status(outcomes: Sequence[Refusal | None], message: str) -> rpc_status.Status | None:
    """The status of a batch; None when every element succeeded."""
    if not any(outcomes):
        return None
    status = rpc_status.Status(code=Code.UNKNOWN, message=message)
    budget = _TEXT_BUDGET
    for error in _errors(outcomes):
        budget -= len(error.message)
        if budget < 0:
            error.ClearField("message")
        status.details.add().Pack(error)
    return status


def _errors(outcomes: Sequence[Refusal | None]) -> Iterable[p4r.Error]:
    for outcome in outcomes:
        if outcome is None:
            yield p4r.Error()
        else:
            yield p4r.Error(canonical_code=outcome.code, message=outcome.message, space="softswitch")
