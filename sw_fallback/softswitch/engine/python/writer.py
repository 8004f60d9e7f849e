"""Python source that is being written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from softswitch.errors import SourceLocation

__all__ = ["Writer"]

_INDENT = "    "


class Writer:
    """Lines with their indentation. Also knows which headers are surely changed at the present line."""

    def __init__(self, depth: int = 0) -> None:
        self._lines: list[str] = []
        self._depth = depth
        self.changed: frozenset[str] = frozenset()
        """Headers whose bytes in the packet are stale whichever way this line was reached."""

    def line(self, text: str, location: SourceLocation | None = None) -> None:
        """One line; the place in the P4 source goes into a comment."""
        comment = f"  # {location}" if location is not None and location.filename else ""
        self._lines.append(f"{_INDENT * self._depth}{text}{comment}" if text else "")

    def comment(self, text: str, location: SourceLocation | None = None) -> None:
        """A comment line; newlines in P4 names or fragments become spaces."""
        place = f", {location}" if location is not None and location.filename else ""
        self.line("# " + " ".join((text + place).split()))

    @contextmanager
    def block(self, head: str, location: SourceLocation | None = None, *, optional: bool = False) -> Iterator[None]:
        """A compound statement; when nothing is written inside, `pass`, or nothing at all if it is `optional`."""
        self.line(head + ":", location)
        changed, start = self.changed, len(self._lines)
        self._depth += 1
        yield
        empty = all(line.lstrip().startswith("#") for line in self._lines[start:])
        if empty and optional:
            del self._lines[start - 1 :]
        elif empty:
            self.line("pass")
        self._depth -= 1
        self.changed &= changed  # what was changed before, unless the block made it fresh again

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"
