"""Where headers stand in the frame: known from the parser's graph as far as it goes, kept in `s->…_at` where not.

A frame whose headers stay as the parser found them is changed in place. `s->moved` says that they do not: one bit for
each header that the program may add, and `MOVED` for everything else (a header removed, or a parser that leaves out
bytes, reads a header that is not emitted or reads in another order than the deparser's).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from softswitch.engine.flow import Cycle, topological
from softswitch.engine.xdp.context import Context
from softswitch.errors import UnsupportedConstruct
from softswitch.program import Program
from softswitch.program.expressions import Constant, FieldRef
from softswitch.program.parsers import Advance, Extract, ExtractStack, ExtractVarbit, ParseState, Transition

__all__ = [
    "FURTHEST",
    "MAX_ADDED",
    "MOVED",
    "Places",
    "addable",
    "added",
    "find_places",
    "has_place",
    "live_targets",
    "live_transitions",
    "removed",
]

MOVED = 1
"""The bit of `s->moved` for what is no header's own."""
MAX_ADDED = 7
"""Headers with a bit of their own in `s->moved`, a u8."""
FURTHEST = 0x7FFF
"""No place in a frame is beyond: the verifier allows no offset past 0xffff, the header's size included."""

Offsets = frozenset[int] | None
"""Bytes from the frame's start; None: only known at run time."""


@dataclass(slots=True)
class Places:
    """What the parser's graph says."""

    states: dict[str, Offsets] = field(default_factory=dict)
    """Where a state may begin; states that are never reached are left out."""
    headers: dict[str, Offsets] = field(default_factory=dict)
    """Where a header may be extracted; headers that never are, are left out."""
    displaced: set[tuple[str, int]] = field(default_factory=set)
    """Operations (state, index) after which the headers are not one after another in the deparser's order."""

    def constant(self, header: str) -> int | None:
        """The only place where a header may be extracted."""
        offsets = self.headers.get(header)
        return next(iter(offsets)) if offsets is not None and len(offsets) == 1 else None

    def furthest(self, header: str) -> int:
        """A bound of where it may be, one less than a power of two."""
        offsets = self.headers.get(header)
        return FURTHEST if offsets is None else (1 << max(offsets).bit_length()) - 1


def find_places(context: Context) -> Places:
    """Walk the parser's graph. Raises `UnsupportedConstruct` for a loop, a header stack or a varbit field."""
    return _Walk(context).run()


def _is_live(context: Context, state: ParseState, transition: Transition) -> bool:
    port = context.program.intrinsic("ingress_port")
    if port is None or context.cpu_port is None:
        return True
    return not any(
        isinstance(key, FieldRef)
        and (key.header, key.field) == (port.header, port.field)
        and mask == (1 << key.width) - 1
        and value == context.cpu_port & mask
        for key, value, mask in zip(state.key, transition.values, transition.masks, strict=True)
    )


def live_transitions(context: Context, state: ParseState) -> list[Transition]:
    """The transitions that can be taken here: packets of the CPU port come to the python engine only."""
    return [transition for transition in state.transitions if _is_live(context, state, transition)]


def live_targets(context: Context, state: ParseState) -> tuple[str | None, ...]:
    """One target for each way out of a state."""
    return (*(transition.next_state for transition in live_transitions(context, state)), state.default)


class _Walk:
    """One forward pass in topological order: places, and the deparser's index of the last header so far."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._states = context.program.parser.states
        self._places = Places()
        self._last: dict[str, int] = {}

    def run(self) -> Places:
        start = self._context.program.parser.start
        if start is None:
            return self._places
        self._refuse()
        graph = {name: live_targets(self._context, state) for name, state in self._states.items()}
        try:
            order = topological(start, graph)
        except Cycle:
            raise UnsupportedConstruct("parser loop", self._states[start].location) from None
        self._enter(start, frozenset({0}), -1)
        for name in order:
            offsets, last = self._operations(self._states[name], self._places.states[name], self._last[name])
            for target in graph[name]:
                if target is not None:
                    self._enter(target, offsets, last)
        return self._places

    def _refuse(self) -> None:
        """Name what has no constant size before what follows from it: a parser of stacks has loops."""
        for state in self._states.values():
            for operation in state.operations:
                match operation:
                    case ExtractStack(stack, location):
                        raise UnsupportedConstruct(f"header stack '{stack}'", location)
                    case ExtractVarbit(header, _, location):
                        raise UnsupportedConstruct(f"varbit field of header '{header}'", location)
                    case _:
                        pass

    def _enter(self, name: str, offsets: Offsets, last: int) -> None:
        self._places.states[name] = _either(self._places.states.get(name, frozenset()), offsets)
        self._last[name] = max(self._last.get(name, -1), last)

    def _operations(self, state: ParseState, offsets: Offsets, last: int) -> tuple[Offsets, int]:
        """Follow a state's operations; returns where it ends."""
        order = self._context.program.deparser
        for index, operation in enumerate(state.operations):
            match operation:
                case Extract(header):
                    known = self._places.headers.get(header, frozenset())
                    self._places.headers[header] = _either(known, offsets)
                    rank = order.index(header) if order.count(header) == 1 else -1
                    if rank <= last:
                        self._places.displaced.add((state.name, index))
                    last = max(last, rank)
                    offsets = _past(offsets, self._context.program.headers[header].type.width // 8)
                case Advance(bits):
                    self._places.displaced.add((state.name, index))
                    whole = isinstance(bits, Constant) and bits.value >= 0 and bits.value % 8 == 0
                    offsets = _past(offsets, bits.value // 8) if isinstance(bits, Constant) and whole else None
                case _:
                    pass
        return offsets, last


def _either(left: Offsets, right: Offsets) -> Offsets:
    return None if left is None or right is None else left | right


def _past(offsets: Offsets, size: int) -> Offsets:
    moved = None if offsets is None else frozenset(offset + size for offset in offsets)
    return None if moved is None or max(moved, default=0) > FURTHEST // 2 else moved


# Headers that come and go


def has_place(context: Context, header: str) -> bool:
    """Whether `s->…_at` is there: the header's bytes may come from the packet or from its fields."""
    return header in context.program.deparser and header in context.usage.extracted


def addable(program: Program, made_valid: set[str]) -> list[str]:
    """Headers with a bit of their own in `s->moved`, in the deparser's order."""
    found = [name for name in program.deparser if name in made_valid and program.deparser.count(name) == 1]
    return found[:MAX_ADDED]


def added(context: Context, header: str) -> list[str]:
    """C lines for a header that becomes valid other than by extraction."""
    if header not in context.program.deparser:
        return []
    own = addable(context.program, context.usage.made_valid)
    bit = 2 << own.index(header) if header in own else MOVED
    fresh = [f"{context.place(header)} = FRESH;"] if has_place(context, header) else []
    return [*fresh, f"s->moved |= {bit};"]


def removed(context: Context, header: str) -> list[str]:
    """C lines for a header that becomes invalid."""
    return [f"s->moved |= {MOVED};"] if header in context.program.deparser else []
