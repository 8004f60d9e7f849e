"""A compiled object loaded into the kernel: its maps and programs, held by file descriptors of our own.

libbpf relocates and loads; then its state is freed at once and only descriptors stay, so an object costs what the
kernel holds and nothing else, and goes when they are closed or the process ends.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from ctypes import c_char, c_size_t, c_uint32
from types import MappingProxyType, TracebackType
from typing import NamedTuple

from softswitch.engine.xdp.kernel.map import Map
from softswitch.engine.xdp.libbpf import (
    KernelError,
    ObjectOpenOptions,
    check,
    collected_log,
    library,
    pointer_or_error,
)

__all__ = ["Object"]

_LOG_ROOM = 16 << 20
"""Bytes for the verifier's log: what libbpf itself takes (BPF_LOG_BUF_SIZE). Untouched pages of it cost nothing."""
_LOG_READ = 1 << 16
_LOG_LINES = 15
"""Kept in an error, of libbpf's messages and of the verifier's each."""
_BTF_KIND_DATASEC = 15
_DEVMAPS = frozenset({14, 25})
"""BPF_MAP_TYPE_DEVMAP and its hashed variant (linux/bpf.h)."""
_F_RDONLY_PROG = 1 << 7
_RODATA = ".rodata"


class _Type(ctypes.Structure):
    """struct btf_type (linux/btf.h)."""

    _fields_ = (("name_off", c_uint32), ("info", c_uint32), ("size", c_uint32))


class _Variable(ctypes.Structure):
    """struct btf_var_secinfo (linux/btf.h)."""

    _fields_ = (("type", c_uint32), ("offset", c_uint32), ("size", c_uint32))


class _Changes(NamedTuple):
    """What is changed between opening and loading an object."""

    max_entries: Mapping[str, int]
    rodata: Mapping[str, bytes]
    reuse: Mapping[str, int]


class Object:
    """Maps and programs of one ELF file in the kernel, until `close`, the end of a `with`, or garbage collection."""

    maps: Mapping[str, Map]
    """By name in the source; the compiler's own by section: `.bss`, `.data`, `.rodata`."""
    programs: Mapping[str, int]
    """File descriptors by function name; they belong to the object."""

    def __init__(self, maps: Mapping[str, Map], programs: Mapping[str, int]) -> None:
        """Takes over the descriptors; `load` makes one from an ELF file."""
        self.maps = MappingProxyType(dict(maps))
        self.programs = MappingProxyType(dict(programs))
        self._finalizer = weakref.finalize(self, _close_descriptors, tuple(programs.values()))

    @classmethod
    def load(
        cls,
        elf: bytes,
        *,
        name: str,
        max_entries: Mapping[str, int] = {},
        rodata: Mapping[str, bytes] = {},
        reuse: Mapping[str, int] = {},
    ) -> Object:
        """Load every map and program of `elf`.

        `max_entries` sizes maps by name. `rodata` gives `const volatile` globals their values, in the machine's byte
        order and of their exact size. `reuse` names maps that exist already, by file descriptor, which stays the
        caller's; kind, sizes and flags must be those that the object declares (after `max_entries`).

        Raises `KernelError` with the last lines of libbpf's log, or of the verifier's if it refused a program.
        """
        bpf = library()
        room = (c_char * _LOG_ROOM).from_buffer(mmap.mmap(-1, _LOG_ROOM))
        options = ObjectOpenOptions(
            sz=ctypes.sizeof(ObjectOpenOptions),
            object_name=name.encode(),
            kernel_log_buf=ctypes.addressof(room),
            kernel_log_size=_LOG_ROOM,
        )
        with collected_log() as log:
            opened = bpf.bpf_object__open_mem(elf, len(elf), options)
            handle = pointer_or_error(opened, f"object {name!r} cannot be opened", log)
            try:
                _prepare(handle, name, _Changes(max_entries, rodata, reuse))
                result = bpf.bpf_object__load(handle)
                if result < 0:
                    raise KernelError(f"object {name!r} cannot be loaded", -result, _last_lines(log, room.value))
                return cls._adopt(handle)
            finally:
                bpf.bpf_object__close(handle)

    @classmethod
    def _adopt(cls, handle: int) -> Object:
        """An object over duplicates of libbpf's descriptors."""
        bpf = library()
        with ExitStack() as undo:
            maps: dict[str, Map] = {}
            programs: dict[str, int] = {}
            for each in _each(handle, bpf.bpf_object__next_map):
                maps[_map_name(each)] = made = Map(_duplicate(bpf.bpf_map__fd(each)))
                undo.callback(made.close)
            for each in _each(handle, bpf.bpf_object__next_program):
                programs[bpf.bpf_program__name(each).decode()] = fd = _duplicate(bpf.bpf_program__fd(each))
                undo.callback(os.close, fd)
            loaded = cls(maps, programs)
            undo.pop_all()
        return loaded

    def close(self) -> None:
        """Let go of the maps and programs; what is attached or pinned stays in the kernel."""
        for each in self.maps.values():
            each.close()
        self._finalizer()

    def __enter__(self) -> Object:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _close_descriptors(descriptors: tuple[int, ...]) -> None:
    for fd in descriptors:
        os.close(fd)


def _duplicate(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0)


def _each(handle: int, following: Callable[[int, int | None], int | None]) -> Iterator[int]:
    """Maps or programs of an open object."""
    at = following(handle, None)
    while at:
        yield at
        at = following(handle, at)


def _map_name(each: int) -> str:
    """The name in the source; libbpf puts the object's name before the sections of globals."""
    bpf = library()
    name = str(bpf.bpf_map__name(each).decode())
    return name[name.index(".") :] if bpf.bpf_map__is_internal(each) and "." in name else name


def _prepare(handle: int, name: str, changes: _Changes) -> None:
    bpf = library()
    maps = {_map_name(each): each for each in _each(handle, bpf.bpf_object__next_map)}
    for kind in (changes.max_entries, changes.reuse):
        if unknown := sorted(set(kind) - set(maps)):
            raise KernelError(f"object {name!r} has no map {unknown[0]!r}")
    for each, entries in changes.max_entries.items():
        check(bpf.bpf_map__set_max_entries(maps[each], entries), f"map {each!r} cannot have {entries} entries")
    for each, fd in changes.reuse.items():
        _reuse(each, maps[each], fd)
    if changes.rodata:
        _write_rodata(handle, maps.get(_RODATA), name, changes.rodata)


def _reuse(name: str, handle: int, fd: int) -> None:
    """libbpf takes over whatever it is given; a map of another shape would be misread."""
    bpf = library()
    declared = {
        "kind": bpf.bpf_map__type(handle),
        "key size": bpf.bpf_map__key_size(handle),
        "value size": bpf.bpf_map__value_size(handle),
        "number of entries": bpf.bpf_map__max_entries(handle),
        "flags": bpf.bpf_map__map_flags(handle),
    }
    with Map(_duplicate(fd)) as there:
        # the kernel adds this flag to every devmap by itself (kernel/bpf/devmap.c)
        flags = there.flags & ~_F_RDONLY_PROG if there.kind in _DEVMAPS else there.flags
        has = dict(zip(declared, (there.kind, there.key_size, there.value_size, there.max_entries, flags), strict=True))
    for what, wanted in declared.items():
        if has[what] != wanted:
            raise KernelError(f"map {name!r} cannot be used again: its {what} is {has[what]}, needed is {wanted}")
    check(bpf.bpf_map__reuse_fd(handle, fd), f"map {name!r} cannot be used again")


def _write_rodata(handle: int, section: int | None, name: str, values: Mapping[str, bytes]) -> None:
    bpf = library()
    variables = _variables(handle, _RODATA)
    size = c_size_t()
    start = bpf.bpf_map__initial_value(section, size) if section else None
    for each, value in values.items():
        if each not in variables or start is None:
            raise KernelError(f"object {name!r} has no constant {each!r} (const volatile, used by a program)")
        offset, room = variables[each]
        if len(value) != room or offset + room > size.value:
            raise KernelError(f"constant {each!r} of object {name!r} has {room} bytes, not {len(value)}")
        ctypes.memmove(start + offset, value, room)


def _variables(handle: int, section: str) -> dict[str, tuple[int, int]]:
    """Offset and size of each variable of a data section, from the object's type information (BTF)."""
    bpf = library()
    btf = bpf.bpf_object__btf(handle)
    found = bpf.btf__find_by_name_kind(btf, section.encode(), _BTF_KIND_DATASEC) if btf else -1
    if found < 0:
        return {}
    start = bpf.btf__type_by_id(btf, found)
    count = _Type.from_address(start).info & 0xFFFF
    variables = (_Variable * count).from_address(start + ctypes.sizeof(_Type))
    return {
        bpf.btf__name_by_offset(btf, _Type.from_address(bpf.btf__type_by_id(btf, each.type)).name_off).decode(): (
            each.offset,
            each.size,
        )
        for each in variables
    }


def _last_lines(log: list[str], verifier: bytes) -> list[str]:
    """libbpf's last words and the end of the verifier's log without its statistics."""
    lines = verifier[-_LOG_READ:].decode(errors="replace").splitlines()
    said = [line for line in lines if line and not line.startswith("processed ")]
    return [*log[-_LOG_LINES:], *said[-_LOG_LINES:]]
