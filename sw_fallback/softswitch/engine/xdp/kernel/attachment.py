"""An XDP program on a network interface, as a bpf_link: gone with its last file descriptor, also after a crash.

Only native mode is used (the driver runs the program on its own buffers): the generic mode of the kernel copies
packets into socket buffers first and is slower than the interface without XDP.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import weakref
from ctypes import c_uint32
from pathlib import Path
from types import TracebackType

from softswitch.engine.xdp.kernel.pins import open_pin, pin
from softswitch.engine.xdp.libbpf import (
    KernelError,
    LinkCreateOptions,
    check,
    collected_log,
    information_of,
    library,
)

__all__ = ["Attachment"]

_BPF_XDP = 37
"""enum bpf_attach_type (linux/bpf.h)."""
_LINK_TYPE_XDP = 6
"""enum bpf_link_type (linux/bpf.h)."""
_ONLY_IF_NONE = 1 << 0
"""XDP_FLAGS_UPDATE_IF_NOEXIST (linux/if_link.h)."""
_NATIVE = 1 << 2
"""XDP_FLAGS_DRV_MODE (linux/if_link.h)."""

_VETH_ROOM = 256 + 320 + 14
"""What veth takes of a page beside the payload: headroom, skb_shared_info on 64 bits, Ethernet header."""
_DRIVER_SAYS = "Kernel error message: "
"""libbpf's words before the kernel's extended acknowledgement (nlattr.c)."""


class _Information(ctypes.Structure):
    """struct bpf_link_info (linux/bpf.h) of an XDP link."""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("prog_id", c_uint32),
        ("padding", c_uint32),
        ("ifindex", c_uint32),
        ("room", c_uint32 * 7),
    )


class Attachment:
    """A link, until `close`, the end of a `with`, or garbage collection. A pin keeps the program attached beyond."""

    def __init__(self, fd: int) -> None:
        """Takes over `fd`, also when it raises `KernelError` because this is no XDP link."""
        self.fd = fd
        self._finalizer = weakref.finalize(self, os.close, fd)
        try:
            information = self._information()
            if information.type != _LINK_TYPE_XDP:
                raise KernelError(f"file descriptor {fd} is no link of an XDP program")
        except KernelError:
            self._finalizer()
            raise

    @classmethod
    def attach(cls, program_fd: int, ifindex: int) -> Attachment:
        """Run the program on every frame that the interface receives. Raises `KernelError` with what to do about it."""
        options = LinkCreateOptions(sz=ctypes.sizeof(LinkCreateOptions), flags=_NATIVE)
        result = library().bpf_link_create(program_fd, ifindex, _BPF_XDP, options)
        if result < 0:
            raise _refusal(program_fd, ifindex, -result)
        return cls(result)

    @classmethod
    def open(cls, path: Path) -> Attachment:
        """The link that was pinned there."""
        return cls(open_pin(path))

    @property
    def ifindex(self) -> int:
        """The interface; zero once that is gone, and then nothing brings this link back."""
        return int(self._information().ifindex)

    def is_at(self, ifindex: int) -> bool:
        """Whether it is to this interface of this network namespace: indexes repeat from one to another."""
        if self.ifindex != ifindex:
            return False
        attached = c_uint32(0)
        result = library().bpf_xdp_query_id(ifindex, _NATIVE, ctypes.byref(attached))
        check(result, f"the program of interface {ifindex} cannot be asked for")
        return attached.value == self.program_id

    @property
    def program_id(self) -> int:
        """The kernel's number of the program that runs."""
        return int(self._information().prog_id)

    def update(self, program_fd: int) -> None:
        """Put another program in this one's place: each frame meets the one or the other."""
        check(library().bpf_link_update(self.fd, program_fd, None), "the attached program cannot be replaced")

    def pin(self, path: Path) -> None:
        """Keep the program attached, whoever ends, until the pin is removed. What was pinned there is replaced."""
        pin(self.fd, path)

    def close(self) -> None:
        """Let go: the program is detached unless it is pinned or open elsewhere."""
        self._finalizer()

    def __enter__(self) -> Attachment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _information(self) -> _Information:
        information = _Information()
        information_of(self.fd, "link", information)
        return information


def _refusal(program_fd: int, ifindex: int, number: int) -> KernelError:
    """Why the kernel did not attach, in words; the link's system call itself gives only a number."""
    try:
        name = socket.if_indextoname(ifindex)
    except OSError:
        return KernelError(f"there is no interface {ifindex} in this network namespace", errno.ENODEV, is_whole=True)
    what = f"no XDP program can be attached to {name}"
    if number in (errno.EBUSY, errno.EEXIST):
        text = f"{what}: another one is attached already (see `ip link show {name}`)"
        return KernelError(text, number, is_whole=True)
    if number == errno.EPERM:
        return KernelError(f"{what}: it needs root, or CAP_BPF and CAP_NET_ADMIN", number, is_whole=True)
    said = _what_the_driver_says(program_fd, ifindex)
    if number == errno.EOPNOTSUPP:
        text = f"{what}: its driver has no native XDP" + (f" ({said})" if said else "")
        return KernelError(text, number, is_whole=True)
    if said.startswith("veth:") and "MTU" in said:
        limit = mmap.PAGESIZE - _VETH_ROOM
        return KernelError(f"{what}: the MTU of its peer must be at most {limit} bytes", number, is_whole=True)
    return KernelError(f"{what}: {said}" if said else what, number, is_whole=bool(said))


def _what_the_driver_says(program_fd: int, ifindex: int) -> str:
    """The reason in the driver's words, which only netlink carries: the same request once more that way."""
    with collected_log() as log:
        if library().bpf_xdp_attach(ifindex, program_fd, _NATIVE | _ONLY_IF_NONE, None) == 0:
            library().bpf_xdp_detach(ifindex, _NATIVE, None)  # the obstacle went away between the two
    said = [line.partition(_DRIVER_SAYS)[2].strip() for line in log if _DRIVER_SAYS in line]
    return said[-1] if said else ""
