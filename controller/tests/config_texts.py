"""Configuration files for tests: a good one changed here and there, and what is wrong with a bad one."""

from __future__ import annotations

import pytest

from depot.config import ConfigError, parse

__all__ = ["changed", "problems"]


def changed(text: str, *changes: tuple[str, str]) -> str:
    """The text with parts replaced, each found exactly once."""
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def problems(text: str) -> list[tuple[int, str, str]]:
    """What is wrong with a file: line, key and message of each problem."""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return [(problem.line, problem.key, problem.message) for problem in caught.value.problems]
