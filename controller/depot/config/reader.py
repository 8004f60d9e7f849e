"""Reads one TOML table key by key, notes what is wrong and goes on, so that a user sees every mistake at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from depot.config.problems import KeyPath, ProblemList
from depot.config.values import Refused, suggestion

__all__ = ["TableReader"]

T = TypeVar("T")


class TableReader:
    """One table. Ask for every key it may have, then call `finish`."""

    def __init__(self, table: dict[str, object], path: KeyPath, problems: ProblemList) -> None:
        self.path = path
        """Where the table is."""
        self.problems = problems
        """Where mistakes are noted."""
        self.usable = True
        """Whether everything that others depend on could be read."""
        self._table = table
        self._asked: list[str] = []
        self._wrong: set[str] = set()

    def has(self, key: str) -> bool:
        """Say whether a key is written, right or wrong."""
        return key in self._table

    def is_wrong(self, key: str) -> bool:
        """Say whether a key was read and its value would not do, so that nothing should be concluded from it."""
        return key in self._wrong

    def has_wrong(self) -> bool:
        """Say whether any value read so far would not do."""
        return bool(self._wrong)

    def optional(self, key: str, convert: Callable[[object], T], default: T) -> T:
        """Return the converted value; the default if the key is missing, or wrong, which is noted."""
        return self._convert(key, convert, default)[0]

    def vital(self, key: str, convert: Callable[[object], T], default: T) -> T:
        """Like `optional`, but a wrong value makes the table unusable: checks against others would mislead."""
        value, right = self._convert(key, convert, default)
        self.usable = self.usable and right
        return value

    def _convert(self, key: str, convert: Callable[[object], T], default: T) -> tuple[T, bool]:
        self._asked.append(key)
        if key not in self._table:
            return default, True
        try:
            return convert(self._table[key]), True
        except Refused as refused:
            self.problems.add((*self.path, key, *refused.inside), refused.message)
            self._wrong.add(key)
            return default, False

    def required(self, key: str, convert: Callable[[object], T], stand_in: T) -> T:
        """Return the converted value; if missing or wrong, note it, mark the table unusable, return the stand-in."""
        if key not in self._table:
            self._asked.append(key)
            self.usable = False
            self.problems.add(self.path, f'"{key}" is missing')
            return stand_in
        return self.vital(key, convert, stand_in)

    def table(self, key: str) -> TableReader | None:
        """Return the reader of a table inside, None if it is missing or no table, which is noted."""
        self._asked.append(key)
        value = self._table.get(key)
        if isinstance(value, dict):
            return TableReader(value, (*self.path, key), self.problems)
        if key in self._table:
            self.problems.add((*self.path, key), f"must be a table, written [{self._header(key)}]")
        return None

    def tables(self, key: str) -> list[TableReader]:
        """Return the readers of an array of tables, empty if it is missing or no such array, which is noted."""
        self._asked.append(key)
        value = self._table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(element, dict) for element in value):
            self.problems.add((*self.path, key), f"must be tables, each written [[{self._header(key)}]]")
            return []
        return [TableReader(element, (*self.path, key, i), self.problems) for i, element in enumerate(value)]

    def finish(self) -> None:
        """Note every key that nobody asked for."""
        for key in self._table:
            if key not in self._asked:
                known = suggestion(key, self._asked)
                self.problems.add((*self.path, key), f"unknown key{known}")

    def _header(self, key: str) -> str:
        return ".".join([*(part for part in self.path if isinstance(part, str)), key])
