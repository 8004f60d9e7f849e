"""The XDP engine: one program in the kernel, its maps kept in step with the stores, and what it has to tell.

The kernel forwards; what one pass of XDP cannot do comes through the ring buffer and is finished by the python engine
over the same state (`resume.py`).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable

from softswitch.engine.python import PythonEngine, Stores
from softswitch.engine.xdp.compiler import CompileError, compile_object
from softswitch.engine.xdp.context import Context, Numbers
from softswitch.engine.xdp.entry import STATISTICS
from softswitch.engine.xdp.events import DigestEvent, OutEvent, StateEvent, decode
from softswitch.engine.xdp.kernel import KernelError, Map, Object, RingBuffer, possible_cpus, run
from softswitch.engine.xdp.memory import Mirrors
from softswitch.engine.xdp.resume import Resume
from softswitch.engine.xdp.source import generate
from softswitch.errors import EngineUnavailable
from softswitch.program import Program
from softswitch.selectors import ProfileMirror
from softswitch.stats import Stats

__all__ = ["XdpEngine"]

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
        self, program: Program, stores: Stores, numbers: Numbers, *, drop_port: int, cpu_port: int | None
    ) -> None:
        """Load the program with empty maps; the stores' registers and meters move into them, their tables and
        counters are mirrored there from now on.

        Raises `UnsupportedConstruct` for what XDP does not run, `EngineUnavailable` when clang or the kernel refuse.
        """
        cells = 1 << (possible_cpus() - 1).bit_length()
        context = Context(program, numbers, drop_port=drop_port, cpu_port=cpu_port, cells=cells)
        self._source = generate(context)
        self._mirrors = Mirrors(self._source, stores)
        try:
            self._object = Object.load(
                compile_object(self._source.text),
                name="softswitch",
                max_entries=self._mirrors.sizes(),
                rodata=self._mirrors.rodata(),
            )
            self._mirrors.open(self._object.maps)
            self._ring = RingBuffer(self._object.maps["events"])
            run(self._object.programs["start_clock"], bytes(_SHORTEST))
        except (CompileError, KernelError) as error:
            raise EngineUnavailable(f"the kernel cannot run {program.name or 'this program'}: {error}") from error
        self._layout = self._source.entry.layout
        self._statistics = _Statistics(self._object.maps["statistics"])
        self._port_of = self._object.maps["port_of"].memory().cast("H")
        self._user_ports = self._object.maps["user_ports"].memory()
        self._user_ports[:] = b"\1" * _PORTS
        self._cpu_port = cpu_port
        self._connected = False
        self._out: list[tuple[int, bytes]] = []
        self._emit_digest: Callable[[int, tuple[int, ...]], None] = lambda layout, members: None
        self._resume: Resume | None = None

    def pair(self, python: PythonEngine, emit_digest: Callable[[int, tuple[int, ...]], None], stats: Stats) -> None:
        """Let this engine finish what the kernel hands over."""
        self._emit_digest = emit_digest
        self._resume = Resume(python, python.plain, self._source.context, self._layout)
        clock = self._object.maps["clock"].memory().cast("Q")
        clock[1] = python.started

    @property
    def source(self) -> str:
        """The program in C."""
        return self._source.text

    @property
    def clock(self) -> Callable[[], int]:
        """CLOCK_MONOTONIC in nanoseconds."""
        return time.monotonic_ns

    @property
    def program(self) -> int:
        """File descriptor of the program to attach."""
        return self._object.programs["softswitch"]

    def profile(self, name: str) -> ProfileMirror:
        """What has to be told of changes of a profile."""
        return self._mirrors.profiles[name]

    # Ports

    def connect(self, port: int, ifindex: int) -> None:
        """The interface with this index is a port: its frames come from there and go there."""
        self._object.maps["ports"].update(struct.pack("=I", port), struct.pack("=I", ifindex))
        self._port_of[ifindex] = port + 1

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
        event = decode(record, self._layout)
        match event:
            case DigestEvent(layout, members):
                self._emit_digest(layout, members)
            case OutEvent(port, frame):
                self._out.append((port, frame))
            case StateEvent():
                if self._resume is not None:
                    self._out += self._resume.run(event)
            case _:
                pass

    # State

    def flush(self) -> None:
        """Make what was written effective."""
        self._mirrors.flush()

    def statistics(self) -> dict[str, int]:
        """What the program counted, all CPUs together."""
        return self._statistics.read()

    def close(self) -> None:
        """Unload the program; interfaces it was attached to are the caller's."""
        self._mirrors.close()
        self._ring.close()
        self._object.close()


class _Statistics:
    """The program's own counters."""

    def __init__(self, counters: Map) -> None:
        self._cells = counters.memory().cast("Q")
        self._stride = counters.stride // 8

    def read(self) -> dict[str, int]:
        return {name: sum(self._cells[index :: self._stride]) for index, name in enumerate(STATISTICS)}
