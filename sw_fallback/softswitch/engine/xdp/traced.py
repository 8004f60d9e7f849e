"""A traced program: a second translation of the running one, over the same maps, that tells where packets go."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from softswitch.engine.python import PythonEngine
from softswitch.engine.xdp.compiler import compile_object
from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.events import EventKind, StateEvent, decode
from softswitch.engine.xdp.kernel import Object
from softswitch.engine.xdp.resume import Resume
from softswitch.engine.xdp.source import generate
from softswitch.engine.xdp.trace_records import TraceRecords
from softswitch.trace.tracer import Tracing

__all__ = ["TracedProgram"]

_OWN_MAPS = frozenset({"states", "ticker"})
"""Maps that the running program shares with no other: struct state differs, and its clock ticks once for both."""


class TracedProgram:
    """Compiled and loaded, attached nowhere."""

    def __init__(
        self,
        tracing: Tracing,
        context: Context,
        python: PythonEngine,
        running: Object,
        constants: Mapping[str, bytes],
        clock: Callable[[], int],
    ) -> None:
        """`context` has the watches' filters; `running` is the object whose maps are used, with the same constants;
        `clock` tells nanoseconds of CLOCK_MONOTONIC.

        Raises `UnsupportedConstruct`, `CompileError`, `KernelError`.
        """
        self.generation = context.generation
        """What its records are known by."""
        self.code = python.prepare_trace(tracing)
        """Python's counterpart."""
        source = generate(context)
        shared = {
            name: each.fd for name, each in running.maps.items() if name not in _OWN_MAPS and not name.startswith(".")
        }
        self.object = Object.load(
            compile_object(source.text),
            name="softswitch",
            rodata={**constants, "generation": struct.pack("=I", self.generation)},
            reuse=shared,
        )
        self._layout = source.entry.layout
        self._resume = Resume(python, self.code, context, self._layout)
        if self.code.recorder is None:
            raise TypeError("the python engine's part records nothing")
        self._records = TraceRecords(tracing, self._layout, self.code.recorder, clock)

    @property
    def program(self) -> int:
        """File descriptor of the program to attach."""
        return self.object.programs["softswitch"]

    def take(self, record: bytes) -> list[tuple[int, bytes]]:
        """Take a record that has this program's struct state; returns what leaves as (port, packet)."""
        event = decode(record, self._layout)
        if not isinstance(event, StateEvent):
            raise ValueError(f"{event} is not for a trace")
        if event.kind is EventKind.TRACE:
            self._records.take(event)
            return []
        return self._records.resume(event, self._resume.run)

    def close(self) -> None:
        """Unload the program. Its records that are still on their way can be taken all the same."""
        self.object.close()
