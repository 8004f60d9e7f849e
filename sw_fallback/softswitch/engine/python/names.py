"""Python identifiers for what a P4 program names."""

from __future__ import annotations

import keyword
import re

__all__ = ["RUNTIME_NAMES", "Names"]

RUNTIME_NAMES = frozenset(
    [
        "AssertionFailed",
        "action",
        "at",
        "best",
        "bytes",
        "clone",
        "clone_list",
        "clone_session",
        "copies",
        "copy",
        "cut",
        "data",
        "digest",
        "drop",
        "egress",
        "emit_digest",
        "entry",
        "error",
        "exited",
        "find",
        "found",
        "goto",
        "groups",
        "index",
        "ingress",
        "int",
        "joined",
        "kept",
        "kept_list",
        "kind",
        "left",
        "left_bytes",
        "len",
        "length",
        "log_message",
        "look",
        "mask",
        "max",
        "meter",
        "micros",
        "min",
        "now",
        "octets",
        "out",
        "packet",
        "parts",
        "port",
        "random_between",
        "recirculate_list",
        "resubmit_list",
        "rid",
        "row",
        "sessions",
        "size",
        "started",
        "stats",
        "sum_",
        "top",
        "trace",
        "value",
        "word_sum",
        "work",
    ]
)
"""Names that translated code uses itself."""
_NUMBERED = re.compile(r"(key|look|mask|value)\d+")
"""More of them."""


class Names:
    """Gives each P4 name one identifier, the same whenever asked."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, ...], str] = {}
        self._taken = set(RUNTIME_NAMES)

    def field(self, header: str, field: str) -> str:
        """A header's field; those of the compiler's `scalars` go without a prefix."""
        return self._name((header, field), field if header == "scalars" else f"{header}_{field}")

    def valid(self, header: str) -> str:
        """Whether a header is valid: 0 or 1."""
        return self._name((header, "valid", "bit"), f"{header}_valid")

    def place(self, header: str) -> str:
        """Where in the packet a header's unchanged bytes start; below zero: they must be packed anew."""
        return self._name((header, "at", "place"), f"{header}_at")

    def raw(self, header: str, number: int) -> str:
        """Bytes of a header that no code looks into."""
        return self._name((header, "raw", str(number)), f"{header}_raw{number}")

    def next_index(self, stack: str) -> str:
        """How many members of a stack were extracted."""
        return self._name((stack, "next", "index"), f"{stack}_next")

    def param(self, action: str, name: str) -> str:
        """A parameter of an action."""
        return self._name((action, "param", name), name)

    def object(self, kind: str, name: str) -> str:
        """A runtime object that belongs to something in the program (a table's index, a register's cells)."""
        return self._name((kind, "object", name), f"{name.rpartition('.')[2]}_{kind}")

    def _name(self, key: tuple[str, ...], wanted: str) -> str:
        if key not in self._given:
            base = re.sub(r"\W+", "_", wanted, flags=re.ASCII).strip("_") or "value"
            base = f"_{base}" if base[0].isdigit() else base
            name, number = base, 1
            while name in self._taken or keyword.iskeyword(name) or _NUMBERED.fullmatch(name):
                number += 1
                name = f"{base}_{number}"
            self._taken.add(name)
            self._given[key] = name
        return self._given[key]
