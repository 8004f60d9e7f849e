"""The compiled programs in `p4/`, and table entries for them by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from softswitch import Switch
from softswitch.entities import ActionCall, FieldMatch, TableAction, TableEntry, TableKey
from softswitch.p4info import P4Info

FOLDER = Path(__file__).parent / "p4"


@dataclass(slots=True)
class VirtualClock:
    """Nanoseconds that pass when a test says so."""

    now_ns: int = 0

    def __call__(self) -> int:
        return self.now_ns

    def pass_seconds(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1_000_000_000)


class CompiledProgram:
    """A program with its names resolved."""

    def __init__(self, name: str) -> None:
        self.p4info_path = FOLDER / f"{name}.p4info.txtpb"
        self.json_path = FOLDER / f"{name}.json"
        self.info = P4Info.load(self.p4info_path)

    def switch(self, clock: VirtualClock | None = None) -> Switch:
        """A fresh switch that runs it."""
        return Switch.load(self.p4info_path, self.json_path, cpu_port=500, clock=clock)

    def call(self, action: str, *params: int) -> ActionCall:
        """An action with its arguments."""
        return ActionCall(self.info.action(action).id, params)

    def key(self, table: str, *match: FieldMatch | None, priority: int = 0) -> TableKey:
        """An entry's key."""
        return TableKey(self.info.table(table).id, match, priority)

    def entry(
        self, table: str, match: tuple[FieldMatch | None, ...], action: TableAction, priority: int = 0, idle_ns: int = 0
    ) -> TableEntry:
        """A table entry."""
        return TableEntry(self.key(table, *match, priority=priority), action, idle_ns)

    def profile(self, name: str) -> int:
        """Id of an action profile."""
        return next(p.id for p in self.info.profiles.values() if p.alias == name)

    def counter(self, name: str) -> int:
        return next(c.id for c in self.info.counters.values() if c.alias == name)

    def meter(self, name: str) -> int:
        return next(m.id for m in self.info.meters.values() if m.alias == name)

    def register(self, name: str) -> int:
        return next(r.id for r in self.info.registers.values() if r.alias == name)
