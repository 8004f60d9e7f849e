"""Everything that is wrong with a config, each thing with its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["ConfigError", "KeyPath", "Problem", "ProblemList", "format_path"]

KeyPath = tuple[str | int, ...]
"""Keys and array indices from the top: ``("vip", 0, "member", 1, "address")``."""


def format_path(path: KeyPath) -> str:
    """Return ``vip[0].member[1].address``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake."""

    line: int
    """Line in the file, from 1; 0: the file as a whole."""
    key: str
    """Key path as `format_path` writes it; empty: the file as a whole."""
    message: str
    """What is wrong and what to do."""

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.key}: {self.message}" if self.key else f"{where}{self.message}"


class ConfigError(Exception):
    """A config that must not be applied; holds every problem found, in the file's order."""

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        self.source = source
        """The file's name."""
        self.problems = problems
        """At least one."""
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))


class ProblemList:
    """Collects problems while a config is read; finds the line of each key path."""

    def __init__(self, lines: Mapping[KeyPath, int]) -> None:
        self._lines = lines
        self._problems: set[Problem] = set()

    def add(self, path: KeyPath, message: str) -> None:
        """Note a problem; its line is that of the path, or of the nearest part of it that is written in the file."""
        self._problems.add(Problem(self.line(path), format_path(path), message))

    def line(self, path: KeyPath) -> int:
        """Return the line of a key path, of its nearest known parent if it is not written, 0 if none is."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._lines:
                return self._lines[path[:length]]
        return 0

    def in_order(self) -> tuple[Problem, ...]:
        """Return what was noted, by line."""
        return tuple(sorted(self._problems))
