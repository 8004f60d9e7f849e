"""Arranging slots: shares to whole numbers, numbers to an even mixture, a mixture to another with few changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction

__all__ = ["MAX_SLOTS", "apportion", "rearrange", "spread"]

MAX_SLOTS = 1024
"""The longest schedule of a VIP."""


def apportion(shares: Mapping[str, float], slots: int, at_least: int = 0) -> dict[str, int]:
    """Divide slots in proportion to shares (largest remainders), with at least so many for each; sums up to `slots`.

    Shares are finite and not negative; all zero means equal ones. Raises ValueError if `at_least` asks for too much.
    """
    free = slots - at_least * len(shares)
    if free < 0:
        raise ValueError(f"{len(shares)} members cannot have {at_least} of {slots} slots each")
    total = sum(shares.values())
    parts = {name: free * (share / total if total else 1 / len(shares)) for name, share in shares.items()}
    counts = {name: int(part) for name, part in parts.items()}
    by_remainder = sorted(parts, key=lambda name: (counts[name] - parts[name], name))
    for name in by_remainder[: free - sum(counts.values())]:
        counts[name] += 1
    return {name: count + at_least for name, count in counts.items()}


def spread(counts: Mapping[str, int]) -> list[str]:
    """Mix members as evenly as their counts allow: the j-th of n slots of each aims at (2j + 1) / 2n of the whole.

    Any stretch then holds each member about as often as its share says, which is what smooth weighted round robin
    is for. Members with equal counts take turns.
    """
    aims = [(Fraction(2 * turn + 1, 2 * count), name) for name, count in counts.items() for turn in range(count)]
    return [name for _, name in sorted(aims)]


def rearrange(previous: Sequence[str], counts: Mapping[str, int]) -> tuple[str, ...]:
    """Return slots with these counts that differ from the previous ones in as few places as possible.

    Who has too many gives some up evenly, and who has too few gets those, mixed.
    """
    size = sum(counts.values())
    window = previous[:size]
    held = Counter(window)
    seen: Counter[str] = Counter()
    slots: list[str | None] = [None] * size
    for place, name in enumerate(window):
        keep, turn = min(counts.get(name, 0), held[name]), seen[name]
        seen[name] += 1
        if (turn + 1) * keep // held[name] > turn * keep // held[name]:
            slots[place] = name
    kept = Counter(name for name in slots if name is not None)
    fill = iter(spread({name: count - kept[name] for name, count in counts.items() if count > kept[name]}))
    return tuple(next(fill) if name is None else name for name in slots)
