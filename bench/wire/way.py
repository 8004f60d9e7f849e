"""From one interface to another with a switch in between: a generator at the one, a sink at the other."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench.rewinding import compiled
from softswitch.engine.xdp.kernel import Attachment, Object, run_live

__all__ = ["Passed", "Way", "connect_bare", "make_links", "passed"]

_SOURCE = Path(__file__).with_name("wire.bpf.c")
_FIRST = bytes(4)
"""The only key of its maps."""
_BATCH = 64
"""Frames between two flushes: the switch gets its turn after each, and its queues hold 256."""
_QUIET = ("tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off")
_SETTLED = 0.02
"""Seconds without another frame after which none is on its way."""


class Way:
    """Copies of one frame into a switch by one interface, out of it by another; both are the switch's peers. A context
    manager."""

    def __init__(self, enters: str, leaves: str, frame: bytes) -> None:
        """`frame`: its length a multiple of 8. Raises `KernelError`, `CompileError`."""
        self._frame = frame
        self._enters = socket.if_nametoindex(enters)
        with ExitStack() as undo:
            self._object = undo.enter_context(
                Object.load(compiled(_SOURCE, {"FRAME": len(frame)}), name="wire", rodata={"template": frame})
            )
            programs = self._object.programs
            # without a program, an interface has no live frames
            undo.enter_context(Attachment.attach(programs["discard"], self._enters))
            self._end = undo.enter_context(Attachment.attach(programs["sink"], socket.if_nametoindex(leaves)))
            self._held = undo.pop_all()

    def __enter__(self) -> Way:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    @property
    def arrived(self) -> int:
        """Frames at the far end so far."""
        counters = self._object.maps["arrived"].lookup(_FIRST) or b""
        return sum(struct.unpack(f"={len(counters) // 8}Q", counters))

    def send(self, count: int) -> None:
        """Send so many frames from the core that this thread is on; what arrives of them may still be on its way."""
        run_live(
            self._object.programs["generate"], self._frame, ingress_ifindex=self._enters, repeat=count, batch=_BATCH
        )

    def one(self) -> bytes:
        """Send one frame; what arrives of it, nothing where it does not."""
        self._end.update(self._object.programs["keep"])
        try:
            self.send(1)
            time.sleep(_SETTLED)
            length, frame = struct.unpack("=I256s", self._object.maps["kept"].lookup(_FIRST) or bytes(260))
        finally:
            self._end.update(self._object.programs["sink"])
        return bytes(frame[:length])


@dataclass(frozen=True, slots=True)
class Passed:
    """What came of some frames."""

    rate: float
    """Frames that arrived in a second."""
    lost: int
    sent: int


def passed(ways: Sequence[Way], count: int) -> Passed:
    """Send `count` frames on each of the ways, each from a core of its own: the highest ones."""
    cores = sorted(os.sched_getaffinity(0), reverse=True)[: len(ways)]
    senders = [threading.Thread(target=_send, args=(way, core, count)) for way, core in zip(ways, cores, strict=True)]
    before = sum(way.arrived for way in ways)
    begun = time.perf_counter()
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    ended, arrived = time.perf_counter(), sum(way.arrived for way in ways) - before
    while True:  # what still comes is not lost, and took this long
        time.sleep(_SETTLED)
        more = sum(way.arrived for way in ways) - before
        if more == arrived:
            break
        ended, arrived = time.perf_counter(), more
    return Passed(arrived / (ended - begun), count * len(ways) - arrived, count * len(ways))


def _send(way: Way, core: int, count: int) -> None:
    os.sched_setaffinity(0, {core})
    way.send(count)


@contextmanager
def connect_bare(interfaces: Iterable[tuple[str, str]]) -> Iterator[None]:
    """Redirect what comes in at the first of each pair to the second, and nothing else."""
    with ExitStack() as held:
        for enters, leaves in interfaces:
            loaded = held.enter_context(Object.load(compiled(_SOURCE, {"FRAME": 64}), name="wire"))
            loaded.maps["other"].update(_FIRST, struct.pack("=I", socket.if_nametoindex(leaves)))
            held.enter_context(Attachment.attach(loaded.programs["bare_redirect"], socket.if_nametoindex(enters)))
            # the other's receiving side is not used; as the switch's ports have a program, so has it
            held.enter_context(Attachment.attach(loaded.programs["bare_redirect"], socket.if_nametoindex(leaves)))
        yield


def make_links(pairs: Iterable[tuple[str, str]]) -> None:
    """Veth pairs, up, without offloads and IPv6 of the kernel's own."""
    for pair in pairs:
        _run("ip", "link", "add", pair[0], "type", "veth", "peer", "name", pair[1])
        for end in pair:
            Path(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6").write_text("1")
            _run("ethtool", "-K", end, *_QUIET)
            _run("ip", "link", "set", end, "up")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
