"""Who owns which bucket as far as one gateway knows, and how buckets are shared out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

__all__ = ["Claim", "ClaimMap", "fill", "spread"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A bucket is somebody's."""

    version: int
    """The higher wins, >= 1."""
    owner: str
    """A gateway's name; of equal versions the lower name wins."""

    def outranks(self, other: Claim | None) -> bool:
        """Say whether this one wins against another."""
        if other is None or self.version != other.version:
            return other is None or self.version > other.version
        return self.owner < other.owner


class ClaimMap:
    """The highest claim heard for each bucket. Maps that have heard the same claims, in any order, are equal."""

    def __init__(self, count: int) -> None:
        self._claims: list[Claim | None] = [None] * count

    def __len__(self) -> int:
        return len(self._claims)

    def __getitem__(self, bucket: int) -> Claim | None:
        return self._claims[bucket]

    def __iter__(self) -> Iterator[Claim | None]:
        return iter(self._claims)

    def items(self) -> Iterator[tuple[int, Claim]]:
        """Yield each bucket that somebody has claimed, with the claim."""
        return ((bucket, claim) for bucket, claim in enumerate(self._claims) if claim is not None)

    def merge(self, bucket: int, claim: Claim) -> bool:
        """Note a claim; return whether it is news."""
        if not claim.outranks(self._claims[bucket]):
            return False
        self._claims[bucket] = claim
        return True

    def version(self, bucket: int) -> int:
        """Return the version of a bucket's claim, 0: none."""
        claim = self._claims[bucket]
        return 0 if claim is None else claim.version

    def owner(self, bucket: int) -> str | None:
        """Return who has claimed a bucket; None: nobody."""
        claim = self._claims[bucket]
        return None if claim is None else claim.owner

    def owned_by(self, name: str) -> list[int]:
        """Return the buckets that a gateway has claimed, in order."""
        return [bucket for bucket, claim in enumerate(self._claims) if claim is not None and claim.owner == name]


def spread(buckets: Iterable[int], counts: Mapping[str, int]) -> dict[int, str]:
    """Give each bucket to the gateway with the fewest; of several, the lowest name.

    `counts`: what each gateway has already, not empty.
    """
    having = dict(counts)
    given = {}
    for bucket in buckets:
        name = min(having, key=lambda name: (having[name], name))
        having[name] += 1
        given[bucket] = name
    return given


def fill(owned: Mapping[str, Iterable[int]], newcomers: Iterable[str]) -> dict[int, str]:
    """Return which buckets go to which newcomers, each from who has the most, until newcomers have their share.

    Nobody else's buckets move. Shares that differed by one at most do so still, with the fewest moves that do it.
    """
    having = {name: sorted(buckets) for name, buckets in owned.items()}
    new = sorted(newcomers)
    moved: dict[int, str] = {}
    while new:
        least = min(new, key=lambda name: len(having[name]))
        most = max(sorted(having), key=lambda name: len(having[name]))
        if len(having[most]) - len(having[least]) < 2:
            break
        bucket = having[most].pop()
        having[least].insert(0, bucket)
        moved[bucket] = least
    return moved
