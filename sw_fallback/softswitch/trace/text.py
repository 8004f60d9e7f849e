"""Records as lines for people."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from softswitch.trace.frames import describe
from softswitch.trace.record import End, Pass, Record, Step, Verdict, short_names

__all__ = ["Lines"]

_ENDS = {
    Verdict.DROPPED_INGRESS: "dropped at the end of ingress",
    Verdict.DROPPED_EGRESS: "dropped at the end of egress",
    Verdict.NO_COPIES: "dropped: its multicast group has no members",
    Verdict.ASSERTION: "dropped by an assert of the program",
    Verdict.TOO_MANY_PASSES: "dropped: too many passes",
    Verdict.NO_ROOM: "dropped: no room for its new headers",
}
_PASSES = {
    Pass.INGRESS_CLONE: "[clone of what came]",
    Pass.EGRESS_CLONE: "[clone of what leaves]",
    Pass.RECIRCULATED: "[recirculated]",
    Pass.REPLICATED: "[copy]",
    Pass.RESUBMITTED: "[resubmitted]",
}


class Lines:
    """Writes records with names as short as the program allows."""

    def __init__(
        self, tables: Sequence[str], actions: Sequence[str], ports: Collection[int], controller: int | None
    ) -> None:
        """`tables` and `actions` of the program, `ports` of the switch; `controller` is the CPU port."""
        self._tables = short_names(tables)
        self._actions = short_names(actions)
        self._ports = ports
        self._controller = controller

    def line(self, record: Record) -> str:
        """Time, port and packet, the tables it was looked up in, what became of it."""
        seconds, rest = divmod(record.time_ns, 1_000_000_000)
        time = f"{datetime.fromtimestamp(seconds):%H:%M:%S}.{rest // 1000:06}"
        return f"{time} {self._came(record)}  {self.way(record)}"

    def way(self, record: Record) -> str:
        """The tables and what became of the packet."""
        steps = [self._step(step) for step in record.steps]
        if record.parser_error is not None:
            steps.insert(0, f"parser error {record.parser_error}")
        ends = ", ".join(self._end(end) for end in record.ends) or "nothing left"
        return f"{', '.join(steps) or 'no table'} → {ends}"

    def _came(self, record: Record) -> str:
        if record.port == self._controller:
            return f"controller {record.length} bytes"
        return f"port {record.port} {describe(record.frame)}"

    def _step(self, step: Step) -> str:
        if isinstance(step, Pass):
            return _PASSES[step]
        action = "nothing" if step.action is None else self._actions.get(step.action, step.action)
        return f"{self._tables.get(step.table, step.table)} {'hit' if step.hit else 'miss'} {action}"

    def _end(self, end: End) -> str:
        if end.verdict is Verdict.CONTROLLER:
            return "controller"
        if end.verdict is Verdict.LEFT:
            return f"port {end.port}" + ("" if end.port in self._ports else " (no such port)")
        return _ENDS[end.verdict]
