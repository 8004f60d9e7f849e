"""Virtual MACs and the bucket of a MAC (seed 004, Algorithm 1)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import Enum

__all__ = ["MAX_BUCKETS", "BucketHash", "VirtualMacs"]

MAX_BUCKETS = 4096
_ALL_BITS = (1 << 48) - 1
_MULTICAST = 1 << 40
_LOCAL = 1 << 41


class BucketHash(Enum):
    """How the bucket of a host's MAC is found."""

    MOD = "mod"
    """The MAC modulo the number of buckets: the seed's."""
    CRC = "crc"
    """CRC-32 of its six bytes, modulo the number of buckets: v1model's crc32 of the 48-bit field."""


@dataclass(frozen=True, slots=True)
class VirtualMacs:
    """All virtual MACs of a site. Raises ValueError if they cannot be such."""

    base: int
    """The MAC of bucket 0, 48 bits: locally administered, unicast, the bits of `mask` clear."""
    count: int = 256
    """How many: a power of two, 1..4096."""
    hash: BucketHash = BucketHash.CRC
    """How hosts are divided."""

    def __str__(self) -> str:
        return f"{self.count} from {_text(self.base)} ({self.hash.value})"

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_BUCKETS or self.count & (self.count - 1):
            raise ValueError(f"{self.count} virtual MACs: the number must be a power of two, {MAX_BUCKETS} at most")
        if not 0 <= self.base <= _ALL_BITS:
            raise ValueError(f"base {self.base:#x} is no MAC of 48 bits")
        if self.base & _MULTICAST or not self.base & _LOCAL:
            raise ValueError(
                f"base {_text(self.base)} must be a locally administered unicast MAC, as 02:00:00:00:00:00"
            )
        if self.base & self.mask:
            raise ValueError(
                f"base {_text(self.base)} is no multiple of the number of virtual MACs, {self.count}; "
                f"{_text(self.base & ~self.mask)} is"
            )

    @property
    def mask(self) -> int:
        """Return the bits in which the virtual MACs differ."""
        return self.count - 1

    @property
    def group_mac(self) -> int:
        """Return the multicast MAC to which the gateways' own frames go."""
        return self.base | _MULTICAST

    def bucket(self, mac: int) -> int:
        """Return the bucket of a host's MAC."""
        if self.hash is BucketHash.MOD:
            return mac & self.mask
        return zlib.crc32(mac.to_bytes(6, "big")) & self.mask

    def mac(self, bucket: int) -> int:
        """Return the virtual MAC of a bucket."""
        return self.base | bucket

    def virtual_mac(self, mac: int) -> int:
        """Return the virtual MAC that a host is told: the seed's h."""
        return self.mac(self.bucket(mac))

    def bucket_of(self, virtual_mac: int) -> int | None:
        """Return the bucket that a virtual MAC stands for; None: it is none of ours."""
        return virtual_mac & self.mask if virtual_mac & ~self.mask == self.base else None


def _text(mac: int) -> str:
    return mac.to_bytes(6, "big").hex(":")
