"""The ports on an asyncio loop: frames that arrive are switched in small bunches, frames that leave are sent.

Everything runs on one thread. A bunch is bounded so that the P4Runtime server gets its turn within a few
milliseconds, and its handlers give way in turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict

from softswitch.ports import Port, PortError, check_distinct
from softswitch.ports.interface import KernelCounts

__all__ = ["DataPlane"]

_LOG = logging.getLogger("softswitch.ports")

_BUNCH = 64
"""Frames of one port in one turn of the loop: about a millisecond of work."""
_LOOK_AFTER_S = 1.0
"""How often an interface that went away is looked for, and counters are."""
_COUNTED_FAULTS = {
    "receive_dropped": "frames arrive faster than they are switched and are dropped (said once)",
    "oversized": "frames above the MTU are dropped: turn segmentation offload off where they come from, "
    "`ethtool -K PEER tso off gso off`, and receive offload here, `ethtool -K INTERFACE gro off` (said once)",
}
"""What an operator should know when it is first counted."""


class DataPlane:
    """A set of ports and what happens to their frames."""

    def __init__(
        self, ports: Sequence[Port], process: Callable[[int, bytes], None], after_bunch: Callable[[], None]
    ) -> None:
        """`process` gets each frame with its port; `after_bunch` is called when a bunch of them is through.

        Raises ValueError for two ports with one number or interface.
        """
        check_distinct(ports)
        self.unknown_port = 0
        """Frames the program sent to a port that does not exist."""
        self._ports = {port.number: port for port in ports}
        self._process = process
        self._after_bunch = after_bunch
        self._watched: dict[int, int] = {}
        self._told: set[tuple[int, str]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Open every port and start to take frames. Raises `PortError`, and then no port is open."""
        try:
            for port in self._ports.values():
                port.open()
        except PortError:
            self.close()
            raise
        for port in self._ports.values():
            self._watch(port)
        self._timer = asyncio.get_running_loop().call_later(_LOOK_AFTER_S, self._look_after)

    def transmit(self, number: int, frame: bytes) -> None:
        """Send a frame out of a port; counted when there is no such port."""
        port = self._ports.get(number)
        if port is None:
            if not self.unknown_port:
                _LOG.warning(
                    "the program sends to port %d, which does not exist; is --cpu-port right? (said once)", number
                )
            self.unknown_port += 1
        else:
            port.send(frame)

    def close(self) -> None:
        """Stop taking frames and close every port."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for port in self._ports.values():
            self._unwatch(port)
            port.close()

    def log_counters(self, kernel: KernelCounts) -> None:
        """Write each port's counters to the log, with what the kernel switched without them."""
        for port in self._ports.values():
            counts = asdict(port.stats)
            if port.number in kernel.passed:
                counts["received"], counts["sent"] = kernel.passed[port.number]
            counts["undelivered"] = kernel.undelivered.get(port.number, 0)
            counted = ", ".join(f"{name} {value}" for name, value in counts.items() if value)
            _LOG.info("port %d@%s: %s", port.number, port.name, counted or "no traffic")
        if self.unknown_port:
            _LOG.info("%d frames went to ports that do not exist", self.unknown_port)

    def _watch(self, port: Port) -> None:
        descriptor = port.fileno()
        if descriptor is not None:
            asyncio.get_running_loop().add_reader(descriptor, self._readable, port)
            self._watched[port.number] = descriptor

    def _unwatch(self, port: Port) -> None:
        descriptor = self._watched.pop(port.number, None)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)

    def _readable(self, port: Port) -> None:
        frames = port.receive(_BUNCH)
        if port.fileno() is None:  # its interface is gone
            self._unwatch(port)
        for frame in frames:
            self._process(port.number, frame)
        self._after_bunch()

    def _look_after(self) -> None:
        """Open again what went away, and say what only shows in counters."""
        for port in self._ports.values():
            if port.fileno() is None:
                self._unwatch(port)
                self._reopen(port)
            port.update_counters()
            for name, advice in _COUNTED_FAULTS.items():
                if getattr(port.stats, name) and (port.number, name) not in self._told:
                    self._told.add((port.number, name))
                    _LOG.warning("port %d@%s: %s", port.number, port.name, advice)
        self._timer = asyncio.get_running_loop().call_later(_LOOK_AFTER_S, self._look_after)

    def _reopen(self, port: Port) -> None:
        try:
            port.open()
        except PortError as error:
            _LOG.debug("%s", error)
            return
        self._watch(port)
        _LOG.warning("port %d: interface %s is back", port.number, port.name)
