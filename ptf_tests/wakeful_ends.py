"""veth interfaces that take what an XDP program at the other end, or beyond it, redirects to them.

A veth gives redirected frames up only where it polls (NAPI): with receive offload, or with an XDP program of its own.
A test wants frames as they left the switch, so here it is a program, which lets every frame pass.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from softswitch.engine.xdp.compiler import compile_object
from softswitch.engine.xdp.kernel import Attachment, Object

__all__ = ["awake"]

_SOURCE = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp") int let_pass(struct xdp_md *context) { return XDP_PASS; }

char _license[] SEC("license") = "Dual MIT/GPL";
"""


@contextmanager
def awake(interfaces: Iterable[str]) -> Iterator[None]:
    """Let these interfaces of this network namespace take redirected frames. Raises `KernelError`, `CompileError`."""
    with ExitStack() as held:
        loaded = held.enter_context(Object.load(compile_object(_SOURCE), name="wakeful"))
        for interface in interfaces:
            index = socket.if_nametoindex(interface)
            held.enter_context(Attachment.attach(loaded.programs["let_pass"], index))
        yield
