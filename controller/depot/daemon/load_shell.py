"""How loaded this gateway is: its CPU, its packets against what it can take, or what a program of the operator says."""

from __future__ import annotations

import asyncio
import logging
import math
from asyncio.subprocess import PIPE
from pathlib import Path

from depot.config.vmac_model import VmacConfig

__all__ = ["LoadMeter"]

RESTART = 5.0
"""Seconds until a load command that has ended is started again."""
_STAT = Path("/proc/stat")

events = logging.getLogger("depot.events")


class LoadMeter:
    """Gives the load, 1 being a whole gateway. A load command's word counts alone."""

    def __init__(self, config: VmacConfig) -> None:
        self._capacity = config.capacity
        self._command = config.load_command
        self._told: float | None = None
        self._cpu = _cpu_times()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen to the load command."""
        if self._command:
            self._task = asyncio.create_task(self._listen(), name="load command")

    async def stop(self) -> None:
        """End the load command."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def load(self, packets_per_second: float) -> float:
        """Return the load since the last call."""
        before, self._cpu = self._cpu, _cpu_times()
        if self._told is not None:
            return self._told
        busy, total = self._cpu[0] - before[0], self._cpu[1] - before[1]
        cpu = busy / total if total > 0 else 0.0
        return max(cpu, packets_per_second / self._capacity if self._capacity else 0.0)

    async def _listen(self) -> None:
        while True:
            try:
                process = await asyncio.create_subprocess_exec(*self._command, stdout=PIPE)
            except OSError as error:
                events.warning("load_command %s: %s", self._command[0], error.strerror)
            else:
                await self._read(process)
            self._told = None
            await asyncio.sleep(RESTART)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        lines = process.stdout or asyncio.StreamReader()
        try:
            async for line in lines:
                self._take(line.decode(errors="replace").strip())
            events.warning("load_command %s has ended, status %d", self._command[0], await process.wait())
        except ValueError as error:  # a line longer than a reader holds
            events.warning("load_command %s is started again: %s", self._command[0], error)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _take(self, line: str) -> None:
        try:
            value = float(line)
        except ValueError:
            value = math.nan
        if math.isfinite(value) and value >= 0:
            self._told = value
        else:
            self._told = None
            events.warning("load_command %s: %r is no load; write a number from 0 on a line", self._command[0], line)


def _cpu_times() -> tuple[float, float]:
    """Ticks of all CPUs together: not idle, and all."""
    numbers = [int(word) for word in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
    return sum(numbers) - numbers[3] - numbers[4], sum(numbers)
