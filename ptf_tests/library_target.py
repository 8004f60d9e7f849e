"""The software switch as a library: the python engine under a clock that the test moves, or the XDP engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from finsy.proto import p4i

from depot.program import CompiledProgram
from ptf_tests.case import CPU_PORT, Digest, DropReason, Entry, Outcome, PacketIn, PuntReason, Step, Submit
from ptf_tests.p4names import P4Names
from ptf_tests.target import Loaded
from softswitch import Switch
from softswitch.engine.xdp.engine import XdpEngine
from softswitch.entities import ActionCall, Exact, FieldMatch, Lpm, Range, TableEntry, TableKey, Ternary

__all__ = ["Engine", "LibraryTarget", "packet_out", "table_entry"]

Engine = Literal["python", "xdp"]

MILLISECOND = 1_000_000
_PAIRS: Mapping[int, Callable[[int, int], FieldMatch]] = {
    p4i.MatchField.LPM: Lpm,
    p4i.MatchField.TERNARY: Ternary,
    p4i.MatchField.RANGE: Range,
}


class LibraryTarget:
    """`softswitch.Switch` in this process."""

    def __init__(self, program: CompiledProgram, engine: Engine = "python") -> None:
        """Raises `EngineUnavailable` where this machine has no XDP engine; that one goes by the kernel's clock."""
        self.now_ns = 0
        self.names = P4Names(program.p4info)
        self.switch = Switch.load(
            program.p4info,
            program.json,
            cpu_port=CPU_PORT,
            clock=lambda: self.now_ns,
            kernel=XdpEngine if engine == "xdp" else None,
        )
        self._loaded = Loaded()
        self._in_widths = self.names.header_widths("packet_in")

    def load(self, entries: Iterable[Entry]) -> None:
        gone, new = self._loaded.change_to(entries)
        for entry in gone:
            self.switch.delete(table_entry(self.names, entry))
        for entry in new:
            self.switch.insert(table_entry(self.names, entry))

    def close(self) -> None:
        """Give back what the kernel holds."""
        self.switch.close()

    def run(self, step: Step) -> Outcome:
        drops, punts = self._counts("drops", DropReason), self._counts("punts", PuntReason)
        self.now_ns += MILLISECOND
        outcome = self.send(step.port, step.packet)
        outcome.drops = self._counts("drops", DropReason) - drops
        outcome.punts = self._counts("punts", PuntReason) - punts
        return outcome

    def counted(self, entry: Entry) -> tuple[int, int]:
        counter = self.switch.direct_counter(table_entry(self.names, entry).key)
        return counter.packets, counter.octets

    def send(self, port: int | Submit, packet: bytes) -> Outcome:
        """Process one packet; the outcome leaves out the counters."""
        if isinstance(port, Submit):
            leaving = self.switch.process(CPU_PORT, packet_out(self.names, port) + packet)
        else:
            leaving = self.switch.process(port, packet)
        outcome = Outcome()
        for out_port, frame in leaving:
            if out_port == CPU_PORT:
                outcome.packet_ins[self._packet_in(frame)] += 1
            else:
                outcome.outputs[out_port, frame] += 1
        outcome.digests = Counter(
            Digest(self.names.digest_names[digest_id], members) for digest_id, members in self.switch.take_digests()
        )
        return outcome

    def _counts(self, counter: str, reasons: type[DropReason] | type[PuntReason]) -> Counter[int]:
        counter_id = self.names.counters[counter].preamble.id
        return Counter({reason: self.switch.counter(counter_id, reason).packets for reason in reasons})

    def _packet_in(self, frame: bytes) -> PacketIn:
        length = sum(self._in_widths.values()) // 8
        bits, values = int.from_bytes(frame[:length], "big"), {}
        for name, width in reversed(self._in_widths.items()):
            values[name] = bits & ((1 << width) - 1)
            bits >>= width
        return PacketIn.of(values, frame[length:])


def table_entry(names: P4Names, entry: Entry) -> TableEntry:
    """The entry by the P4Info's ids."""
    table, action = names.tables[entry.table], names.actions[entry.action]
    match: list[FieldMatch | None] = []
    for field in table.match_fields:
        value = entry.match.get(field.name)
        if isinstance(value, tuple):
            match.append(
                _PAIRS[field.match_type](*value) if field.match_type != p4i.MatchField.LPM or value[1] else None
            )
        else:
            match.append(None if value is None else Exact(value))
    params = tuple(entry.params[param.name] for param in action.params)
    key = TableKey(table.preamble.id, tuple(match), entry.priority)
    return TableEntry(key, ActionCall(action.preamble.id, params))


def packet_out(names: P4Names, submit: Submit) -> bytes:
    """The `packet_out` header."""
    values = submit.fields
    widths, bits = names.header_widths("packet_out"), 0
    for name, width in widths.items():
        bits = bits << width | values[name]
    return bits.to_bytes(sum(widths.values()) // 8, "big")
