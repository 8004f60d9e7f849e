"""A network namespace of a test's own, entered by the calling thread."""

from __future__ import annotations

import ctypes
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNET = 0x4000_0000
_LIBC = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A namespace that is there until its context ends."""

    def __init__(self, name: str) -> None:
        self.name = name

    def ip(self, *arguments: str) -> None:
        """Run `ip` in it."""
        subprocess.run(["ip", "-n", self.name, *arguments], check=True, capture_output=True)

    def veth(self, one: str, other: str) -> None:
        """Make a pair of interfaces, up and silent."""
        self.ip("link", "add", one, "type", "veth", "peer", "name", other)
        for name in (one, other):
            quiet = Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
            subprocess.run(
                ["ip", "netns", "exec", self.name, "tee", str(quiet)], input=b"1", check=True, capture_output=True
            )
            self.ip("link", "set", name, "up")

    def exec(self, *command: str) -> tuple[str, ...]:
        """The command that runs another in it."""
        return ("ip", "netns", "exec", self.name, *command)


@contextmanager
def namespace(enter: bool = True) -> Iterator[Namespace]:
    """Make a namespace, and by default move this thread into it until the context ends."""
    made = Namespace(f"softswitch-{uuid.uuid4().hex[:8]}")
    subprocess.run(["ip", "netns", "add", made.name], check=True, capture_output=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        made.ip("link", "set", "lo", "up")
        if enter:
            there = os.open(f"/run/netns/{made.name}", os.O_RDONLY | os.O_CLOEXEC)
            join(there)
            os.close(there)
        yield made
    finally:
        join(home)
        os.close(home)
        subprocess.run(["ip", "netns", "del", made.name], check=True, capture_output=True)


def join(descriptor: int) -> None:
    """Move this thread."""
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
