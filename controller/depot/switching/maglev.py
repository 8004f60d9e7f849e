"""Consistent schedules: a member's slots depend on its name, so other depots arrive at the same ones, and when
members come or go the others keep nearly all of theirs.

After Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4: each member
prefers the slots in an order of its own, a permutation made from two hashes of its name, and they take turns in
claiming the next free one. Weights: a member takes its turn as often as its weight is of the greatest.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

__all__ = ["MAGLEV_SLOTS", "maglev_schedule"]

MAGLEV_SLOTS = 1021
"""The greatest prime that fits into a schedule; prime, so that every step walks over all slots."""


def maglev_schedule(weights: Mapping[str, int]) -> tuple[str, ...]:
    """Return MAGLEV_SLOTS slots for members by name and weight (above 0).

    Raises ValueError if there are more members than slots. Empty for no members.
    """
    if len(weights) > MAGLEV_SLOTS:
        raise ValueError(f"{len(weights)} members do not fit into {MAGLEV_SLOTS} slots")
    if not weights:
        return ()
    greatest = max(weights.values())
    slots: list[str | None] = [None] * MAGLEV_SLOTS
    places = {name: _start_and_step(name) for name in sorted(weights)}
    turns = {name: greatest - weights[name] for name in places}  # so that each has a turn in the first round
    free = MAGLEV_SLOTS
    while True:
        for name, (place, step) in places.items():
            turns[name] += weights[name]
            if turns[name] < greatest:
                continue
            turns[name] -= greatest
            while slots[place] is not None:
                place = (place + step) % MAGLEV_SLOTS
            slots[place] = name
            places[name] = (place, step)
            free -= 1
            if not free:
                return tuple(name for name in slots if name is not None)


def _start_and_step(name: str) -> tuple[int, int]:
    digest = blake2b(name.encode(), digest_size=16).digest()
    start = int.from_bytes(digest[:8], "big") % MAGLEV_SLOTS
    step = int.from_bytes(digest[8:], "big") % (MAGLEV_SLOTS - 1) + 1
    return start, step
