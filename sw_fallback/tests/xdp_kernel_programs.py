"""Small programs for the tests of the XDP engine's kernel side, and questions to the kernel about what it holds."""

from __future__ import annotations

import ctypes
import os
import struct

from softswitch.engine.xdp.compiler import compile_object
from softswitch.engine.xdp.kernel import Object
from softswitch.engine.xdp.libbpf import library

XDP_DROP, XDP_PASS, XDP_TX = 1, 2, 3
FRAME = bytes(range(64))

HEADERS = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "Dual BSD/GPL";
#define MAP(kind, map_name, count, flags, key_type, value_type) \\
    struct { __uint(type, kind); __uint(max_entries, count); __uint(map_flags, flags); \\
             __type(key, key_type); __type(value, value_type); } map_name SEC(".maps")
"""

COUNTING = (
    HEADERS
    + """
#ifndef SEEN
#define SEEN seen
#endif
struct prefix { __u32 length; __u32 address; };
MAP(BPF_MAP_TYPE_ARRAY, SEEN, 3, BPF_F_MMAPABLE, __u32, __u64);
MAP(BPF_MAP_TYPE_ARRAY, odd, 3, BPF_F_MMAPABLE, __u32, struct { char octets[12]; });
MAP(BPF_MAP_TYPE_HASH, hash, 8, 0, __u32, __u64);
MAP(BPF_MAP_TYPE_LPM_TRIE, routes, 8, BPF_F_NO_PREALLOC, struct prefix, __u32);
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, each, 2, 0, __u32, __u32);
MAP(BPF_MAP_TYPE_DEVMAP, ports, 4, 0, __u32, __u32);
const volatile __u64 step = 1;
const volatile __u8 verdict = XDP_TX;
__u64 runs = 0;

SEC("xdp") int count(struct xdp_md *context)
{
    __u32 one = 1;
    __u64 *cell = bpf_map_lookup_elem(&SEEN, &one);
    __u32 *mine = bpf_map_lookup_elem(&each, &one);
    if (cell) __sync_fetch_and_add(cell, step);
    if (mine) *mine += 1;
    runs++;
    return verdict;
}

SEC("xdp") int shorten(struct xdp_md *context)
{
    if (bpf_xdp_adjust_head(context, 4)) return XDP_ABORTED;
    char *data = (char *)(long)context->data;
    if (data + 1 > (char *)(long)context->data_end) return XDP_ABORTED;
    data[0] = context->ingress_ifindex;
    return XDP_PASS;
}
"""
)

REFUSED = (
    HEADERS
    + """
SEC("xdp") int beyond(struct xdp_md *context) { return *((char *)(long)context->data + 9); }
"""
)

RING = (
    HEADERS
    + """
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 14); } events SEC(".maps");
__u64 number = 0;

/* records of 8 to 72 bytes; every seventh is thought better of */
SEC("xdp") int report(struct xdp_md *context)
{
    __u64 *record = bpf_ringbuf_reserve(&events, 72, 0), value = number;
    if (!record) return XDP_ABORTED;
    __builtin_memset(record, value, 72);
    record[0] = value;
    number = value + 1;
    if (value % 7 == 6) bpf_ringbuf_discard(record, 0);
    else bpf_ringbuf_submit(record, 0);
    return XDP_DROP;
}

SEC("xdp") int brief(struct xdp_md *context)
{
    __u32 value = number++;
    return bpf_ringbuf_output(&events, &value, 3, 0) ? XDP_ABORTED : XDP_DROP;
}
"""
)


def counting(*flags: str, **changes: object) -> Object:
    elf = compile_object(COUNTING, extra_flags=flags)
    return Object.load(elf, name="counting", **changes)  # type: ignore[arg-type]


def u32(*numbers: int) -> bytes:
    return struct.pack(f"={len(numbers)}I", *numbers)


def u64(*numbers: int) -> bytes:
    return struct.pack(f"={len(numbers)}Q", *numbers)


def descriptors() -> set[str]:
    """File descriptors of this process that are open."""
    return set(os.listdir("/proc/self/fd"))


def kernel_names(kind: str) -> list[str]:
    """Names of every map (`map`) or program (`prog`) that the kernel holds, whoever made it."""
    bpf = library()
    at, names = ctypes.c_uint32(0), []
    following, opener = getattr(bpf, f"bpf_{kind}_get_next_id"), getattr(bpf, f"bpf_{kind}_get_fd_by_id")
    while following(at, ctypes.byref(at)) == 0:
        fd = opener(at)
        if fd < 0:  # gone meanwhile
            continue
        information, length = ctypes.create_string_buffer(96), ctypes.c_uint32(96)
        bpf.bpf_obj_get_info_by_fd(fd, information, length)
        os.close(fd)
        start = {"map": 24, "prog": 64}[kind]  # struct bpf_map_info, struct bpf_prog_info
        names.append(information.raw[start : start + 16].partition(b"\0")[0].decode())
    return names


def attached_program(ifindex: int) -> int:
    """The number of the XDP program that runs on an interface; zero if there is none."""
    found = ctypes.c_uint32(0)
    if library().bpf_xdp_query_id(ifindex, 0, ctypes.byref(found)):
        raise OSError(f"interface {ifindex} cannot be asked")
    return found.value
