"""What is known at one place of a program of the fields that have been assigned there: always, and under conditions.

The conditions are that a header is valid and that a metadata field has one of the values that the program compares it
with. They carry what the branches of a program have in common: a packet that was found to be TCP has ports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from softswitch.engine.xdp.context import Context
from softswitch.program.controls import Pipeline
from softswitch.program.expressions import (
    VALID_FIELD,
    Binary,
    BinaryOp,
    BoolConstant,
    Constant,
    Expression,
    FieldRef,
    HeaderRef,
    Unary,
    UnaryOp,
    Valid,
    walk,
)
from softswitch.program.statements import Assert, Assign, If, Statement

__all__ = ["Conditions", "Facts"]

Bits = int
"""A bit for each field: it has been assigned. All ones where no way leads."""
Key = tuple[str, str]
"""Header and field; the validity bit of a header is a field of it."""


@dataclass(frozen=True, slots=True)
class _Condition:
    """A field has a value, or has another one."""

    key: Key
    value: int
    equal: bool

    def holds(self, value: int) -> bool:
        return (value == self.value) is self.equal


@dataclass(frozen=True, slots=True)
class Facts:
    """Knowledge at one place."""

    always: Bits
    under: tuple[Bits, ...]
    """For each condition what is assigned where it holds, `always` included."""
    bounds: Mapping[Key, int]
    """The greatest value that a field can have, where that is less than its width allows."""

    def __and__(self, other: Facts) -> Facts:
        """What is known where two ways meet."""
        if self.always == -1 or other.always == -1:
            return self if other.always == -1 else other
        pairs = zip(self.under, other.under, strict=True)
        bounds = {key: max(top, other.bounds[key]) for key, top in self.bounds.items() if key in other.bounds}
        return Facts(self.always & other.always, tuple(left & right for left, right in pairs), bounds)

    def assigned(self, bits: Bits) -> Facts:
        """After an assignment."""
        if not bits:
            return self
        return Facts(self.always | bits, tuple(known | bits for known in self.under), self.bounds)

    def bounded(self, key: Key, top: int | None) -> Facts:
        """With a field that is at most `top`; None: that may be anything."""
        if top is None and key not in self.bounds:
            return self
        bounds = {other: bound for other, bound in self.bounds.items() if other != key}
        return Facts(self.always, self.under, bounds if top is None else {**bounds, key: top})


class Conditions:
    """The conditions of a program, by number."""

    def __init__(self, context: Context, statements: Sequence[Statement]) -> None:
        self._conditions: dict[_Condition, int] = {}
        self._of_field: dict[Key, list[_Condition]] = {}
        program = context.program
        for header in program.headers.values():
            if not header.metadata:
                self._add((header.name, VALID_FIELD), 1)
        for expression in _tests((program.ingress, program.egress), statements):
            for field, value in _compared(expression):
                if _is_followed(context, field):
                    self._add(_key(field), value)
        copies = [
            (_key(item.target), _key(item.value))
            for item in statements
            if isinstance(item, Assign) and isinstance(item.target, FieldRef) and isinstance(item.value, FieldRef)
            if _is_followed(context, item.value)
        ]
        self._follow_copies(copies)

    def _add(self, key: Key, value: int) -> None:
        for condition in (_Condition(key, value, True), _Condition(key, value, False)):
            if condition not in self._conditions:
                self._conditions[condition] = len(self._conditions)
                self._of_field.setdefault(key, []).append(condition)

    def _follow_copies(self, copies: Sequence[tuple[Key, Key]]) -> None:
        """What a field is compared with counts for those that are copied to it."""
        before = -1
        while before != len(self._conditions):
            before = len(self._conditions)
            for target, source in copies:
                for condition in [*self._of_field.get(target, ())]:
                    self._add(source, condition.value)

    @property
    def start(self) -> Facts:
        """Before anything was assigned: no header is valid, and metadata is zero."""
        return Facts(0, tuple(0 if condition.holds(0) else -1 for condition in self._conditions), {})

    @property
    def nowhere(self) -> Facts:
        """Where no way leads."""
        return Facts(-1, (-1,) * len(self._conditions), {})

    # Changes

    def after(self, facts: Facts, key: Key, value: int | None) -> Facts:
        """After a field got a value; None: one that is not known here."""
        mine = self._of_field.get(key)
        if not mine:
            return facts
        under = list(facts.under)
        for condition in mine:
            under[self._conditions[condition]] = facts.always if value is None or condition.holds(value) else -1
        return Facts(facts.always, tuple(under), facts.bounds)

    def assigned(self, facts: Facts, target: FieldRef, value: Expression | None) -> Facts:
        """After a field got an expression's value; None: a value that is not known here."""
        key = _key(target)
        facts = facts.bounded(key, None)
        if key not in self._of_field:
            return facts
        match value:
            case Constant(number):
                return self.after(facts, key, number & (1 << target.width) - 1)
            case Unary(UnaryOp.BOOL_TO_DATA, condition):
                one = self.after(self.given(facts, condition, True), key, 1)
                return one & self.after(self.given(facts, condition, False), key, 0)
            case FieldRef() if value.width == target.width and not value.signed:
                return self.copied(facts, key, _key(value), 0)
            case _:
                return self.after(facts, key, None)

    def copied(self, facts: Facts, target: Key, source: Key, bits: Bits) -> Facts:
        """After a field became equal to another; where both are one, `bits` are assigned besides."""
        under = list(facts.under)
        for condition in self._of_field.get(target, ()):
            other = self._conditions.get(_Condition(source, condition.value, condition.equal))
            known = facts.always if other is None else facts.under[other]
            extra = bits if condition.value == 1 and condition.equal else 0
            under[self._conditions[condition]] = known | extra
        return Facts(facts.always, tuple(under), facts.bounds)

    # Branches

    def given(self, facts: Facts, condition: Expression, outcome: bool) -> Facts:
        """Where a condition has an outcome."""
        match condition:
            case BoolConstant(value):
                return facts if value is outcome else self.nowhere
            case Valid(HeaderRef(header)):
                return self._compare(facts, (header, VALID_FIELD), 1, outcome)
            case Unary(UnaryOp.NOT, operand):
                return self.given(facts, operand, not outcome)
            case Unary(UnaryOp.DATA_TO_BOOL, FieldRef() as field):
                if field.width == 1 and outcome:
                    return self._compare(facts, _key(field), 1, True)
                return self._compare(facts, _key(field), 0, not outcome)
            case Unary(UnaryOp.DATA_TO_BOOL | UnaryOp.BOOL_TO_DATA, operand):
                return self.given(facts, operand, outcome)
            case Binary(BinaryOp.EQUAL, FieldRef() as field, Constant(value)):
                return self._compare(facts, _key(field), value, outcome)
            case Binary(BinaryOp.NOT_EQUAL, FieldRef() as field, Constant(value)):
                return self._compare(facts, _key(field), value, not outcome)
            case Binary(BinaryOp.BOTH, left, right):
                return self._given_both(facts, left, right, outcome, stop=False)
            case Binary(BinaryOp.EITHER, left, right):
                return self._given_both(facts, left, right, outcome, stop=True)
            case _:
                return facts

    def _given_both(self, facts: Facts, left: Expression, right: Expression, outcome: bool, *, stop: bool) -> Facts:
        """`and` ends at a left side that is false, `or` at one that is true: `stop`."""
        going_on = self.given(self.given(facts, left, not stop), right, outcome)
        return going_on & self.given(facts, left, stop) if outcome is stop else going_on

    def _compare(self, facts: Facts, key: Key, value: int, outcome: bool) -> Facts:
        """Where a field equals a value, or does not: what is known under every condition that is true there."""
        mine = self._of_field.get(key, ())
        if outcome:
            true = [condition for condition in mine if condition.holds(value)]
            false = [condition for condition in mine if not condition.holds(value)]
        else:
            true = [condition for condition in mine if condition.value == value and not condition.equal]
            false = [condition for condition in mine if condition.value == value and condition.equal]
        known = 0
        for condition in true:
            known |= facts.under[self._conditions[condition]]
        under = list(facts.assigned(known).under)
        for condition in false:
            under[self._conditions[condition]] = -1
        return Facts(facts.always | known, tuple(under), facts.bounds)


def _is_followed(context: Context, field: FieldRef) -> bool:
    """Whether a field's values are known: metadata's, which only statements change."""
    return context.program.headers[field.header].metadata and field.field != VALID_FIELD and not field.signed


def _key(field: FieldRef) -> Key:
    return field.header, field.field


def _tests(pipelines: Iterable[Pipeline], statements: Iterable[Statement]) -> Iterator[Expression]:
    """Every condition that a program branches on."""
    for pipeline in pipelines:
        for condition in pipeline.conditions.values():
            yield condition.expression
    for statement in statements:
        if isinstance(statement, If | Assert):
            yield statement.condition
        elif isinstance(statement, Assign):
            yield statement.value


def _compared(expression: Expression) -> Iterator[tuple[FieldRef, int]]:
    """Fields and what they are compared with."""
    for part in walk(expression):
        match part:
            case Binary(BinaryOp.EQUAL | BinaryOp.NOT_EQUAL, FieldRef() as field, Constant(value)):
                yield field, value
            case Unary(UnaryOp.DATA_TO_BOOL, FieldRef() as field):
                yield field, 0
                if field.width == 1:
                    yield field, 1
            case _:
                pass
