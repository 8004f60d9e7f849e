"""Actions with their arguments between Action messages and `softswitch.entities.ActionCall`.

Source: P4Runtime specification 1.4, section 9.1.2 (action specification).
"""

from __future__ import annotations

from finsy.proto import p4i, p4r

from softswitch.entities import ActionCall
from softswitch.server.bytestrings import decode_unsigned, encode_unsigned
from softswitch.server.status import Code, Refusal

__all__ = ["ActionCodec"]


class ActionCodec:
    """One action of the P4Info."""

    def __init__(self, action: p4i.Action) -> None:
        self.action_id = action.preamble.id
        self.name = action.preamble.name
        self._params = [
            (param.id, param.bitwidth, f"action {self.name} parameter {param.name}") for param in action.params
        ]
        self._places = {param_id: place for place, (param_id, _, _) in enumerate(self._params)}
        for _, width, what in self._params:
            if not width:
                text = f"{what}: parameters without a width (translated to strings) are not supported by this switch"
                raise Refusal(Code.UNIMPLEMENTED, text)

    def decode(self, message: p4r.Action) -> ActionCall:
        """The call. Raises `Refusal` for unknown, missing, repeated or too wide parameters."""
        params: list[int | None] = [None] * len(self._params)
        for param in message.params:
            place = self._places.get(param.param_id)
            if place is None:
                raise self._invalid(f"has no parameter id {param.param_id}")
            _, width, what = self._params[place]
            if params[place] is not None:
                raise Refusal(Code.INVALID_ARGUMENT, f"{what} is given twice")
            params[place] = decode_unsigned(param.value, width, what)
        known = tuple(value for value in params if value is not None)
        if len(known) != len(params):
            missing = next(what for value, (_, _, what) in zip(params, self._params, strict=True) if value is None)
            raise Refusal(Code.INVALID_ARGUMENT, f"{missing} is missing")
        return ActionCall(self.action_id, known)

    def encode(self, call: ActionCall, into: p4r.Action) -> None:
        """Fill `into`."""
        into.action_id = self.action_id
        for (param_id, _, _), value in zip(self._params, call.params, strict=True):
            into.params.add(param_id=param_id, value=encode_unsigned(value))

    def _invalid(self, why: str) -> Refusal:
        return Refusal(Code.INVALID_ARGUMENT, f"action {self.name} {why}")
