"""C source that is being written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from softswitch.errors import SourceLocation

__all__ = ["Writer"]


class Writer:
    """Lines with their indentation, and names for temporary variables."""

    def __init__(self, depth: int = 0) -> None:
        self._lines: list[str] = []
        self._depth = depth
        self._temporaries = 0

    def line(self, text: str, location: SourceLocation | None = None) -> None:
        """One line; the place in the P4 source goes into a comment."""
        comment = f" /* {location} */" if location is not None and location.filename else ""
        self._lines.append(f"{'	' * self._depth}{text}{comment}" if text else "")

    def comment(self, text: str, location: SourceLocation | None = None) -> None:
        """A comment line; what would end the comment, and newlines, become spaces."""
        place = f", {location}" if location is not None and location.filename else ""
        joined = " ".join((text + place).split()).replace("*/", "* /")
        self.line(f"/* {joined} */")

    def label(self, name: str) -> None:
        """A place to `goto`, one step to the left of the code around it. A jump to it just before it is left out."""
        if self._lines and self._lines[-1].strip() == f"goto {name};":
            self._lines.pop()
        self._lines.append(f"{'	' * (self._depth - 1)}{name}:;")

    @contextmanager
    def block(self, head: str, location: SourceLocation | None = None, *, tail: str = "") -> Iterator[None]:
        """A compound statement or a struct: `head {` … `}tail`; an empty head opens a bare scope."""
        self.line(f"{head} {{".lstrip(), location)
        self._depth += 1
        yield
        self._depth -= 1
        self.line("}" + tail)

    def temporary(self, ctype: str, value: str) -> str:
        """Declare a constant variable at the present line; returns its name, unique in this writer."""
        name = f"t{self._temporaries}"
        self._temporaries += 1
        self.line(f"const {ctype} {name} = {value};")
        return name

    def variable(self, ctype: str, value: str = "") -> str:
        """As `temporary`, for a variable that changes; without a value it is only declared."""
        name = f"t{self._temporaries}"
        self._temporaries += 1
        declared = f"{ctype}{name}" if ctype.endswith("*") else f"{ctype} {name}"
        self.line(f"{declared} = {value};" if value else f"{declared};")
        return name

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"
