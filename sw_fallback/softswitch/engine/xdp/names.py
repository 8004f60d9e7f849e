"""C identifiers for what a P4 program names."""

from __future__ import annotations

import re

__all__ = ["Names"]

_WORDS = (
    "auto break case char const continue default do double else enum extern float for goto if inline int long "
    "register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while "
    "asm typeof bool true false NULL ctx s row member hit data data_end at error size length ingress_port port now "
    "moment micros moved exited failed digest clone_session clone_list resubmit_list recirculate_list cut spec trace "
    "states count statistics clock ports port_of user_ports events ticker workspace parse verify update deparse "
    "ingress egress softswitch start_clock transmit"
)
"""Words of C, members of `struct state` that are no field's, and what the rest of the generated file defines."""
_RESERVED = frozenset(_WORDS.split())
_OURS = re.compile(
    r"(t\d+|[us](8|16|32|64)|bpf_.*|XDP_.*|.*_(row|key|rows|buckets|trie|vectors|intervals)|trace_.*|__.*)"
)
"""Temporaries, types and suffixes of the generated code and its runtime."""


class Names:
    """Gives each P4 name one identifier, the same whenever asked."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, ...], str] = {}
        self._taken: set[str] = set()

    def field(self, header: str, field: str) -> str:
        """A header's field; those of the compiler's `scalars` go without a prefix."""
        return self._name((header, field), field if header == "scalars" else f"{header}_{field}")

    def valid(self, header: str) -> str:
        """Whether a header is valid: 0 or 1."""
        return self._name((header, "valid", "bit"), f"{header}_valid")

    def place(self, header: str) -> str:
        """Where in the packet, in bytes, a header was extracted; `FRESH` for one that was not."""
        return self._name((header, "at", "place"), f"{header}_at")

    def action(self, name: str) -> str:
        """The enumerator of an action's number."""
        return self._name((name, "action", "number"), f"ACTION_{_last(name)}".upper())

    def arguments(self, name: str) -> str:
        """The member of a row's union with this action's arguments."""
        return self._name((name, "action", "arguments"), _last(name))

    def parameter(self, action: str, name: str) -> str:
        """A parameter of an action, the member of a struct of its own."""
        return self._clean(name)

    def object(self, name: str) -> str:
        """A table, register, counter, meter, digest or profile: the stem of its maps and functions."""
        return self._name((name, "object"), _last(name))

    def label(self, node: str) -> str:
        """The label of a node of a pipeline or of a parser state."""
        return self._name((node, "label"), f"at_{_last(node)}")

    @staticmethod
    def _clean(wanted: str) -> str:
        base = re.sub(r"\W+", "_", wanted, flags=re.ASCII).strip("_") or "value"
        base = f"_{base}" if base[0].isdigit() else base
        return f"{base}_" if base in _RESERVED or _OURS.fullmatch(base) else base

    def _name(self, key: tuple[str, ...], wanted: str) -> str:
        if key not in self._given:
            base = self._clean(wanted)
            name, number = base, 1
            while name in self._taken:
                number += 1
                name = f"{base}_{number}"
            self._taken.add(name)
            self._given[key] = name
        return self._given[key]


def _last(name: str) -> str:
    return name.rpartition(".")[2]
