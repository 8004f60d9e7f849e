"""The outcome of a batch as a google.rpc.Status with one p4.v1.Error for each element.

Source: P4Runtime specification 1.4, sections 10 and 12.3 (error reporting), 18 (metadata size).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from finsy.proto import p4r, rpc_status

from softswitch.server.status import Code, Refusal

__all__ = ["batch_status"]

_DEFAULT_LIMIT = 15_000
"""Bytes of a status that every gRPC client takes as metadata (16 KB, less what else travels with it)."""
_LIMIT_BASE, _LIMIT_EACH = 8192, 100
"""Above that, what the specification tells clients to allow: 8192 bytes and 100 for each update."""
_WRAPPING = 45
"""Bytes of one error without its text: type URL, lengths, code."""


def batch_status(outcomes: Sequence[Refusal | None], message: str) -> rpc_status.Status | None:
    """The status of a batch; None when every element succeeded.

    It travels as gRPC metadata, of which a client takes a bounded amount. Errors keep their text as far as that
    allows; past it they keep their code.
    """
    if not any(outcomes):
        return None
    status = rpc_status.Status(code=Code.UNKNOWN, message=message)
    codes = _WRAPPING * len(outcomes)
    limit = _DEFAULT_LIMIT if codes < _DEFAULT_LIMIT else _LIMIT_BASE + _LIMIT_EACH * len(outcomes)
    budget = limit - codes
    for error in _errors(outcomes):
        text_size = len(error.message.encode()) + len(error.space)
        if text_size > budget:
            error.ClearField("message")
            error.ClearField("space")
        else:
            budget -= text_size
        status.details.add().Pack(error)
    return status


def _errors(outcomes: Sequence[Refusal | None]) -> Iterable[p4r.Error]:
    for outcome in outcomes:
        if outcome is None:
            yield p4r.Error()
        else:
            yield p4r.Error(canonical_code=outcome.code, message=outcome.message, space="softswitch")
