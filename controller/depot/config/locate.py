"""Which line each key of a TOML document is on.

`tomllib` gives values without places. This scanner walks a document that `tomllib` has already accepted, so it only
has to find where keys, values and array elements start, not whether they are right (TOML 1.0.0).
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

from depot.config.problems import KeyPath

__all__ = ["locate_keys"]

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
_PLAIN = re.compile(r"[^,\]}#\n]*")


def locate_keys(document: str) -> dict[KeyPath, int]:
    """Return the line, from 1, of every table, key and array element of a valid TOML document."""
    return _Scanner(document).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line_starts = [0] + [match.end() for match in re.finditer("\n", text)]
        self._lines: dict[KeyPath, int] = {}
        self._table_counts: dict[KeyPath, int] = {}

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)
        return self._lines

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise ValueError(f"no TOML at offset {self._at}")
        self._at = match.end()
        return match.group()

    def _mark(self, path: KeyPath) -> None:
        self._lines.setdefault(path, bisect_right(self._line_starts, self._at))

    def _header(self) -> KeyPath:
        start = self._at
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        keys = self._dotted_key()
        end = self._at + (2 if is_array else 1)
        path = self._inside_arrays(keys[:-1])
        path = (*path, keys[-1])
        self._at = start
        if is_array:
            self._mark(path)
            index = self._table_counts.get(path, -1) + 1
            self._table_counts[path] = index
            path = (*path, index)
        self._mark(path)
        self._at = end
        return path

    def _inside_arrays(self, keys: tuple[str, ...]) -> KeyPath:
        path: KeyPath = ()
        for key in keys:
            path = (*path, key)
            if path in self._table_counts:
                path = (*path, self._table_counts[path])
        return path

    def _dotted_key(self) -> tuple[str, ...]:
        keys = []
        while True:
            self._skip(_SPACE)
            raw = self._skip(_KEY)
            keys.append(str(tomllib.loads(f"key = {raw}")["key"]) if raw[0] in "\"'" else raw)
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return tuple(keys)
            self._at += 1

    def _pair(self, table: KeyPath) -> None:
        start = self._at
        keys = self._dotted_key()
        end, self._at = self._at, start
        for length in range(1, len(keys) + 1):
            self._mark((*table, *keys[:length]))
        self._at = end + 1
        self._skip(_SPACE)
        self._value((*table, *keys))

    def _value(self, path: KeyPath) -> None:
        opening = self._text[self._at]
        if opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        elif opening in "\"'":
            self._skip(_STRING)
        else:
            self._skip(_PLAIN)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        self._skip(_BLANK)
        while self._text[self._at] != "]":
            self._mark((*path, index))
            self._value((*path, index))
            index += 1
            self._separator()
        self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        self._skip(_BLANK)
        while self._text[self._at] != "}":
            self._pair(path)
            self._separator()
        self._at += 1

    def _separator(self) -> None:
        self._skip(_BLANK)
        if self._text[self._at] == ",":
            self._at += 1
            self._skip(_BLANK)
