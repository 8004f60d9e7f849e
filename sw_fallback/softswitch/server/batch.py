"""A batch of updates: order, atomicity and the outcome of each update.

Source: P4Runtime specification 1.4, sections 12.1 to 12.3 (batching, batch atomicity, error reporting).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from finsy.proto import p4r

from softswitch.errors import EntityError
from softswitch.server.read import Reader
from softswitch.server.schema import Schema
from softswitch.server.status import Code, Refusal
from softswitch.server.write import Writer

__all__ = ["Batch", "Outcome"]

Outcome = Refusal | None
"""What became of one update: why it was refused, or None."""

_PAUSE_EVERY = 64
"""Updates between two chances for packets to be switched: one or two milliseconds."""

_INSERT = p4r.Update.INSERT
_MODIFY = p4r.Update.MODIFY
_DELETE = p4r.Update.DELETE
_Step = tuple[int, p4r.Entity]


class Batch:
    """One Write request on its way through the switch."""

    def __init__(
        self,
        writer: Writer,
        reader: Reader,
        schema: Schema,
        updates: Sequence[p4r.Update],
        *,
        stops_packets: bool = True,
    ) -> None:
        """`stops_packets`: no packet is switched between the updates of a batch that does not pause."""
        self.outcomes: list[Outcome] = []
        """One for each update once `run` is through."""
        self._writer = writer
        self._reader = reader
        self._schema = schema
        self._updates = updates
        self._stops_packets = stops_packets

    def run(self, atomicity: int) -> Iterator[None]:
        """Carry out the updates; yields now and then so that packets are not held up, unless packets must not see
        the batch half done. No other write may come between. Raises `Refusal` for an unknown atomicity.
        """
        modes = p4r.WriteRequest.Atomicity
        if atomicity not in modes.values():
            raise Refusal(Code.INVALID_ARGUMENT, f"atomicity {atomicity} is unknown")
        if atomicity == modes.DATAPLANE_ATOMIC and not self._stops_packets:
            text = "DATAPLANE_ATOMIC: packets are switched in the kernel meanwhile; use ROLLBACK_ON_ERROR"
            raise Refusal(Code.UNIMPLEMENTED, text)
        if atomicity != modes.CONTINUE_ON_ERROR:
            self._all_or_none()
            return
        for place, update in enumerate(self._updates):
            self.outcomes.append(self._try(update.type, update.entity))
            if place % _PAUSE_EVERY == _PAUSE_EVERY - 1:
                yield

    def _try(self, kind: int, entity: p4r.Entity) -> Outcome:
        try:
            self._writer.apply(kind, entity)
        except Refusal as refusal:
            return refusal
        except EntityError as error:
            return Refusal(Code(error.code), str(error))
        return None

    def _all_or_none(self) -> None:
        """ROLLBACK_ON_ERROR, and DATAPLANE_ATOMIC as well: the python engine switches no packet while this runs."""
        taken_back: list[_Step] = []
        for place, update in enumerate(self._updates):
            before = self._inverse(update)
            outcome = self._try(update.type, update.entity)
            if outcome is not None:
                for kind, entity in reversed(taken_back):
                    self._writer.apply(kind, entity)
                others = Refusal(Code.ABORTED, f"rolled back: update {place} of the batch failed")
                self.outcomes = [outcome if at == place else others for at in range(len(self._updates))]
                return
            taken_back += reversed(before)
        self.outcomes = [None] * len(self._updates)

    def _inverse(self, update: p4r.Update) -> list[_Step]:
        """What takes the update back, in order; nothing for an update that will be refused anyway."""
        kind, entity = update.type, update.entity
        if kind == _INSERT:
            return [(_DELETE, entity)]
        try:
            before = self._present(entity)
        except (Refusal, EntityError):
            return []
        return [(_MODIFY if kind == _MODIFY else _INSERT, one) for one in before]

    def _present(self, entity: p4r.Entity) -> list[p4r.Entity]:
        """The entity as it is now, whole, so that it can be written again."""
        if entity.HasField("table_entry") and not entity.table_entry.is_default_action:
            return [
                self._reader.whole_entry(self._schema.table(entity.table_entry.table_id).decode_key(entity.table_entry))
            ]
        return list(self._reader.read(entity))
