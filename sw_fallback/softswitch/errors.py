"""Everything that can go wrong with a pipeline or an entity, as exceptions.

SoftswitchError
├── PipelineError              the compiled program cannot be loaded
│   ├── MalformedPipeline      the device config or the P4Info is broken or contradicts itself
│   ├── UnsupportedConstruct   a P4 construct that this switch does not run
│   ├── PipelineMismatch       P4Info and device config are not of one program
│   └── EngineUnavailable      this machine cannot run the engine that was asked for
└── EntityError                a read or a write that cannot be done; carries its `Code`
    ├── InvalidArgument        the entity breaks a rule of the P4Info or of the specification
    ├── UnknownId              no such table, action, profile, counter … in the P4Info
    ├── EntryExists            an insert of what is there already
    ├── EntryNotFound          a modify, delete or read of what is not there
    ├── TableFull              no room left
    ├── OutOfRange             an index past the end of an array
    ├── NotPermitted           a write to a constant
    ├── StillReferenced        a delete of what another entity points at
    └── Unimplemented          an operation that this switch does not offer
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = [
    "Code",
    "EngineUnavailable",
    "EntityError",
    "EntryExists",
    "EntryNotFound",
    "InvalidArgument",
    "MalformedPipeline",
    "NotPermitted",
    "OutOfRange",
    "PipelineError",
    "PipelineMismatch",
    "SoftswitchError",
    "SourceLocation",
    "StillReferenced",
    "TableFull",
    "Unimplemented",
    "UnknownId",
    "UnsupportedConstruct",
]


class Code(IntEnum):
    """Canonical status codes that an entity error maps to (google.rpc.Code; P4Runtime 1.4 section 12)."""

    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """Where in the P4 source a node of the program was written."""

    filename: str
    """As the compiler recorded it; empty when it did not."""
    line: int
    """From 1; zero when unknown."""
    column: int = 0
    fragment: str = ""
    """The piece of source, shortened by the compiler."""

    def __str__(self) -> str:
        return f"{self.filename}:{self.line}" if self.filename else "unknown place"


NOWHERE = SourceLocation("", 0)
"""The location of a node that the compiler made up."""


class SoftswitchError(Exception):
    """The root: nothing else leaves the switch's core on purpose."""


class PipelineError(SoftswitchError):
    """A program that cannot be loaded."""


class MalformedPipeline(PipelineError):
    """A device config or P4Info that is not well-formed, or that refers to what it does not define."""


class UnsupportedConstruct(PipelineError):
    """A well-formed program that uses what this switch cannot run."""

    def __init__(self, construct: str, location: SourceLocation = NOWHERE, advice: str = "") -> None:
        self.construct = construct
        self.location = location
        place = f"{location}: " if location.filename else ""
        text = f"{place}{construct} is not supported"
        super().__init__(f"{text}; {advice}" if advice else text)


class PipelineMismatch(PipelineError):
    """A P4Info and a device config that were not compiled from one program."""


class EngineUnavailable(PipelineError):
    """This machine, or its kernel, cannot run the engine that was asked for: why not."""


class EntityError(SoftswitchError):
    """A read or write that was refused; nothing was changed."""

    code: Code = Code.INVALID_ARGUMENT


class InvalidArgument(EntityError):
    """The entity breaks a rule of the P4Info or of the P4Runtime specification."""


class UnknownId(EntityError):
    """An id that the P4Info does not have."""

    code = Code.NOT_FOUND


class EntryExists(EntityError):
    """Insert of an entity that exists."""

    code = Code.ALREADY_EXISTS


class EntryNotFound(EntityError):
    """Modify, delete or read of an entity that does not exist."""

    code = Code.NOT_FOUND


class TableFull(EntityError):
    """The table, profile or group has as many entries as its size allows."""

    code = Code.RESOURCE_EXHAUSTED


class OutOfRange(EntityError):
    """An index past the end of a counter, meter or register array."""

    code = Code.OUT_OF_RANGE


class NotPermitted(EntityError):
    """A write to constant entries or to a constant default action."""

    code = Code.PERMISSION_DENIED


class StillReferenced(EntityError):
    """A delete of a member or group that a table entry or group still points at."""

    code = Code.FAILED_PRECONDITION


class Unimplemented(EntityError):
    """An operation that this switch does not offer for this entity."""

    code = Code.UNIMPLEMENTED
