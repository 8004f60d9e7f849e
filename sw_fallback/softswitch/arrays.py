"""Indirect counters, meters and registers: cells that translated code reads and writes by index."""

from __future__ import annotations

from typing import Protocol

from softswitch.entities import Counter, MeterConfig
from softswitch.errors import InvalidArgument, OutOfRange
from softswitch.meters import Meter
from softswitch.program.controls import CounterArray, MeterArray, RegisterArray

__all__ = ["CounterCells", "CounterStore", "MeterStore", "RegisterStore"]

_COUNTER_LIMIT = 1 << 63
"""Counters are int64 on the wire (P4Runtime 9.4)."""


def check_counter(value: Counter) -> None:
    """Raises `InvalidArgument` for a reading that no counter can have."""
    if not (0 <= value.packets < _COUNTER_LIMIT and 0 <= value.octets < _COUNTER_LIMIT):
        raise InvalidArgument(
            f"a counter holds from 0 to 2**63 - 1, not {value.packets} packets, {value.octets} octets"
        )


class CounterCells(Protocol):
    """Cells that an engine outside of this process counts in."""

    def read(self, index: int) -> tuple[int, int]:
        """Packets and octets."""

    def clear(self, index: int) -> None:
        """Count from zero."""

    def keep(self, index: int, packets: int, octets: int) -> None:
        """What this process counts beside, for the next one."""


class CounterStore:
    """A counter array."""

    def __init__(self, array: CounterArray) -> None:
        self.array = array
        self.mirror: CounterCells | None = None
        """What is counted elsewhere; the lists here know only what ran through the python engine."""
        self.packets = [0] * array.size
        self.octets = [0] * array.size

    def read(self, index: int) -> Counter:
        _check_index("counter", self.array.name, index, self.array.size)
        packets, octets = self.mirror.read(index) if self.mirror is not None else (0, 0)
        return Counter(self.packets[index] + packets, self.octets[index] + octets)

    def write(self, index: int, value: Counter) -> None:
        _check_index("counter", self.array.name, index, self.array.size)
        check_counter(value)
        if self.mirror is not None:
            self.mirror.clear(index)
        self.packets[index], self.octets[index] = value.packets, value.octets
        if self.mirror is not None:
            self.mirror.keep(index, value.packets, value.octets)


class MeterStore:
    """A meter array."""

    def __init__(self, array: MeterArray) -> None:
        self.array = array
        self.meters: list[Meter | None] = [None] * array.size
        """None: not configured, every packet is green."""

    def read(self, index: int) -> MeterConfig | None:
        _check_index("meter", self.array.name, index, self.array.size)
        meter = self.meters[index]
        return None if meter is None else meter.config

    def write(self, index: int, config: MeterConfig | None, now_ns: int) -> None:
        _check_index("meter", self.array.name, index, self.array.size)
        self.meters[index] = None if config is None else Meter(config, now_ns)


class RegisterStore:
    """A register array."""

    def __init__(self, array: RegisterArray) -> None:
        self.array = array
        self.cells = [0] * array.size

    def read(self, index: int) -> int:
        _check_index("register", self.array.name, index, self.array.size)
        return self.cells[index]

    def write(self, index: int, value: int) -> None:
        _check_index("register", self.array.name, index, self.array.size)
        if not 0 <= value < 1 << self.array.width:
            raise InvalidArgument(f"register '{self.array.name}' holds {self.array.width} bits: {value:#x} is wider")
        self.cells[index] = value


def _check_index(kind: str, name: str, index: int, size: int) -> None:
    if not 0 <= index < size:
        raise OutOfRange(f"{kind} '{name}' has {size} cells, none at {index}")
