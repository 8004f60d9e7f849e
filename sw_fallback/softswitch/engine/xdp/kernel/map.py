"""A BPF map by file descriptor: single entries, batches, iteration, and an array's memory shared with the kernel."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import weakref
from collections.abc import Iterator
from contextlib import suppress
from ctypes import c_uint32
from functools import cache
from types import TracebackType
from typing import TypeAlias

from softswitch.engine.xdp.libbpf import KernelError, MapBatchOptions, MapCreateOptions, check, information_of, library

__all__ = ["BPF_ANY", "BPF_EXIST", "BPF_NOEXIST", "Map", "possible_cpus"]

Octets: TypeAlias = "bytes | bytearray | memoryview"

BPF_ANY = 0
BPF_NOEXIST = 1
BPF_EXIST = 2

_PER_CPU = {5, 6, 10, 21}
"""BPF_MAP_TYPE_PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH, PERCPU_CGROUP_STORAGE (linux/bpf.h)."""
_ARRAY = 2
"""BPF_MAP_TYPE_ARRAY."""
_F_MMAPABLE = 1 << 10
_ENOTSUPP = 524
"""The kernel's word for a kind of map without batches, such as a devmap (include/linux/errno.h)."""
_NAME = 15
"""Characters of a map's name that the kernel keeps."""
_BATCH = 4096
"""Entries asked for at once by `items`."""


class _Information(ctypes.Structure):
    """struct bpf_map_info (linux/bpf.h), its first fields: the kernel fills as much as there is room for."""

    _fields_ = (
        ("kind", c_uint32),
        ("id", c_uint32),
        ("key_size", c_uint32),
        ("value_size", c_uint32),
        ("max_entries", c_uint32),
        ("flags", c_uint32),
        ("name", ctypes.c_char * 16),
    )


@cache
def possible_cpus() -> int:
    """CPUs that a per-CPU map has room for, online or not."""
    return check(library().libbpf_num_possible_cpus(), "the number of CPUs cannot be read")


class Map:
    """A map, until `close`, the end of a `with`, or garbage collection. It owns its file descriptor."""

    fd: int
    kind: int
    """BPF_MAP_TYPE_… (linux/bpf.h)."""
    id: int
    """The kernel's number of this map."""
    name: str
    """At most 15 characters: the kernel keeps no more."""
    key_size: int
    """Bytes."""
    value_size: int
    """Bytes, as declared: what one CPU has of a per-CPU map."""
    value_length: int
    """Bytes of a value in `update`, `lookup` and `items`: a per-CPU map has `possible_cpus()` values of `stride`."""
    stride: int
    """Bytes from one value to the next in `memory()` and in a per-CPU value: the size rounded up to 8."""
    max_entries: int
    flags: int
    """BPF_F_…, as it was made."""

    def __init__(self, fd: int) -> None:
        """Takes over `fd`, also when it raises `KernelError` because this is no map."""
        self.fd = fd
        self._finalizer = weakref.finalize(self, os.close, fd)
        self._mapping: mmap.mmap | None = None
        self._memory: memoryview | None = None
        information = _Information()
        try:
            information_of(fd, "map", information)
        except KernelError:
            self._finalizer()
            raise
        self.kind = information.kind
        self.id = information.id
        self.name = information.name.decode()
        self.key_size = information.key_size
        self.value_size = information.value_size
        self.max_entries = information.max_entries
        self.flags = information.flags
        self.stride = (self.value_size + 7) & ~7
        self.value_length = self.stride * possible_cpus() if self.kind in _PER_CPU else self.value_size

    @classmethod
    def array(cls, name: str, value_size: int, entries: int) -> Map:
        """A new array in shared memory, which no program knows of yet. Raises `KernelError`."""
        options = MapCreateOptions(sz=ctypes.sizeof(MapCreateOptions), map_flags=_F_MMAPABLE)
        fd = library().bpf_map_create(_ARRAY, name[:_NAME].encode(), 4, value_size, entries, options)
        return cls(check(fd, f"an array map {name!r} of {entries} times {value_size} bytes cannot be made"))

    def __repr__(self) -> str:
        return f"Map({self.name!r}, {self.key_size} to {self.value_size} bytes, {self.max_entries} entries)"

    def close(self) -> None:
        """Give up the descriptor and the memory. The kernel keeps a map that is used, pinned or open elsewhere."""
        if self._memory is not None:
            self._memory.release()
            self._memory = None
        if self._mapping is not None:
            with suppress(BufferError):  # somebody still looks at it; it goes with the last view
                self._mapping.close()
            self._mapping = None
        self._finalizer()

    def __enter__(self) -> Map:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def memory(self) -> memoryview:
        """The values of a BPF_F_MMAPABLE array, one each `stride` bytes: writable, shared with every program.

        The same view each time; `close` ends it. Raises `KernelError` for another kind of map.
        """
        if self._memory is None:
            if not self.flags & _F_MMAPABLE:
                raise KernelError(f"map {self.name!r} has no shared memory: it is not an array with BPF_F_MMAPABLE")
            used = self.stride * self.max_entries
            length = -(-used // mmap.PAGESIZE) * mmap.PAGESIZE
            try:
                self._mapping = mmap.mmap(self.fd, length, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            except OSError as error:
                text = f"the memory of map {self.name!r} cannot be shared"
                raise KernelError(text, error.errno or 0) from error
            self._memory = memoryview(self._mapping)[:used]
        return self._memory

    def lookup(self, key: bytes) -> bytes | None:
        """The value, `value_length` bytes; None if there is no such entry."""
        self._measure(key, self.key_size, "key")
        value = ctypes.create_string_buffer(self.value_length)
        result = library().bpf_map_lookup_elem(self.fd, key, value)
        if result == -errno.ENOENT:
            return None
        check(result, f"map {self.name!r} cannot be read")
        return value.raw

    def update(self, key: bytes, value: bytes, flags: int = BPF_ANY) -> None:
        """Write one entry. `KernelError.errno` says EEXIST or ENOENT for the flags' sake, E2BIG when it is full."""
        self._measure(key, self.key_size, "key")
        self._measure(value, self.value_length, "value")
        check(library().bpf_map_update_elem(self.fd, key, value, flags), f"map {self.name!r} cannot be written")

    def delete(self, key: bytes) -> bool:
        """Whether there was such an entry."""
        self._measure(key, self.key_size, "key")
        result = library().bpf_map_delete_elem(self.fd, key)
        if result == -errno.ENOENT:
            return False
        check(result, f"an entry of map {self.name!r} cannot be deleted")
        return True

    def update_batch(self, keys: Octets, values: Octets, flags: int = BPF_ANY) -> None:
        """Write entries that lie one after another in `keys` and `values`, in that order, with one system call.

        The kernel stops at the first one that it refuses: those before it are written, the error says how many.
        """
        count = self._count(keys, self.key_size, "keys")
        if count != self._count(values, self.value_length, "values"):
            raise ValueError(f"map {self.name!r}: as many values as keys are needed")
        if not count:
            return
        done = c_uint32(count)
        options = MapBatchOptions(sz=ctypes.sizeof(MapBatchOptions), elem_flags=flags)
        result = library().bpf_map_update_batch(self.fd, bytes(keys), bytes(values), done, options)
        if result == -_ENOTSUPP:
            pairs = zip(_pieces(keys, self.key_size, count), _pieces(values, self.value_length, count), strict=True)
            for key, value in pairs:
                self.update(key, value, flags)
            return
        check(result, f"map {self.name!r} cannot be written after {done.value} of {count} entries")

    def delete_batch(self, keys: Octets) -> None:
        """Delete entries whose keys lie one after another. Raises `KernelError` (ENOENT) at the first missing one."""
        count = self._count(keys, self.key_size, "keys")
        if not count:
            return
        done = c_uint32(count)
        options = MapBatchOptions(sz=ctypes.sizeof(MapBatchOptions))
        result = library().bpf_map_delete_batch(self.fd, bytes(keys), done, options)
        if result == -_ENOTSUPP:
            for key in _pieces(keys, self.key_size, count):
                if not self.delete(key):
                    raise KernelError(f"map {self.name!r} has no entry {key.hex()}", errno.ENOENT)
            return
        check(result, f"entries of map {self.name!r} cannot be deleted after {done.value} of {count}")

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every entry, in no order; what changes meanwhile may be seen, missed, or in a hash seen twice."""
        room = min(_BATCH, self.max_entries)
        # where to go on from: a key, or the number of a hash's bucket
        place = ctypes.create_string_buffer(max(self.key_size, 8))
        start = None
        while True:
            keys = ctypes.create_string_buffer(room * self.key_size)
            values = ctypes.create_string_buffer(room * self.value_length)
            count = c_uint32(room)
            result = library().bpf_map_lookup_batch(self.fd, start, place, keys, values, count, None)
            if result == -errno.ENOSPC and room <= self.max_entries:
                room *= 2  # a bucket of the hash holds more than there is room for
                continue
            if result == -_ENOTSUPP:
                yield from self._items_singly()
                return
            if result != -errno.ENOENT:
                check(result, f"map {self.name!r} cannot be read")
            yield from zip(
                _pieces(keys.raw, self.key_size, count.value),
                _pieces(values.raw, self.value_length, count.value),
                strict=True,
            )
            if result:
                return
            start = place

    def _items_singly(self) -> Iterator[tuple[bytes, bytes]]:
        following = ctypes.create_string_buffer(self.key_size)
        key: bytes | None = None
        while (result := library().bpf_map_get_next_key(self.fd, key, following)) != -errno.ENOENT:
            check(result, f"map {self.name!r} cannot be read")
            key = following.raw
            if (value := self.lookup(key)) is not None:
                yield key, value

    def _measure(self, given: bytes, size: int, what: str) -> None:
        """The kernel reads as much as the map says, whatever was given."""
        if len(given) != size:
            raise ValueError(f"map {self.name!r}: a {what} has {size} bytes, not {len(given)}")

    def _count(self, given: Octets, size: int, what: str) -> int:
        length = memoryview(given).nbytes
        if length % size:
            raise ValueError(f"map {self.name!r}: {what} of {size} bytes each cannot take {length} bytes")
        return length // size


def _pieces(octets: Octets, size: int, count: int) -> Iterator[bytes]:
    return (bytes(octets[start : start + size]) for start in range(0, count * size, size))
