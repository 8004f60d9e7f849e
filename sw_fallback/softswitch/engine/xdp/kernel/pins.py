"""Pins: names in a BPF file system that keep maps, programs and links in the kernel without any process."""

from __future__ import annotations

import ctypes
import errno
import os
import uuid
from contextlib import suppress
from pathlib import Path

from softswitch.engine.xdp.libbpf import KernelError, check, library

__all__ = ["open_pin", "pin", "pin_folder", "unpin"]

_BPF_FS_MAGIC = 0xCAFE4A11
"""statfs(2) f_type of a BPF file system (linux/magic.h)."""

_LIBC = ctypes.CDLL(None, use_errno=True)


class _FileSystem(ctypes.Structure):
    """struct statfs: its first word is the kind; the rest, 120 bytes at most, is not looked at."""

    _fields_ = (("kind", ctypes.c_long), ("rest", ctypes.c_long * 31))


def pin_folder(path: Path) -> Path:
    """The folder, made if need be for this user only. Raises `KernelError` if it is on no BPF file system."""
    _require_bpffs(path)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KernelError(f"{path} cannot be made", error.errno or 0) from error
    return path


def pin(fd: int, path: Path) -> None:
    """Give a map, program or link a name in `pin_folder`. What had the name is replaced in one step.

    The BPF file system keeps names with dots for itself. Raises `KernelError`.
    """
    if "." in path.name:
        raise KernelError(f"{path} cannot be pinned: the name has a dot")
    fresh = path.with_name(f"{path.name}-{uuid.uuid4().hex}")
    result = library().bpf_obj_pin(fd, os.fsencode(fresh))
    if result == -errno.EPERM:
        _require_bpffs(path)
    check(result, f"{path} cannot be pinned")
    try:
        os.replace(fresh, path)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink()
        raise KernelError(f"{path} cannot be pinned", error.errno or 0) from error


def open_pin(path: Path) -> int:
    """A file descriptor of what is pinned there, for `Map` or `Attachment` to take over; ENOENT if nothing is."""
    return check(library().bpf_obj_get(os.fsencode(path)), f"{path} cannot be opened")


def unpin(path: Path) -> bool:
    """Take the name away; what nothing else holds goes. Whether there was one."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise KernelError(f"{path} cannot be removed", error.errno or errno.EIO) from error
    return True


def _require_bpffs(path: Path) -> None:
    there = path.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    found = _FileSystem()
    result = _LIBC.statfs(os.fsencode(there), ctypes.byref(found))
    if result or found.kind & 0xFFFFFFFF != _BPF_FS_MAGIC:
        advice = "mount one: mount -t bpf bpf /sys/fs/bpf"
        raise KernelError(f"{path} is on no BPF file system, and only there can maps and links be pinned; {advice}")
