"""Which BPF maps, programs and links a process holds, and whether they are still in the kernel."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from softswitch.engine.xdp.libbpf import library

PATIENCE = 10.0
"""Seconds until what the kernel frees after a grace period must be gone."""


class KernelObject(NamedTuple):
    """The kernel gives a number only once."""

    kind: str
    """`map`, `prog` or `link`."""
    number: int


def held_by(pid: int) -> set[KernelObject]:
    """What a process has open."""
    found = set()
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            lines = entry.read_text().splitlines()
        except OSError:  # closed meanwhile
            continue
        for line in lines:
            name, _, value = line.partition(":")
            if name in ("map_id", "prog_id", "link_id"):
                found.add(KernelObject(name.removesuffix("_id"), int(value)))
    return found


def alive(objects: Iterable[KernelObject]) -> set[KernelObject]:
    """Those that the kernel still has."""
    bpf, found = library(), set()
    for each in objects:
        fd = getattr(bpf, f"bpf_{each.kind}_get_fd_by_id")(each.number)
        if fd >= 0:
            os.close(fd)
            found.add(each)
    return found


def wait_until_gone(objects: Iterable[KernelObject]) -> set[KernelObject]:
    """Those that have not gone in good time."""
    left, deadline = set(objects), time.monotonic() + PATIENCE
    while (left := alive(left)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left
