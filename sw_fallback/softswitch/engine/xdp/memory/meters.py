"""Meters that programs and the python engine count in together: `struct meter` in `runtime/meters.h`."""

from __future__ import annotations

import struct
from collections.abc import Callable

from softswitch.engine.xdp.kernel import Map
from softswitch.engine.xdp.layout import METER_BYTES
from softswitch.engine.xdp.memory.locks import MemoryLock
from softswitch.entities import MeterConfig
from softswitch.meters import Color, Meter

__all__ = ["MappedMeter", "MeterCells", "clear_meter", "configured_meter"]

_LIMIT = (1 << 43) - 1
"""Of rates and bursts: 8.8 TB, which no machine reaches in a second."""
_MICROS = 1_000_000
_CELL = struct.Struct("=9Q2I")
"""What follows the lock: credited; of both buckets rate, burst, tokens and microseconds to fill; rests."""
_CREDITED, _COMMITTED, _PEAK, _RESTS = 1, 2, 6, 20
"""Where they are: words of 64 bits; the rests in words of 32."""


class MappedMeter(Meter):
    """One cell. Tokens are whole millionths here, where `Meter` has floating point: they differ in the last one."""

    __slots__ = ("_halves", "_lock", "_words")

    def __init__(self, memory: memoryview, at: int, config: MeterConfig, now_ns: int) -> None:
        """Configure the cell at this byte of the memory. Raises `InvalidArgument`."""
        super().__init__(config, now_ns)
        self._settle(memory, at)
        committed, peak = _bucket(config.cir, config.cburst), _bucket(config.pir, config.pburst)
        with self._lock:
            _CELL.pack_into(memory, at + 8, now_ns, *committed, *peak, 0, 0)

    @classmethod
    def adopt(cls, memory: memoryview, at: int) -> MappedMeter:
        """The meter that another process configured at this byte; its buckets stay as they are."""
        meter = cls.__new__(cls)
        meter._settle(memory, at)
        words = meter._words
        Meter.__init__(
            meter, MeterConfig(*(words[bucket + part] for bucket in (_COMMITTED, _PEAK) for part in (0, 1))), 0
        )
        return meter

    def _settle(self, memory: memoryview, at: int) -> None:
        cell = memory[at : at + METER_BYTES]
        self._words, self._halves = cell.cast("Q"), cell.cast("I")
        self._lock = MemoryLock(self._halves, 0)

    def execute(self, now_ns: int, amount: int) -> Color:
        """Colour a packet of `amount` tokens (its octets, or one)."""
        words = self._words
        with self._lock:
            micros = max(0, now_ns - words[_CREDITED]) // 1000
            if micros:
                words[_CREDITED] += 1000 * micros
                self._credit(_COMMITTED, _RESTS, micros)
                self._credit(_PEAK, _RESTS + 1, micros)
            if words[_PEAK + 2] < amount:
                return Color.RED
            words[_PEAK + 2] -= amount
            if words[_COMMITTED + 2] < amount:
                return Color.YELLOW
            words[_COMMITTED + 2] -= amount
        return Color.GREEN

    def move(self, memory: memoryview, at: int) -> None:
        """Go on in another cell: the entry of a direct meter got another row, which nobody sees yet."""
        before = self._words
        with self._lock:
            self._settle(memory, at)
            self._words[1:] = before[1:]

    def close(self) -> None:
        """Let go of the memory; the meter cannot be executed any more."""
        self._words.release()
        self._halves.release()

    def _credit(self, bucket: int, rest: int, micros: int) -> None:
        words, halves = self._words, self._halves
        millionths = micros * words[bucket] + halves[rest]
        words[bucket + 2] = min(words[bucket + 2] + millionths // _MICROS, words[bucket + 1])
        halves[rest] = millionths % _MICROS


def _bucket(per_second: int, burst: int) -> tuple[int, int, int, int]:
    """A full bucket."""
    rate, burst = min(per_second, _LIMIT), min(burst, _LIMIT)
    return rate, burst, burst, burst * _MICROS // rate + 1 if rate else (1 << 63)


class MeterCells:
    """An indirect meter, as the list of `softswitch.arrays.MeterStore`: the meter of each cell that is configured."""

    def __init__(self, cells: Map, clock: Callable[[], int]) -> None:
        self._memory = cells.memory()
        self._clock = clock
        self._meters: list[Meter | None] = [None] * cells.max_entries

    def adopt(self) -> None:
        """Take the meters that another process configured."""
        self._meters = [configured_meter(self._memory, METER_BYTES * index) for index in range(len(self._meters))]

    def close(self) -> None:
        """Let go of the memory."""
        for meter in self._meters:
            if isinstance(meter, MappedMeter):
                meter.close()

    def __len__(self) -> int:
        return len(self._meters)

    def __getitem__(self, index: int) -> Meter | None:
        return self._meters[index]

    def __setitem__(self, index: int, meter: Meter | None) -> None:
        """Start a cell anew with a meter's configuration; None: every packet is green."""
        at = index * METER_BYTES
        if meter is None:
            self._meters[index] = None
            clear_meter(self._memory, at)
        else:
            self._meters[index] = MappedMeter(self._memory, at, meter.config, self._clock())


def configured_meter(memory: memoryview, at: int) -> MappedMeter | None:
    """The meter that another process left at this byte; None: the cell is not configured."""
    is_configured = any(memory[at + 8 * (_PEAK + 3) : at + 8 * (_PEAK + 4)])
    return MappedMeter.adopt(memory, at) if is_configured else None


def clear_meter(memory: memoryview, at: int) -> None:
    """Make a cell unconfigured."""
    cell = memory[at : at + METER_BYTES]
    with MemoryLock(cell.cast("I"), 0):
        cell[8:] = bytes(METER_BYTES - 8)
