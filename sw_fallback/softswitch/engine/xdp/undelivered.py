"""Frames that the kernel could not send after a redirect: nobody but its tracepoints tells of them."""

from __future__ import annotations

import os
import struct
from enum import IntEnum
from importlib.resources import files

from softswitch.engine.xdp.compiler import compile_object
from softswitch.engine.xdp.kernel import Map, Object, Tracepoint

__all__ = ["Reason", "Undelivered"]


class Reason(IntEnum):
    """Why frames did not leave; `enum reason` in `runtime/undelivered.c`."""

    NO_RECEIVER = 0
    """The interface takes no redirected frames: a veth whose peer has neither an XDP program nor GRO."""
    IS_DOWN = 1
    TOO_LONG = 2
    """They are longer than the interface's MTU."""
    QUEUE_FULL = 3
    """They came faster than they are taken."""
    OTHER = 4


class Undelivered:
    """Counts by port while it is open. Its two programs run for each batch of redirected frames on this machine."""

    def __init__(self, port_of: Map, ports: Map) -> None:
        """The maps of the program whose frames are counted. Raises `CompileError`, `KernelError`."""
        source = files(__package__).joinpath("runtime", "undelivered.c").read_text("utf-8")
        namespace = os.stat("/proc/thread-self/ns/net").st_ino
        self._object = Object.load(
            compile_object(source),
            name="undelivered",
            rodata={"ports_map": struct.pack("=I", ports.id), "network_namespace": struct.pack("=I", namespace)},
            reuse={"port_of": port_of.fd},
        )
        try:
            self._tracepoints = [Tracepoint(program) for program in self._object.programs.values()]
        except BaseException:
            self._object.close()
            raise
        self._cells = self._object.maps["undelivered"].memory().cast("Q")

    def by_port(self) -> dict[int, dict[Reason, int]]:
        """How many frames each port has lost, where it has, by reason."""
        count = len(Reason)
        ports = enumerate(self._cells[at : at + count].tolist() for at in range(0, len(self._cells), count))
        return {
            port: {reason: frames for reason, frames in zip(Reason, cells, strict=True) if frames}
            for port, cells in ports
            if any(cells)
        }

    def close(self) -> None:
        """Count no more."""
        for tracepoint in self._tracepoints:
            tracepoint.close()
        self._cells.release()
        self._object.close()
