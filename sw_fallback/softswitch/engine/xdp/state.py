"""`struct state`: what is known of the packet that a CPU works on, and where user space finds it in a dump.

Members that may be read before anything is assigned to them come first and are zeroed for each packet; all others
have what an earlier packet left until they are assigned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.layout import size_of
from softswitch.engine.xdp.places import Places, has_place
from softswitch.engine.xdp.terms import WORD, literal, words_of
from softswitch.engine.xdp.timestamps import needs_moment
from softswitch.engine.xdp.traces import kept_notes, zeroed_notes
from softswitch.engine.xdp.writer import Writer
from softswitch.program.expressions import Constant, FieldRef
from softswitch.program.statements import Assert, EmitDigest, Recirculate, Resubmit, Truncate

__all__ = ["FRESH", "Member", "StateLayout", "keeps_place"]

FRESH = 0xFFFF
"""The place of a header that is not in the frame as it arrived."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of `struct state`."""

    name: str
    width: int
    """In bits."""
    signed: bool = False

    @property
    def alignment(self) -> int:
        return 8 if self.width > WORD else size_of(self.width)

    @property
    def size(self) -> int:
        """In bytes."""
        return size_of(self.width)

    @property
    def declaration(self) -> str:
        if self.width > WORD:
            return f"u64 {self.name}[{words_of(self.width)}];"
        return f"{'s' if self.signed else 'u'}{8 * self.size} {self.name};"


def keeps_place(context: Context, places: Places, header: str) -> bool:
    """Whether the header's place is only known at run time."""
    made_valid = header in context.usage.made_valid
    return has_place(context, header) and (places.constant(header) is None or made_valid)


class StateLayout:
    """Members with their offsets."""

    def __init__(
        self,
        zeroed: Iterable[Member],
        others: Iterable[Member],
        digests: Mapping[int, tuple[tuple[int, bool], ...]] = {},
    ) -> None:
        self.digests = digests
        """For each digest its members in a record: how many words, and whether they are signed."""
        self.offsets: dict[str, int] = {}
        """In bytes from the struct's start."""
        self.members: dict[str, Member] = {}
        end = self._place(zeroed, 0)
        self.zeroed = -(-end // 8) * 8
        """Bytes at the front that are zeroed for each packet."""
        end = self._place(others, self.zeroed)
        self.size = -(-end // 8) * 8
        """In bytes."""

    @classmethod
    def of(cls, context: Context, places: Places, unassigned: frozenset[tuple[str, str]]) -> StateLayout:
        """The layout for a program; `unassigned` are the fields that may be read before they are assigned."""
        zeroed: list[Member] = []
        others = [*_own(context)]
        zeroed += _requests(context)
        zeroed += (Member(name, width) for name, width in zeroed_notes(context))
        others += (Member(name, width) for name, width in kept_notes(context))
        for header in context.program.headers.values():
            name = header.name
            if not header.metadata:
                zeroed.append(Member(context.names.valid(name), 8))
                if keeps_place(context, places, name):
                    others.append(Member(context.names.place(name), 16))
            for field in header.type.fields:
                if context.keeps(name, field.name):
                    member = Member(context.names.field(name, field.name), field.width, field.signed)
                    (zeroed if (name, field.name) in unassigned else others).append(member)
        digests = {
            number: tuple(_digested(member) for member in digest.members)
            for number, digest in context.program.digests.items()
        }
        return cls(zeroed, others, digests)

    def _place(self, members: Iterable[Member], end: int) -> int:
        for member in sorted(members, key=lambda member: -member.alignment):
            end = -(-end // member.alignment) * member.alignment
            self.offsets[member.name] = end
            self.members[member.name] = member
            end += member.size
        return end

    def write(self, writer: Writer) -> None:
        """The struct's declaration. Padding is explicit, so that the offsets are these on every compiler."""
        with writer.block("struct state", tail=";"):
            end = pads = 0
            for name, member in self.members.items():
                if self.offsets[name] > end:
                    writer.line(f"u8 padding{pads}[{self.offsets[name] - end}];")
                    pads += 1
                writer.line(member.declaration)
                end = self.offsets[name] + member.size
            if self.size > end:
                writer.line(f"u8 padding{pads}[{self.size - end}];")

    def read(self, dump: bytes, name: str) -> int:
        """A member's value in a dump of the struct."""
        member, offset = self.members[name], self.offsets[name]
        return int.from_bytes(dump[offset : offset + member.size], "little", signed=member.signed)

    def values(self, dump: bytes) -> Mapping[str, int]:
        """Every member's value."""
        return {name: self.read(dump, name) for name in self.members}


def _digested(member: FieldRef | Constant) -> tuple[int, bool]:
    if isinstance(member, Constant):
        return len(literal(member.value).words), member.value < 0
    return words_of(member.width), member.signed


def _requests(context: Context) -> Iterator[Member]:
    """What is asked for until the end of the pipeline: nothing, at the start."""
    kinds, usage = context.usage.kinds, context.usage
    yield Member("moved", 8)
    if needs_moment(context):
        yield Member("moment", 64)
        yield Member("micros", 64)
    if Assert in kinds:
        yield Member("failed", 8)
    if usage.clones(False) or usage.clones(True):
        yield Member("clone_session", 32)
        yield Member("clone_list", 32)
    if EmitDigest in kinds:
        yield Member("digest", 32)
    if Resubmit in kinds:
        yield Member("resubmit_list", 32)
    if Recirculate in kinds:
        yield Member("recirculate_list", 32)
    if context.program.intrinsic("egress_spec") is None:
        yield Member("spec", 16)


def _own(context: Context) -> Iterator[Member]:
    """Members that the entry function always gives a value."""
    yield Member("now", 64)
    yield Member("error", 32)
    yield from (Member(name, 16) for name in ("at", "size", "ingress_port", "port"))
    yield Member("exited", 8)
    if context.usage.reads_intrinsic("packet_length"):
        yield Member("length", 32)
    if Truncate in context.usage.kinds:
        yield Member("cut", 32)
