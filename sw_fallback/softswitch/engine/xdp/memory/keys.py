"""Keys as the words that programs compare, and their hash: the same sums as in `runtime/tables.h`.

A function is written for each table, for a table may take 100 000 entries a second.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable, Sequence
from typing import Any

from softswitch.engine.xdp.layout import KeyLayout
from softswitch.engine.xdp.terms import WORD

__all__ = ["HASH_WORDS", "KeyFunction", "hash_sample", "key_function", "random_hash_keys"]

HASH_WORDS = 16
"""The most words of an exact key, unless the generator says otherwise."""
_FACTOR = 0x9E3779B97F4A7C15
_ALL = (1 << WORD) - 1

KeyFunction = Callable[[Any], tuple[int, tuple[int, ...]]]
"""From a raw key of `ExactIndex` to (hash, words)."""


def random_hash_keys(words: int = HASH_WORDS) -> bytes:
    """New contents of `hash_keys`, for keys of up to so many words."""
    return secrets.token_bytes(8 * (2 * words + 1))


def hash_sample(layout: KeyLayout) -> int:
    """The hash of a certain key by certain hash keys: the same for every version of this software that hashes alike."""
    constants = [_FACTOR * (index + 1) & _ALL for index in range(2 * layout.words + 1)]
    values = tuple(_FACTOR >> index & (1 << part.field.target.width) - 1 for index, part in enumerate(layout.parts))
    raw = values if len(values) > 1 else values[0]
    return key_function(layout, struct.pack(f"={len(constants)}Q", *constants))(raw)[0]


def key_function(layout: KeyLayout, hash_keys: bytes) -> KeyFunction:
    """The function for a table whose keys are laid out so. Raises ValueError if there are too few hash keys."""
    constants = struct.unpack(f"={len(hash_keys) // 8}Q", hash_keys)
    if len(constants) < 2 * layout.words + 1:
        raise ValueError(f"a key of {layout.words} words needs {2 * layout.words + 1} hash keys, not {len(constants)}")
    source = _source(layout, constants)
    found: dict[str, KeyFunction] = {}
    exec(compile(source, "<key>", "exec"), found)
    return found["key"]


def _source(layout: KeyLayout, constants: Sequence[int]) -> str:
    names = [f"f{index}" for index in range(len(layout.parts))]
    terms: list[list[str]] = [[] for _ in range(layout.words)]
    for name, part in zip(names, layout.parts, strict=True):
        if part.words == 1:
            terms[part.word].append(f"{name} << {part.shift}" if part.shift else name)
        else:
            for index in range(part.words):
                terms[part.word + index].append(f"{name} >> {WORD * index} & {_ALL}" if index else f"{name} & {_ALL}")
    words = [f"w{index}" for index in range(layout.words)]
    products = [
        f"({constants[2 * index + 1]} + {word}) * ({constants[2 * index + 2]} + ({word} >> 32))"
        for index, word in enumerate(words)
    ]
    lines = [
        f"{names[0]} = raw" if len(names) == 1 else f"{', '.join(names)} = raw",
        *(f"{word} = {' | '.join(sources)}" for word, sources in zip(words, terms, strict=True)),
        f"h = {' + '.join([str(constants[0]), *products])} & {_ALL}",
        f"h = (h ^ h >> 32) * {_FACTOR} & {_ALL}",
        f"return h ^ h >> 29, ({', '.join(words)},)",
    ]
    return "def key(raw):\n" + "".join(f"    {line}\n" for line in lines)
