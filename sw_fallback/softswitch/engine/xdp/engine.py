"""The XDP engine: one program in the kernel, its maps kept in step with the stores, and what it has to tell.

The kernel forwards; what one pass of XDP cannot do comes through the ring buffer and is finished by the python engine
over the same state (`resume.py`).
"""

from __future__ import annotations

import logging
import secrets
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import count

from softswitch.engine.python import PythonEngine, Stores
from softswitch.engine.python.observing import Timing
from softswitch.engine.xdp.compiler import CompileError, compile_object
from softswitch.engine.xdp.context import Context, Numbers
from softswitch.engine.xdp.description import describe
from softswitch.engine.xdp.entry import STATISTICS
from softswitch.engine.xdp.events import DigestEvent, OutEvent, StateEvent, decode, generation_of
from softswitch.engine.xdp.kernel import KernelError, Map, Object, RingBuffer, exact_now, possible_cpus, run, tick_now
from softswitch.engine.xdp.legacy import Legacy, digest_of
from softswitch.engine.xdp.memory import Inheritance, Mirrors
from softswitch.engine.xdp.resume import Resume
from softswitch.engine.xdp.source import generate
from softswitch.engine.xdp.timestamps import takes_ticks
from softswitch.engine.xdp.timing import ProgramTiming
from softswitch.engine.xdp.traced import TracedProgram
from softswitch.engine.xdp.undelivered import Reason, Undelivered
from softswitch.errors import EngineUnavailable
from softswitch.program import Program
from softswitch.program.expressions import Expression
from softswitch.selectors import ProfileMirror
from softswitch.stats import Stats
from softswitch.trace.tracer import Tracing

__all__ = ["XdpEngine"]

_LOG = logging.getLogger("softswitch.xdp")

_LOOPBACK = 1
"""Index of the loopback interface, where the packets of test runs come from."""
_PORTS = 512
_SHORTEST = 14
"""Bytes of the shortest packet that the kernel runs a program on."""
_RECORDS = 256
"""Ring buffer records in one turn of `poll`: a few milliseconds."""


class XdpEngine:
    """Compiles, loads and feeds one program."""

    def __init__(
        self,
        program: Program,
        stores: Stores,
        numbers: Numbers,
        *,
        drop_port: int,
        cpu_port: int | None,
        legacy: Legacy | None = None,
        keeps: bool = False,
    ) -> None:
        """Load the program with empty maps; the stores' registers and meters move into them, their tables and
        counters are mirrored there from now on.

        legacy: what another process left; tables, counters, meters and registers that are the same go on in its
        memory (`inherited`), and the stores have what is there. Then `settle` is to be called. keeps: there will be a
        `legacy` of this one.
        Raises `UnsupportedConstruct` for what XDP does not run, `EngineUnavailable` when clang or the kernel refuse or
        the legacy is broken.
        """
        self._program, self._numbers, self._drop_port, self._cpu_port = program, numbers, drop_port, cpu_port
        self._source = generate(self._context())
        self._description = describe(self._source.context, self._source.lookups, STATISTICS)
        self._description["source"] = digest_of(self._source.text)
        self.inherited = Inheritance({}, {}) if legacy is None else legacy.shared_with(self._description)
        """What this program shares with the one that left the legacy."""
        self.started = None if legacy is None or not legacy.is_readable else legacy.started
        """As `KernelEngine`."""
        self._mirrors = Mirrors(self._source, stores, self.inherited, keeps=keeps)
        try:
            self._load({} if legacy is None else legacy.other_maps(self._description))
        except (CompileError, KernelError, LookupError, ValueError) as error:
            raise EngineUnavailable(f"the kernel cannot run {program.name or 'this program'}: {error}") from error
        self._layout = self._source.entry.layout
        self._statistics = _Statistics(self._object.maps["statistics"])
        self._port_of = self._object.maps["port_of"].memory().cast("H")
        self._user_ports = self._object.maps["user_ports"].memory()
        self._user_ports[:] = b"\1" * _PORTS
        self._connected = False
        self._interfaces: dict[int, int] = {}
        """Their indexes by port."""
        self._undelivered: Undelivered | None = None
        self._out: list[tuple[int, bytes]] = []
        self._emit_digest: Callable[[int, tuple[int, ...]], None] = lambda layout, members: None
        self._resume: Resume | None = None
        self._python: PythonEngine | None = None
        self._traced: TracedProgram | None = None
        self._tracing: dict[int, TracedProgram] = {}
        """By generation: the traced program that runs, and the one before it, whose records may still come."""
        self._generations = count(1 + secrets.randbelow(1 << 30))  # a process before may have left traced packets
        self._timing = ProgramTiming()
        self._lost_traces = 0
        self._closed = False
        self.replaced: Callable[[], None] = lambda: None
        """Called when `program` is another one: it is to be attached in the place of the one before.

        Raises `KernelError`.
        """

    def _load(self, others: Mapping[str, int]) -> None:
        self._object = Object.load(
            compile_object(self._source.text),
            name="softswitch",
            max_entries=self._mirrors.sizes(),
            rodata=self._mirrors.rodata(),
            reuse={**self._mirrors.reused(), **others},
        )
        self._mirrors.open(self._object.maps)
        self._ring = RingBuffer(self._object.maps["events"])
        run(self._object.programs["start_clock"], bytes(_SHORTEST))

    def _context(self, filters: Sequence[Expression] | None = None, generation: int = 0) -> Context:
        return Context(
            self._program,
            self._numbers,
            drop_port=self._drop_port,
            cpu_port=self._cpu_port,
            cpus=1 << (possible_cpus() - 1).bit_length(),
            filters=filters,
            generation=generation,
        )

    def pair(self, python: PythonEngine, emit_digest: Callable[[int, tuple[int, ...]], None], stats: Stats) -> None:
        """Let this engine finish what the kernel hands over."""
        self._emit_digest = emit_digest
        self._python = python
        self._resume = Resume(python, python.plain, self._source.context, self._layout)
        with self._object.maps["clock"].memory().cast("Q") as clock:
            clock[1] = self.started = python.started

    @property
    def source(self) -> str:
        """The program in C."""
        return self._source.text

    @property
    def clock(self) -> Callable[[], int]:
        """CLOCK_MONOTONIC in nanoseconds."""
        return exact_now

    @property
    def packet_clock(self) -> Callable[[], int]:
        """As `KernelEngine`."""
        return tick_now if takes_ticks(self._source.context) else exact_now

    @property
    def program(self) -> int:
        """File descriptor of the program to attach."""
        return self._object.programs["softswitch"] if self._traced is None else self._traced.program

    def profile(self, name: str) -> ProfileMirror:
        """What has to be told of changes of a profile."""
        return self._mirrors.profiles[name]

    # Ports

    def connect(self, port: int, ifindex: int) -> None:
        """The interface with this index is a port: its frames come from there and go there."""
        self._object.maps["ports"].update(struct.pack("=I", port), struct.pack("=I", ifindex))
        self._port_of[ifindex] = port + 1
        self._interfaces[port] = ifindex

    def disconnect(self, port: int, ifindex: int) -> None:
        """The interface is gone."""
        self._port_of[ifindex] = 0
        self._object.maps["ports"].delete(struct.pack("=I", port))

    def serve(self, ports: Iterable[int]) -> None:
        """From now on interfaces are connected; frames for these ports alone come out of `poll`."""
        served = bytearray(_PORTS)
        for port in (*ports, *(() if self._cpu_port is None else (self._cpu_port,))):
            served[port] = 1
        self._user_ports[:] = bytes(served)
        self._connected = True
        if self._undelivered is None:
            try:
                self._undelivered = Undelivered(self._object.maps["port_of"], self._object.maps["ports"])
            except (CompileError, KernelError) as error:
                _LOG.warning("frames that the kernel cannot send are not counted: %s", error)

    def undelivered(self) -> dict[int, int]:
        """Frames for an interface that the kernel did not get rid of, by interface index; none before `serve`."""
        lost = self.undelivered_by_port()
        return {self._interfaces[port]: sum(lost[port].values()) for port in lost if port in self._interfaces}

    def undelivered_by_port(self) -> dict[int, dict[Reason, int]]:
        """The same by port and by reason."""
        return {} if self._undelivered is None else self._undelivered.by_port()

    @property
    def connected(self) -> bool:
        """Whether packets come from interfaces, so that `process` is not for use."""
        return self._connected

    # Packets

    def process(self, port: int, packet: bytes) -> list[tuple[int, bytes]]:
        """Run one packet of at least 14 bytes as if it had come in at `port`.

        Only before `connect`: until then every port is this process's, and nothing is sent anywhere.
        """
        self.flush()
        self._port_of[_LOOPBACK] = port + 1
        run(self.program, packet)
        self._port_of[_LOOPBACK] = 0
        return self.poll()

    def fileno(self) -> int:
        """Readable when `poll` has something to do."""
        return self._ring.fileno()

    def poll(self) -> list[tuple[int, bytes]]:
        """Take what the kernel has for this process: digests, packets for ports that it cannot reach, and packets
        that the python engine has to finish. Returns (port, packet) as `PythonEngine.process`."""
        self._ring.consume(self._take, _RECORDS)
        out, self._out = self._out, []
        return out

    def _take(self, record: bytes) -> None:
        generation = generation_of(record)
        if generation:
            if generation in self._tracing:
                self._out += self._tracing[generation].take(record)
            return
        event = decode(record, self._layout)
        match event:
            case DigestEvent(layout, members):
                self._emit_digest(layout, members)
            case OutEvent(port, frame):
                self._out.append((port, frame))
            case StateEvent():
                if self._resume is not None:
                    self._out += self._resume.run(event)

    # Observing

    def prepare_trace(self, tracing: Tracing) -> TracedProgram:
        """As `softswitch.trace.Traceable`."""
        if self._python is None:
            raise TypeError("a trace needs the python engine, see pair")
        context = self._context([watch.filter for watch in tracing.watches], next(self._generations))
        constants = self._mirrors.rodata()
        try:
            return TracedProgram(tracing, context, self._python, self._object, constants, self.clock)
        except (CompileError, KernelError) as error:
            raise EngineUnavailable(f"the kernel cannot run the traced program: {error}") from error

    def install_trace(self, prepared: object | None) -> None:
        """As `softswitch.trace.Traceable`."""
        if self._python is None or (prepared is not None and not isinstance(prepared, TracedProgram)):
            raise TypeError("this engine did not prepare that")
        if self._closed:  # whoever watches is told that another program was set
            return
        before, program = self._traced, self.program
        self._traced = prepared
        try:
            self.replaced()
            self._timing.replace(program, self.program)
        except KernelError as error:
            self._traced = before
            with suppress(KernelError):
                self.replaced()
            raise EngineUnavailable(f"the program cannot be replaced: {error}") from error
        self._python.install_trace(None if prepared is None else prepared.code)
        self._tracing = {each.generation: each for each in (before, prepared) if each is not None}
        if before is not None:
            before.close()

    def measure(self, clock: Callable[[], int] | None) -> Timing:
        """As `PythonEngine.measure`, but by the kernel's clock, and what is returned is filled when it ends.

        Raises `EngineUnavailable` where the kernel does not measure.
        """
        try:
            if clock is not None:
                return self._timing.start(self.program)
            self._timing.stop(self.program)
        except KernelError as error:
            raise EngineUnavailable(str(error)) from error
        return Timing()

    def lost_traces(self) -> int:
        """As `softswitch.trace.Traceable`."""
        if not self._closed:
            self._lost_traces = self.statistics()["traces_lost"]
        return self._lost_traces

    # State

    def flush(self) -> None:
        """Make what was written effective."""
        self._mirrors.flush()

    def settle(self) -> None:
        """All that an inheritance does not hold has been written: be effective in inherited tables too."""
        self._mirrors.settle()

    def legacy(self) -> Legacy:
        """What to leave to the next process; this engine's as long as it is open."""
        more = {"hash_keys": self._mirrors.hash_keys.hex(), "started": self.started}
        maps = {name: each for name, each in self._object.maps.items() if not name.startswith(".")}
        return Legacy(maps, self._mirrors.ledgers, {**self._description, **more})

    def keep(self) -> None:
        """Bring the legacy up to date: what was counted beside programs."""
        self._mirrors.keep()

    def statistics(self) -> dict[str, int]:
        """What the program counted, all CPUs together."""
        return self._statistics.read()

    def close(self) -> None:
        """Unload the program; interfaces it was attached to are the caller's."""
        self._closed = True
        self._timing.abandon()
        if self._traced is not None:
            self._traced.close()
        if self._undelivered is not None:
            self._undelivered.close()
        self._mirrors.close()
        self._ring.close()
        self._port_of.release()  # the memory of a map goes with its last view
        self._statistics.close()
        self._object.close()


class _Statistics:
    """The program's own counters."""

    def __init__(self, counters: Map) -> None:
        self._cells = counters.memory().cast("Q")
        self._stride = counters.stride // 8

    def read(self) -> dict[str, int]:
        return {name: sum(self._cells[index :: self._stride]) for index, name in enumerate(STATISTICS)}

    def close(self) -> None:
        self._cells.release()
