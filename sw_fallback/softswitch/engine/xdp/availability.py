"""Whether the XDP engine can run on this machine, found out by doing a little of everything that it needs."""

from __future__ import annotations

import errno
import os
import platform
import struct
from collections.abc import Callable
from pathlib import Path

from softswitch.engine.xdp.compiler import CompileError, CompilerMissing, compile_object
from softswitch.engine.xdp.libbpf import LibraryMissing, library

__all__ = ["why_not"]

BTF = Path("/sys/kernel/btf/vmlinux")

_TYPE_ARRAY = 2
_TYPE_RINGBUF = 27
_PROGRAM_XDP = 6
"""enum bpf_map_type, enum bpf_prog_type (linux/bpf.h)."""

_PASS = struct.pack("=BBhiBBhiBBhi", 0x1D, 0xA1, 0, 0, 0xB7, 0, 0, 2, 0x95, 0, 0, 0)
"""if r1 == r10 goto +0; r0 = XDP_PASS; exit. Comparing pointers is what CAP_PERFMON is asked for: without it the
kernel would also put guards against speculation into every program."""

_SOURCE = """\
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

SEC("xdp") int probe(struct xdp_md *context) { return context->data == context->data_end ? XDP_DROP : XDP_PASS; }
"""

_PRIVILEGES = "it needs root, or the capabilities CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"


def why_not() -> str | None:
    """The first reason, in one sentence without a full stop, why the engine cannot run here; None if it can."""
    if platform.system() != "Linux":
        return f"XDP is a part of Linux, and this is {platform.system() or 'an unknown system'}"
    try:
        library()
        compile_object(_SOURCE)
    except (LibraryMissing, CompilerMissing) as error:
        return str(error)
    except CompileError as error:
        return _broken_compiler(str(error))
    if not BTF.exists():
        return f"the kernel has no type information of its own ({BTF}, CONFIG_DEBUG_INFO_BTF)"
    return _refused_by_kernel()


def _broken_compiler(text: str) -> str:
    """A compiler that cannot compile four lines lacks headers, or the eBPF target."""
    lines = [line.strip() for line in text.splitlines()]
    said = next((line for line in lines if "error:" in line), lines[-1])
    if "file not found" in said:
        return f"C headers are missing ({said}): install the packages libbpf-dev and linux-libc-dev"
    return f"clang does not compile for eBPF ({said})"


def _refused_by_kernel() -> str | None:
    """Make a map of each new kind and load the smallest program."""
    bpf = library()
    page = os.sysconf("SC_PAGESIZE")
    steps: tuple[tuple[str, Callable[[], int]], ...] = (
        ("an array map", lambda: int(bpf.bpf_map_create(_TYPE_ARRAY, b"probe", 4, 8, 1, None))),
        ("a ring buffer", lambda: int(bpf.bpf_map_create(_TYPE_RINGBUF, b"probe", 0, 0, page, None))),
        (
            "an XDP program",
            lambda: int(bpf.bpf_prog_load(_PROGRAM_XDP, b"probe", b"GPL", _PASS, len(_PASS) // 8, None)),
        ),
    )
    for what, attempt in steps:
        result = attempt()
        if result >= 0:
            os.close(result)
        elif result in (-errno.EPERM, -errno.EACCES):
            return f"the kernel does not let this process make {what}: {_PRIVILEGES}"
        else:
            return f"the kernel cannot make {what} (needed is Linux 5.17 or newer): {os.strerror(-result)}"
    return None
