"""What a process leaves to the next one: the memory of its program, and what lies where in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from softswitch.engine.xdp.description import FORMAT, Description, is_durable
from softswitch.engine.xdp.kernel import Map
from softswitch.engine.xdp.memory import Inheritance

__all__ = ["Legacy", "digest_of"]


def digest_of(source: str) -> str:
    """Names a generated source."""
    return hashlib.sha256(source.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Legacy:
    """All of it, from one process or for the next."""

    maps: Mapping[str, Map]
    """By name in the source."""
    ledgers: Mapping[str, Map]
    """By the stem of a table or counter."""
    description: Description
    """As `describe` has it, with
    source     `digest_of` the generated source
    hash_keys  in hexadecimal
    started    what the program's timestamps count from, nanoseconds of the monotonic clock"""

    @property
    def is_readable(self) -> bool:
        """Whether this version of the software understands the description."""
        return self.description.get("format") == FORMAT

    @property
    def started(self) -> int:
        """What the program's timestamps count from."""
        return int(self.description["started"])

    def shared_with(self, other: Description) -> Inheritance:
        """What a program with this description has in common with the one that left this."""
        return Inheritance(
            self.maps,
            self.ledgers,
            tables={name: table for name, table in self._equal("tables", other).items() if is_durable(table)},
            counters=self._equal("counters", other).keys(),
            meters=self._equal("meters", other).keys(),
            registers=self._equal("registers", other).keys(),
            hash_keys=bytes.fromhex(self.description["hash_keys"]),
        )

    def other_maps(self, other: Description) -> dict[str, int]:
        """File descriptors of further maps that such a program can go on with, by name."""
        found = {}
        if self.description["source"] == other["source"]:
            found["events"] = self.maps["events"].fd
        if all(self.description[key] == other[key] for key in ("statistics", "cells")):
            found["statistics"] = self.maps["statistics"].fd
        return found

    def _equal(self, kind: str, other: Description) -> Mapping[str, Any]:
        if not self.is_readable or self.description["cells"] != other["cells"]:
            return {}
        theirs = other[kind]
        return {name: each for name, each in self.description[kind].items() if theirs.get(name) == each}

    def close(self) -> None:
        """Let go of the memory."""
        for each in (*self.maps.values(), *self.ledgers.values()):
            each.close()
