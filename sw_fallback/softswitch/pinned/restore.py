"""A new pipeline takes up the state of the one that another process left pinned, before and after it takes its packets.

Before: what the engine has not found in shared memory is written into the new pipeline, as a client would. After: what
the old program counted to the last packet is added where entries got new rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from finsy.proto import p4r

from softswitch.binding import ActionNumbers
from softswitch.engine.xdp.description import Description, is_durable
from softswitch.engine.xdp.engine import XdpEngine
from softswitch.engine.xdp.memory import CounterCells, Ledger, RegisterCells, TableReader
from softswitch.entities import Counter, TableKey
from softswitch.errors import EntityError
from softswitch.pinned.folder import Generation
from softswitch.pinned.journal import Noted, read_journal
from softswitch.server.pipeline import Pipeline
from softswitch.server.status import Refusal
from softswitch.switch import Switch

__all__ = ["Restoration"]

_LOG = logging.getLogger("softswitch.pin")

_EXAMPLES = 3
"""Entities that do not fit are named, so many of them."""


class Restoration:
    """From one generation into one pipeline, which was loaded with its legacy."""

    def __init__(self, generation: Generation, pipeline: Pipeline, engine: XdpEngine) -> None:
        self._legacy = generation.legacy
        self._config = generation.config
        self._journal = generation.journal
        self._pipeline = pipeline
        self._engine = engine
        tables = generation.legacy.description["tables"]
        self._tables: dict[int, Description] = {
            table.preamble.id: tables[table.preamble.name]
            for table in generation.config.p4info.tables
            if table.preamble.name in tables
        }
        """The old program's tables, by id."""
        self._in_place = {
            table_id
            for table_id, table in pipeline.switch.p4info.tables.items()
            if table.name in engine.inherited.tables
        }
        self._moved: list[tuple[TableKey, int]] = []
        """Entries that have another row now, and the number of the old one."""
        self._refused: list[str] = []

    def run(self) -> None:
        """Bring in what is not in shared memory. Raises `Refusal`, `PipelineError`, ValueError for a broken legacy."""
        entries = read_journal(self._journal)
        self._clear()
        for noted in entries.entities:
            self._put(noted)
        self._move_tables()
        for message in entries.annotations:
            self._annotate(message)
        self._copy_registers()
        self._engine.settle()
        self._pipeline.switch.flush()
        self._report()

    def finish(self) -> None:
        """Add what was counted elsewhere; packets have left the old program."""
        switch, readers = self._pipeline.switch, self._readers()
        for key, place in self._moved:
            reader = readers[key.table_id]
            switch.inherit_hits(key, Counter(*reader.counter(place)), reader.last_hit(place))
        for counter_id, counter in switch.p4info.counters.items():
            if counter.name not in self._engine.inherited.counters:
                self._copy_counter(counter_id, counter.name)

    # Entities

    def _clear(self) -> None:
        """Entries that the program begins with are in the journal, unless a client deleted them."""
        for table_id, table in self._pipeline.schema.tables.items():
            if table_id in self._tables and table_id not in self._in_place and not table.is_const:
                for entry in list(self._pipeline.switch.entries(table_id)):
                    self._pipeline.switch.delete(entry.key)

    def _put(self, noted: Noted) -> None:
        entity, switch = noted.entity, self._pipeline.switch
        kind = entity.WhichOneof("entity")
        if kind == "meter_entry":
            meter = switch.p4info.meters.get(entity.meter_entry.meter_id)
            if meter is not None and meter.name in self._engine.inherited.meters:
                return
        table = self._pipeline.schema.tables.get(entity.table_entry.table_id)
        is_entry = kind == "table_entry" and not entity.table_entry.is_default_action
        try:
            if is_entry and table is not None and table.is_const:
                self._pipeline.writer.apply(p4r.Update.MODIFY, entity)
            else:
                self._pipeline.put(entity)
        except (Refusal, EntityError) as error:
            self._refused.append(str(error))
            return
        if is_entry and table is not None and noted.place:
            self._moved.append((table.decode_key(entity.table_entry), noted.place))

    def _annotate(self, message: p4r.TableEntry) -> None:
        table = self._pipeline.schema.tables.get(message.table_id)
        if table is None:
            return
        try:
            self._pipeline.switch.annotate(table.decode_key(message), message.metadata)
        except (Refusal, EntityError):
            return  # the entry was deleted since

    # Tables in memory that this program lays out in another way

    def _move_tables(self) -> None:
        others = {
            table_id: table
            for table_id, table in self._tables.items()
            if is_durable(table) and table_id in self._pipeline.schema.tables and table_id not in self._in_place
        }
        if not others:
            return
        old = Pipeline(self._config, _load_python)
        numbers = ActionNumbers(old.switch.program)
        known = {action.name: numbers[action.name] for action in old.switch.program.actions.values()}
        for table_id, table in others.items():
            reader = TableReader(table, self._legacy.maps, self._ledger(table["stem"]), known)
            name = old.switch.p4info.tables[table_id].name
            old.switch.inherit_rows(name, (row for row, _ in reader.rows()))
        for entity in old.entities(tables=others, arrays=(), counts=False):
            key = old.schema.tables[entity.table_entry.table_id].decode_key(entity.table_entry)
            self._put(Noted(entity, old.switch.place(key)))

    # Arrays that this program lays out in another way

    def _copy_registers(self) -> None:
        switch = self._pipeline.switch
        for register_id, register in switch.p4info.registers.items():
            described = self._legacy.description["registers"].get(register.name)
            if described is None or register.name in self._engine.inherited.registers:
                continue
            stem = described["stem"]
            cells = RegisterCells(self._legacy.maps[f"{stem}_cells"], self._legacy.maps[f"{stem}_lock"])
            for index in range(min(described["size"], switch.register_size(register_id))):
                if value := cells[index]:
                    try:
                        switch.set_register(register_id, index, value)
                    except EntityError as error:
                        self._refused.append(str(error))

    def _copy_counter(self, counter_id: int, name: str) -> None:
        described = self._legacy.description["counters"].get(name)
        if described is None:
            return
        switch, stem = self._pipeline.switch, described["stem"]
        cells = CounterCells(self._legacy.maps[f"{stem}_cells"], self._ledger(stem))
        for index in range(min(described["size"], switch.counter_size(counter_id))):
            counted = [cell + kept for cell, kept in zip(cells.read(index), cells.kept(index), strict=True)]
            if any(counted):
                now = switch.counter(counter_id, index)
                switch.set_counter(counter_id, index, Counter(now.packets + counted[0], now.octets + counted[1]))

    # Memory

    def _readers(self) -> dict[int, TableReader]:
        """For the counts of the old program's tables, by id."""
        return {
            table_id: TableReader(table, self._legacy.maps, self._ledger(table["stem"]), {})
            for table_id, table in self._tables.items()
        }

    def _ledger(self, stem: str) -> Ledger | None:
        found = self._legacy.ledgers.get(stem)
        return None if found is None else Ledger(found)

    def _report(self) -> None:
        switch = self._pipeline.switch
        _LOG.info(
            "%d table entries are as they were, %d of them in the same memory",
            sum(switch.entry_count(table_id) for table_id in switch.p4info.tables),
            sum(switch.entry_count(table_id) for table_id in self._in_place),
        )
        lost = list(self._unknown_tables())
        if lost:
            _LOG.warning("tables that this program does not have are gone with their entries: %s", ", ".join(lost))
        if self._refused:
            examples = "; ".join(self._refused[:_EXAMPLES])
            _LOG.warning("%d entities do not fit this program and are gone: %s", len(self._refused), examples)

    def _unknown_tables(self) -> Iterator[str]:
        for table in self._config.p4info.tables:
            if table.preamble.id not in self._pipeline.schema.tables:
                yield table.preamble.name


def _load_python(config: p4r.ForwardingPipelineConfig) -> Switch:
    return Switch.load(config.p4info, config.p4_device_config)
