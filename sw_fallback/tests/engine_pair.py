"""One program on the python engine and on the XDP engine, fed the same writes and packets at the same time of day.

Whatever a P4Runtime client could see of the two is compared: packets, digests, refusals, entries, counters, registers,
hits. The time that a packet asked for in the kernel is read from there and given to the python engine, so timestamps,
ages and meters are equal to the nanosecond.
"""

from __future__ import annotations

import ctypes
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from softswitch import Switch
from softswitch.engine.xdp.engine import XdpEngine
from softswitch.engine.xdp.state import StateLayout
from softswitch.entities import ActionCall, TableEntry, TableKey
from softswitch.errors import EntityError, EntryNotFound
from softswitch.program import DeviceConfig
from softswitch.switch import ETHERNET_HEADER, Entity, EntityKey

_EVENT = 16
"""Bytes of the struct event before the state (runtime/entry.h)."""
_BEHIND_NS = 100_000_000_000
"""How much earlier entries seem to be written: hits are kept in steps of 10 ms, and must be seen to be later."""
IDLE_NS = 10 * _BEHIND_NS
"""A timeout for `compare_idle`: it has passed, at some time, for entries that were not hit."""


class EnginesDiffer(AssertionError):
    """The two engines did not do the same; the message shows both."""


class ManualClock:
    """Nanoseconds as of the last time somebody looked, and as much more as was skipped."""

    def __init__(self) -> None:
        self.real_ns = time.monotonic_ns()
        self.skipped_ns = 0
        self.behind_ns = 0

    def __call__(self) -> int:
        return self.real_ns + self.skipped_ns - self.behind_ns


class ObservedXdpEngine(XdpEngine):
    """The XDP engine, with a clock for its python half that a test sets."""

    manual_clock = ManualClock()
    """Of the engine that is made next."""

    @property
    def clock(self) -> Callable[[], int]:
        return self.manual_clock

    @property
    def packet_clock(self) -> Callable[[], int]:
        return self.manual_clock

    def real_now(self) -> int:
        """The time that a packet would see."""
        return super().packet_clock()

    @property
    def state_layout(self) -> StateLayout:
        """Where the members of `struct state` are."""
        return self._layout

    def moment(self, since_ns: int) -> int | None:
        """The time that the last packet asked for; if it did not, None or what another one saw since `since_ns`."""
        offset = self._layout.offsets.get("moment")
        if offset is None:
            return None
        states = self._object.maps["states"]
        dump = states.lookup(bytes(4)) or b""
        starts = range(_EVENT + offset, len(dump), states.stride)
        moments = [ctypes.c_uint64.from_buffer_copy(dump, start).value for start in starts]
        latest = max(moments, default=0)  # other CPUs still have those of packets before
        return latest if latest >= since_ns else None

    def cells(self, register: str) -> bytes:
        """The memory of a register's cells."""
        return bytes(self._object.maps[f"{self._source.context.names.object(register)}_cells"].memory())

    def set_start(self, moment_ns: int) -> None:
        """Let the program's timestamps count from another time."""
        self._object.maps["clock"].memory().cast("Q")[1] = moment_ns & (1 << 64) - 1


@dataclass(slots=True)
class Seen:
    """What came of the packets, by the python engine."""

    packets: int = 0
    forwarded: int = 0
    """Frames that left."""
    to_controller: int = 0
    digests: int = 0
    writes: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Refused writes by kind of error."""


class Stage:
    """One pair of engines for many tests; a fresh one after each failure, since nobody knows what state that left."""

    def __init__(self, load: Callable[[], EnginePair]) -> None:
        self._load = load
        self.pair = load()

    @contextmanager
    def scene(self) -> Iterator[EnginePair]:
        """The pair, to do something with."""
        try:
            yield self.pair
        except BaseException:
            self.pair.close()
            self.pair = self._load()
            raise

    def close(self) -> None:
        """Unload the program."""
        self.pair.close()


class EnginePair:
    """Two switches; every method does the same to both and raises `EnginesDiffer` if they do not agree."""

    def __init__(self, p4info: Path, device_config: DeviceConfig, *, cpu_port: int | None = None) -> None:
        """Raises `UnsupportedConstruct`, `EngineUnavailable`."""
        self.clock = ObservedXdpEngine.manual_clock = ManualClock()
        self.xdp = Switch.load(p4info, device_config, cpu_port=cpu_port, kernel=ObservedXdpEngine)
        self.python = Switch.load(p4info, device_config, cpu_port=cpu_port, clock=self.clock)
        kernel = self.xdp.kernel
        if not isinstance(kernel, ObservedXdpEngine):
            raise TypeError("the switch has another engine")
        self.kernel = kernel
        self.seen = Seen()
        self._cpu_port = cpu_port
        self._started = self.clock.real_ns
        self._written: dict[TableKey, int] = {}
        """When entries were written, by the clock."""

    def close(self) -> None:
        """Unload the program."""
        self.xdp.close()

    # Time

    def skip(self, seconds: float) -> None:
        """Let time pass for timestamps; the kernel's meters and idle timeouts do not notice."""
        self.clock.skipped_ns += int(seconds * 1e9)
        self.kernel.set_start(self._started - self.clock.skipped_ns)

    def back_to_real_time(self) -> None:
        """Forget what was skipped."""
        self.clock.skipped_ns = 0
        self.skip(0)

    def _tick(self) -> int:
        self.clock.real_ns = time.monotonic_ns()
        return self.clock.real_ns

    # Writes

    def insert(self, entity: Entity) -> bool:
        """Whether it was accepted."""
        return self._write(lambda switch: switch.insert(entity), f"insert {entity}", entity)

    def modify(self, entity: Entity) -> bool:
        """Whether it was accepted."""
        return self._write(lambda switch: switch.modify(entity), f"modify {entity}", entity)

    def delete(self, key: EntityKey) -> bool:
        """Whether it was accepted."""
        return self._write(lambda switch: switch.delete(key), f"delete {key}")

    def set_default(self, table_id: int, action: ActionCall | None) -> bool:
        """Whether it was accepted."""
        return self._write(lambda switch: switch.set_default_action(table_id, action), f"default {action}")

    def apply(self, change: Callable[[Switch], object], what: str) -> bool:
        """Any other write. Whether it was accepted."""
        return self._write(change, what)

    def _write(self, change: Callable[[Switch], object], what: str, entity: Entity | None = None) -> bool:
        self._tick()
        self.clock.behind_ns = _BEHIND_NS if isinstance(entity, TableEntry) else 0
        written = self.clock()
        refusals = [_refusal(change, switch) for switch in (self.python, self.xdp)]
        self.clock.behind_ns = 0
        self._expect_equal(what, *refusals)
        self.seen.writes += 1
        if refusals[0] is not None:
            self.seen.refused[type(refusals[0]).__name__] += 1
            return False
        if isinstance(entity, TableEntry):
            self._written[entity.key] = written
        return True

    # Packets

    def process(self, port: int, packet: bytes) -> list[tuple[int, bytes]]:
        """What leaves, sorted; without frames that have no whole Ethernet header, which no interface takes."""
        before = self.clock.real_ns = self.kernel.real_now()
        theirs = _whole(self.xdp.process(port, packet))
        moment = self.kernel.moment(before)
        if moment is not None:
            self.clock.real_ns = moment
        ours = _whole(self.python.process(port, packet))
        self._expect_equal(f"packet {packet.hex()} at port {port}", ours, theirs)
        digests = self.python.take_digests()
        self._expect_equal(f"digests of packet {packet.hex()} at port {port}", digests, self.xdp.take_digests())
        self.seen.packets += 1
        self.seen.digests += len(digests)
        to_controller = sum(left == self._cpu_port for left, _ in ours)
        self.seen.to_controller += to_controller
        self.seen.forwarded += len(ours) - to_controller
        self.last_digests = digests
        return ours

    last_digests: Sequence[tuple[int, tuple[int, ...]]] = ()
    """What the last packet told."""

    # State

    def has(self, key: TableKey) -> bool:
        """Whether there is such an entry."""
        try:
            self.python.entry(key)
        except EntryNotFound:
            return False
        return True

    def used_cells(self, register_id: int) -> list[int]:
        """Indices of the cells of a register that are not zero."""
        name = self.python._binding.registers[register_id]
        return [index for index, value in enumerate(self.python._stores.registers[name].cells) if value]

    def clear_registers(self) -> None:
        """Make every cell zero."""
        for register in self.python.p4info.registers.values():
            for index in self.used_cells(register.id):
                self.python.set_register(register.id, index, 0)
                self.xdp.set_register(register.id, index, 0)

    def compare_tables(self) -> None:
        """Entries with their counters and whether they were hit, in every table of the P4Info."""
        counted = {counter.table_id for counter in self.python.p4info.direct_counters.values()}
        for info in self.python.p4info.tables.values():
            ours = sorted(self.python.entries(info.id), key=repr)
            self._expect_equal(f"entries of {info.name}", ours, sorted(self.xdp.entries(info.id), key=repr))
            defaults = [switch.default_action(info.id) for switch in (self.python, self.xdp)]
            self._expect_equal(f"default of {info.name}", *defaults)
            for entry in ours:
                if info.id in counted:
                    counts = [switch.direct_counter(entry.key) for switch in (self.python, self.xdp)]
                    self._expect_equal(f"counter of {entry}", *counts)
                if info.notifies_idle and not self.clock.skipped_ns:
                    hits = [self._is_hit(switch, entry.key) for switch in (self.python, self.xdp)]
                    self._expect_equal(f"whether {entry} was hit", *hits)

    def _is_hit(self, switch: Switch, key: TableKey) -> bool:
        return self.clock() - switch.time_since_last_hit(key) > self._written.get(key, 0)

    def compare_idle(self) -> None:
        """Which entries with a timeout of `IDLE_NS` will have been idle, when those that were hit will not."""
        if not self.clock.skipped_ns:
            self._tick()
            then = self.clock() + IDLE_NS - _BEHIND_NS // 2
            idle = [sorted(switch.idle_entries(then), key=repr) for switch in (self.python, self.xdp)]
            self._expect_equal("idle entries", *idle)

    def compare_counters(self) -> None:
        """Every cell of every indirect counter."""
        for counter in self.python.p4info.counters.values():
            for index in range(self.python.counter_size(counter.id)):
                counts = [switch.counter(counter.id, index) for switch in (self.python, self.xdp)]
                self._expect_equal(f"{counter.name}[{index}]", *counts)

    def compare_registers(self) -> None:
        """Every cell of every register."""
        for register in self.python.p4info.registers.values():
            name = self.python._binding.registers[register.id]
            used = self.used_cells(register.id)
            for index in used:
                values = [hex(switch.register(register.id, index)) for switch in (self.python, self.xdp)]
                self._expect_equal(f"{register.name}[{index}]", *values)
            memory = self.kernel.cells(name)
            stride = len(memory) // register.size
            blank = bytearray(memory)
            for index in used:
                blank[index * stride : (index + 1) * stride] = bytes(stride)
            stray = next((at // stride for at, octet in enumerate(blank) if octet), None) if any(blank) else None
            self._expect_equal(f"{register.name}: a cell that is zero", None, stray)

    def compare(self) -> None:
        """Everything but idle timeouts, which are told once."""
        self.compare_tables()
        self.compare_counters()
        self.compare_registers()

    def _expect_equal(self, what: str, ours: object, theirs: object) -> None:
        if ours != theirs and repr(ours) != repr(theirs):
            raise EnginesDiffer(f"{what}\n  python {_shown(ours)}\n  XDP    {_shown(theirs)}")


def _whole(left: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    return sorted((port, frame) for port, frame in left if len(frame) >= ETHERNET_HEADER)


def _refusal(change: Callable[[Switch], object], switch: Switch) -> EntityError | None:
    try:
        change(switch)
    except EntityError as error:
        return error
    return None


def _shown(value: object) -> str:
    if isinstance(value, list) and value and all(isinstance(item[-1], bytes) for item in value):
        return "; ".join(f"port {port} {frame.hex()}" for port, frame in value)
    return repr(value)
