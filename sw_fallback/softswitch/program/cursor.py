"""A typed way through decoded JSON that knows its place, so that every complaint names it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from softswitch.errors import NOWHERE, MalformedPipeline, SourceLocation

__all__ = ["MAX_WIDTH", "Cursor"]

MAX_WIDTH = 65536
"""The widest field, constant or lookahead in bits: more than a jumbo frame's header could have."""


class Cursor:
    """One JSON value with its path. Every accessor raises `MalformedPipeline` when the value is of another kind."""

    __slots__ = ("path", "value")

    def __init__(self, value: object, path: str = "device config") -> None:
        self.value = value
        self.path = path

    def wrong(self, what: str) -> MalformedPipeline:
        """The error to raise for this value."""
        return MalformedPipeline(f"{self.path}: {what}")

    def __getitem__(self, key: str) -> Cursor:
        found = self.get(key)
        if found is None:
            raise self.wrong(f"'{key}' is missing")
        return found

    def get(self, key: str) -> Cursor | None:
        """The member of this name; None where it is missing or null."""
        if not isinstance(self.value, Mapping):
            raise self.wrong("is not an object")
        value = self.value.get(key)
        return None if value is None else Cursor(value, f"{self.path}.{key}")

    def items(self, key: str) -> Iterator[Cursor]:
        """The elements of the list of this name; none where it is missing."""
        found = self.get(key)
        return iter(()) if found is None else found.elements()

    def elements(self) -> Iterator[Cursor]:
        """The elements of this list."""
        if not isinstance(self.value, list):
            raise self.wrong("is not a list")
        return (Cursor(value, f"{self.path}[{index}]") for index, value in enumerate(self.value))

    def pair(self) -> tuple[Cursor, Cursor]:
        """The two elements of this list."""
        first, second = self.exactly(2)
        return first, second

    def at_least(self, count: int) -> list[Cursor]:
        """The elements of this list, which has `count` or more."""
        elements = list(self.elements())
        if len(elements) < count:
            raise self.wrong(f"has {len(elements)} elements, not {count} or more")
        return elements

    def exactly(self, count: int) -> list[Cursor]:
        """The elements of this list, which has `count`."""
        elements = list(self.elements())
        if len(elements) != count:
            raise self.wrong(f"has {len(elements)} elements, not {count}")
        return elements

    def members(self) -> Iterator[tuple[str, Cursor]]:
        """The members of this object; a null member's cursor holds None."""
        if not isinstance(self.value, Mapping):
            raise self.wrong("is not an object")
        return ((str(key), Cursor(value, f"{self.path}.{key}")) for key, value in self.value.items())

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.wrong("is not a string")
        return self.value

    def optional_text(self, key: str) -> str | None:
        """The string of this name; None where it is missing or null."""
        found = self.get(key)
        return None if found is None else found.text()

    def number(self) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            raise self.wrong("is not an integer")
        return self.value

    def count(self) -> int:
        """An integer that is not negative."""
        number = self.number()
        if number < 0:
            raise self.wrong("is negative")
        return number

    def flag(self, key: str, default: bool = False) -> bool:
        """The boolean of this name, or the default where it is missing."""
        found = self.get(key)
        if found is None:
            return default
        if not isinstance(found.value, bool):
            raise found.wrong("is not true or false")
        return found.value

    def width(self) -> int:
        """A number of bits that something may have."""
        number = self.count()
        if number > MAX_WIDTH:
            raise self.wrong(f"is more than {MAX_WIDTH} bits")
        return number

    def hexadecimal(self) -> int:
        """A number in a hexadecimal string, perhaps with a minus sign."""
        text = self.text()
        try:
            return int(text, 16)
        except ValueError:
            raise self.wrong(f"{text!r} is not a hexadecimal number") from None

    def location(self) -> SourceLocation:
        """This node's `source_info`."""
        info = self.get("source_info")
        if info is None:
            return NOWHERE
        line, column = info.get("line"), info.get("column")
        return SourceLocation(
            filename=info.optional_text("filename") or "",
            line=line.number() if line else 0,
            column=column.number() if column else 0,
            fragment=info.optional_text("source_fragment") or "",
        )
