"""Debian's libbpf (libbpf.so.1) through ctypes: declarations, its log, its errors (bpf/libbpf.h, bpf/bpf.h of 1.1).

libbpf 1 returns a negative errno from functions that return int, and NULL with errno set from those that return a
pointer. Its messages are silent here; `collected_log` catches those of one thread for the error that follows.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache

from softswitch.errors import SoftswitchError

__all__ = [
    "KernelError",
    "LibraryMissing",
    "LinkCreateOptions",
    "MapBatchOptions",
    "MapCreateOptions",
    "ObjectOpenOptions",
    "TestRunOptions",
    "check",
    "collected_log",
    "information_of",
    "library",
    "pointer_or_error",
]

LIBRARY = "libbpf.so.1"
PACKAGE = "libbpf1"

_OWN_ERRORS = 4000
"""LIBBPF_ERRNO__START: numbers from here are libbpf's, not the kernel's."""
_MESSAGE_ROOM = 4096
"""Bytes of one message of libbpf that are kept; the verifier's log comes another way (`ObjectOpenOptions`)."""
_WARNING = 0


class KernelError(SoftswitchError):
    """The kernel, or libbpf on the way to it, refused."""

    def __init__(self, what: str, number: int = 0, log: Sequence[str] = (), *, is_whole: bool = False) -> None:
        """is_whole: `what` has the reason already, and the number's own words would be a second one."""
        self.errno = number
        """The kernel's errno, a number of libbpf's from 4000, or zero when the refusal is ours."""
        self.log = tuple(log)
        """The last lines of libbpf's and of the verifier's log, oldest first."""
        text = f"{what}: {_describe(number)}" if number and not is_whole else what
        super().__init__("\n  ".join((text, *self.log)))


class LibraryMissing(KernelError):
    """There is no libbpf.so.1 on this machine."""


class ObjectOpenOptions(ctypes.Structure):
    """struct bpf_object_open_opts."""

    _fields_ = (
        ("sz", c_size_t),
        ("object_name", c_char_p),
        ("relaxed_maps", ctypes.c_bool),
        ("pin_root_path", c_char_p),
        ("reserved", c_uint32),
        ("kconfig", c_char_p),
        ("btf_custom_path", c_char_p),
        ("kernel_log_buf", c_void_p),
        ("kernel_log_size", c_size_t),
        ("kernel_log_level", c_uint32),
    )


class TestRunOptions(ctypes.Structure):
    """struct bpf_test_run_opts."""

    __test__ = False

    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_char_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


class LinkCreateOptions(ctypes.Structure):
    """struct bpf_link_create_opts as far as XDP needs it: zeroes stand for the rest."""

    _fields_ = (
        ("sz", c_size_t),
        ("flags", c_uint32),
        ("iter_info", c_void_p),
        ("iter_info_len", c_uint32),
        ("target_btf_id", c_uint32),
    )


class MapCreateOptions(ctypes.Structure):
    """struct bpf_map_create_opts as far as an array needs it: zeroes stand for the rest."""

    _fields_ = (
        ("sz", c_size_t),
        ("btf_fd", c_uint32),
        ("btf_key_type_id", c_uint32),
        ("btf_value_type_id", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("inner_map_fd", c_uint32),
        ("map_flags", c_uint32),
    )


class MapBatchOptions(ctypes.Structure):
    """struct bpf_map_batch_opts."""

    _fields_ = (("sz", c_size_t), ("elem_flags", c_uint64), ("flags", c_uint64))


_PRINT = ctypes.CFUNCTYPE(c_int, c_int, c_void_p, c_void_p)
"""libbpf_print_fn_t; a va_list is passed as a pointer on x86-64, arm64 and riscv64 alike."""

_COUNT = POINTER(c_uint32)
_SIGNATURES: dict[str, tuple[object, tuple[object, ...]]] = {
    "libbpf_set_print": (c_void_p, (_PRINT,)),
    "libbpf_strerror": (c_int, (c_int, c_char_p, c_size_t)),
    "libbpf_num_possible_cpus": (c_int, ()),
    "bpf_object__open_mem": (c_void_p, (c_char_p, c_size_t, POINTER(ObjectOpenOptions))),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_object__btf": (c_void_p, (c_void_p,)),
    "bpf_object__next_map": (c_void_p, (c_void_p, c_void_p)),
    "bpf_object__next_program": (c_void_p, (c_void_p, c_void_p)),
    "bpf_program__name": (c_char_p, (c_void_p,)),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_map__name": (c_char_p, (c_void_p,)),
    "bpf_map__fd": (c_int, (c_void_p,)),
    "bpf_map__type": (c_int, (c_void_p,)),
    "bpf_map__key_size": (c_uint32, (c_void_p,)),
    "bpf_map__value_size": (c_uint32, (c_void_p,)),
    "bpf_map__max_entries": (c_uint32, (c_void_p,)),
    "bpf_map__map_flags": (c_uint32, (c_void_p,)),
    "bpf_map__is_internal": (ctypes.c_bool, (c_void_p,)),
    "bpf_map__set_max_entries": (c_int, (c_void_p, c_uint32)),
    "bpf_map__reuse_fd": (c_int, (c_void_p, c_int)),
    "bpf_map__initial_value": (c_void_p, (c_void_p, POINTER(c_size_t))),
    "btf__find_by_name_kind": (c_int, (c_void_p, c_char_p, c_uint32)),
    "btf__type_by_id": (c_void_p, (c_void_p, c_uint32)),
    "btf__name_by_offset": (c_char_p, (c_void_p, c_uint32)),
    "bpf_map_create": (c_int, (c_int, c_char_p, c_uint32, c_uint32, c_uint32, POINTER(MapCreateOptions))),
    "bpf_prog_load": (c_int, (c_int, c_char_p, c_char_p, c_char_p, c_size_t, c_void_p)),
    "bpf_map_update_elem": (c_int, (c_int, c_void_p, c_void_p, c_uint64)),
    "bpf_map_lookup_elem": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_delete_elem": (c_int, (c_int, c_void_p)),
    "bpf_map_get_next_key": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_update_batch": (c_int, (c_int, c_void_p, c_void_p, _COUNT, POINTER(MapBatchOptions))),
    "bpf_map_delete_batch": (c_int, (c_int, c_void_p, _COUNT, POINTER(MapBatchOptions))),
    "bpf_map_lookup_batch": (c_int, (c_int, c_void_p, c_void_p, c_void_p, c_void_p, _COUNT, c_void_p)),
    "bpf_obj_pin": (c_int, (c_int, c_char_p)),
    "bpf_obj_get": (c_int, (c_char_p,)),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, _COUNT)),
    "bpf_link_create": (c_int, (c_int, c_int, c_int, POINTER(LinkCreateOptions))),
    "bpf_link_update": (c_int, (c_int, c_int, c_void_p)),
    "bpf_raw_tracepoint_open": (c_int, (c_char_p, c_int)),
    "bpf_xdp_attach": (c_int, (c_int, c_int, c_uint32, c_void_p)),
    "bpf_xdp_query_id": (c_int, (c_int, c_int, _COUNT)),
    "bpf_xdp_detach": (c_int, (c_int, c_uint32, c_void_p)),
    "bpf_enable_stats": (c_int, (c_int,)),
    "bpf_prog_test_run_opts": (c_int, (c_int, POINTER(TestRunOptions))),
}


class _Log(threading.local):
    """Where this thread's messages go; None drops them."""

    lines: list[str] | None = None


_LOG = _Log()
_LIBC = ctypes.CDLL(None)
_LIBC.vsnprintf.argtypes = (c_char_p, c_size_t, c_void_p, c_void_p)


def _collect(level: int, text: int, arguments: int) -> int:
    """Called by libbpf for each message, in the thread that called libbpf."""
    if level == _WARNING and _LOG.lines is not None:
        room = ctypes.create_string_buffer(_MESSAGE_ROOM)
        _LIBC.vsnprintf(room, _MESSAGE_ROOM, text, arguments)
        _LOG.lines.extend(room.value.decode(errors="replace").splitlines())
    return 0


_print = _PRINT(_collect)
"""Held here: libbpf keeps only its address."""


@cache
def library() -> ctypes.CDLL:
    """The library with its functions declared. Raises `LibraryMissing`."""
    try:
        found = ctypes.CDLL(LIBRARY, use_errno=True)
    except OSError as error:
        raise LibraryMissing(f"{LIBRARY} is not on this machine: install the package {PACKAGE}") from error
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(found, name)
        function.restype = result
        function.argtypes = arguments
    found.libbpf_set_print(_print)
    return found


@contextmanager
def collected_log() -> Iterator[list[str]]:
    """The lines that libbpf warns with in this thread while the context is open."""
    before = _LOG.lines
    lines: list[str] = []
    _LOG.lines = lines
    try:
        yield lines
    finally:
        _LOG.lines = before


def check(result: int, what: str, log: Sequence[str] = ()) -> int:
    """The result, or a `KernelError` that says `what` could not be done."""
    if result < 0:
        raise KernelError(what, -result, log)
    return result


def information_of(fd: int, kind: str, room: ctypes.Structure) -> None:
    """Have the kernel fill `room`, the start of struct bpf_{map,prog,link}_info, for a descriptor of that kind.

    The call itself answers for any kind of descriptor, so the kind is asked from /proc, as bpftool does.
    """
    try:
        named = os.readlink(f"/proc/self/fd/{fd}").replace("_", "-")
    except OSError as error:
        raise KernelError(f"file descriptor {fd} is no BPF {kind}", error.errno or 0) from error
    if f"bpf-{kind}" not in named:
        raise KernelError(f"file descriptor {fd} is no BPF {kind} but {named}")
    length = c_uint32(ctypes.sizeof(room))
    result = library().bpf_obj_get_info_by_fd(fd, ctypes.byref(room), length)
    check(result, f"BPF {kind} {fd} cannot be asked")


def pointer_or_error(result: int | None, what: str, log: Sequence[str] = ()) -> int:
    """The pointer, or a `KernelError` from errno when it is NULL."""
    if not result:
        raise KernelError(what, ctypes.get_errno(), log)
    return result


def _describe(number: int) -> str:
    if number < _OWN_ERRORS:
        return os.strerror(number)
    room = ctypes.create_string_buffer(128)
    library().libbpf_strerror(number, room, len(room))
    return room.value.decode(errors="replace")
