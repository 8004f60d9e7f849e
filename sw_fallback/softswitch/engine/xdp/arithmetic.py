"""Operators on values: the cheapest C that is right.

Results are exact, or right modulo `2**need` where a `need` is given: then they may wrap around at any width that is not
less. An operand may itself be right modulo `2**need` only, where the operator allows it: + - * << & | ^ ~.
"""

from __future__ import annotations

from collections.abc import Callable

from softswitch.engine.xdp.terms import WORD
from softswitch.engine.xdp.values import Kind, Value, constant, fitting, joined, number, operand
from softswitch.engine.xdp.wide_arithmetic import WideArithmetic
from softswitch.engine.xdp.writer import Writer
from softswitch.errors import UnsupportedConstruct

__all__ = ["Arithmetic"]

_SHIFT_LIMIT = 1 << 17
"""No field is as wide: a longer shift leaves nothing of the value."""
_BITS = 1 << 12
"""A number to be added that is hexadecimal from here on."""
Need = int | None


class Arithmetic:
    """Operators; what has to be computed beforehand goes to the writer."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._wide = WideArithmetic(writer)

    def hold(self, value: Value) -> Value:
        """The value as something that may be repeated."""
        if value.atom:
            return value
        if not value.single:
            return self._wide.hold(value)
        if value.ones == 1:
            return Value((self._writer.temporary("u8", value.text),), 0, 1, Kind.INT, 1)
        kind = Kind.U32 if value.kind is Kind.INT and value.low >= 0 else value.kind
        return Value((self._writer.temporary(kind.ctype, value.text),), value.low, value.high, kind, value.ones)

    # Sums and products

    def add(self, left: Value, right: Value, need: Need) -> Value:
        for one, other in ((left, right), (right, left)):
            if one.constant == 0:
                return other
        low, high = left.low + right.low, left.high + right.high
        if right.constant is not None and left.constant is not None:
            return constant(low)
        return self._modular("+", left, right, low, high, need) or self._wide.add(left, right, need)

    def subtract(self, left: Value, right: Value, need: Need) -> Value:
        if right.constant == 0:
            return left
        low, high = left.low - right.high, left.high - right.low
        if right.constant is not None and left.constant is not None:
            return constant(low)
        return self._modular("-", left, right, low, high, need) or self._wide.subtract(left, right, need)

    def multiply(self, left: Value, right: Value, need: Need) -> Value:
        if left.constant is not None:
            left, right = right, left
        factor = right.constant
        if factor is not None:
            if left.constant is not None:
                return constant(left.constant * factor)
            if factor == 1:
                return left
            if factor >= 0 and factor & (factor - 1) == 0:
                return constant(0) if factor == 0 else self.shift_left(left, constant(factor.bit_length() - 1), need)
        corners = [a * b for a in (left.low, left.high) for b in (right.low, right.high)]
        found = self._modular("*", left, right, min(corners), max(corners), need)
        if found is None:
            raise UnsupportedConstruct("multiplication of more than 64 bits")
        return found

    @staticmethod
    def _modular(op: str, left: Value, right: Value, low: int, high: int, need: Need) -> Value | None:
        """An operator that is right modulo the size of its operands' common type; None: this takes several words."""
        if not (left.single and right.single):
            if need is None or need > WORD:
                return None
            left, right = _narrow(left), _narrow(right)
        common = max(left.kind, right.kind)
        kind = _result_kind(common, low, high, need)
        if kind is None:
            return None
        if kind.holds(low, high):
            bounds, ones = (low, high), -1 if low < 0 else (1 << high.bit_length()) - 1
        else:
            bounds, ones = (0, (1 << kind.bits) - 1), (1 << kind.bits) - 1
        if kind <= common:
            text = joined(left.operand(), op, right.operand(mask=right.low >= _BITS))
            if kind < common:
                text = f"({kind.ctype})({text})"
        elif right.constant is not None or left.constant is None:
            text = joined(left.cast(kind), op, right.operand(mask=right.low >= _BITS))
        else:
            text = f"{left.operand()} {op} {right.cast(kind)}"
        return Value((text,), *bounds, kind, ones)

    # Quotients

    def divide(self, left: Value, right: Value) -> Value:
        """Zero where the divisor is, as the specification leaves it open."""
        if right.constant is not None and left.constant is not None:
            return constant(left.constant // right.constant if right.constant > 0 else 0)
        return self._quotient("/", left, right, 0, left.high)

    def modulo(self, left: Value, right: Value) -> Value:
        """As `divide`, for the remainder."""
        if right.constant is not None and left.constant is not None:
            return constant(left.constant % right.constant if right.constant > 0 else 0)
        return self._quotient("%", left, right, 0, min(left.high, max(right.high - 1, 0)))

    def _quotient(self, op: str, left: Value, right: Value, low: int, high: int) -> Value:
        if left.low < 0 or right.low < 0:
            raise UnsupportedConstruct("division of what may be negative")
        if right.high == 0:
            return constant(0)
        if not (left.single and right.single):
            raise UnsupportedConstruct("division of more than 64 bits")
        kind = Kind.U32 if left.high < 1 << 32 and right.high < 1 << 32 else Kind.U64
        if right.low == 0:  # a divisor of zero is undefined in C, and other than zero in eBPF
            right = self.hold(right)
        text = f"{left.cast(kind)} {op} {right.cast(kind)}"
        if right.low == 0:
            text = f"{right.text} ? {text} : 0"
        return Value((text,), low, high, kind, (1 << high.bit_length()) - 1)

    # Shifts

    def shift_left(self, left: Value, right: Value, need: Need) -> Value:
        count = right.constant
        if count is None:
            return self._shift_left_by(left, right, need)
        if left.constant is not None and 0 <= count < _SHIFT_LIMIT:
            return constant(left.constant << count)
        if count == 0:
            return left
        if not 0 <= count < _SHIFT_LIMIT or (need is not None and count >= need):
            return constant(0)
        if not left.single and need is not None and need <= WORD:
            left = _narrow(left)
        low, high = left.low << count, left.high << count
        kind = _result_kind(left.kind, low, high, need) if left.single else None
        if kind is None or kind.bits <= count:
            return self._wide.shift_left(left, count, need)
        if not kind.holds(low, high):
            text, ones = f"{left.cast(kind)} << {count}", ((1 << kind.bits) - 1) & left.ones << count
            return Value((text,), 0, ones, kind, ones)
        if low < 0:  # shifting a negative number is undefined in C
            unsigned = Kind.U32 if kind is Kind.INT else Kind.U64
            return Value((f"({kind.ctype})({left.cast(unsigned)} << {count})",), low, high, kind)
        return Value((f"{left.cast(kind)} << {count}",), low, high, kind, left.ones << count)

    def _shift_left_by(self, left: Value, right: Value, need: Need) -> Value:
        if not right.single:
            raise UnsupportedConstruct("shift by a number of more than 64 bits")
        if not left.single:
            if need is None or need > WORD:
                raise UnsupportedConstruct("variable shift of more than 64 bits")
            left = _narrow(left)
        top = left.high << right.high if right.high < _SHIFT_LIMIT and left.low >= 0 else None
        if need is not None and need <= 32 and left.kind <= Kind.U32:
            kind = Kind.U32
        elif top is not None and top < 1 << 32:
            kind = max(left.kind, Kind.INT if top < 1 << 31 else Kind.U32)
        elif (need is not None and need <= WORD) or (top is not None and top < 1 << WORD):
            kind = Kind.U64
        else:
            raise UnsupportedConstruct("variable shift of more than 64 bits")
        high = (1 << kind.bits) - 1
        if top is not None and kind.holds(0, top):
            high = top
        shift = self._in_range(right, kind.bits)
        text = f"{left.cast(kind)} << {shift.operand()}"
        if shift.high >= kind.bits or shift.low < 0:
            text = f"{_below(shift, kind.bits)} ? {text} : 0"
        return Value((text,), 0, high, kind, (1 << high.bit_length()) - 1)

    def shift_right(self, left: Value, right: Value, need: Need) -> Value:
        """`left` is right modulo `2**(need + count)`."""
        count = right.constant
        if count is None:
            return self._shift_right_by(left, right)
        count = min(max(count, 0), _SHIFT_LIMIT)
        if left.constant is not None:
            return constant(left.constant >> count)
        if count == 0:
            return left
        if not left.single:
            return self._wide.shift_right(left, count, need)
        low, high = left.low >> count, left.high >> count
        if low == high:
            return constant(low)
        text = f"{left.operand()} >> {min(count, left.kind.bits - 1)}"
        return Value((text,), low, high, left.kind, left.ones >> count)

    def _shift_right_by(self, left: Value, right: Value) -> Value:
        if not left.single:
            raise UnsupportedConstruct("variable shift of more than 64 bits")
        if not right.single:
            raise UnsupportedConstruct("shift by a number of more than 64 bits")
        bits = left.kind.bits
        shift = self._in_range(right, bits)
        if shift.low < 0:
            shift = self.hold(self.choose(f"{shift.operand()} < 0", constant(0), shift, None))
        left = self.hold(left) if left.low < 0 else left
        text = f"{left.operand()} >> {shift.operand()}"
        if shift.high >= bits:
            rest = "0" if left.low >= 0 else f"{left.operand()} >> {bits - 1}"
            text = f"{_below(shift, bits)} ? {text} : {operand(rest)}"
        return Value((text,), min(left.low, 0), max(left.high, 0), left.kind, -1 if left.low < 0 else _full(left.high))

    def _in_range(self, count: Value, bits: int) -> Value:
        return count if count.low >= 0 and count.high < bits else self.hold(count)

    # Bits

    def invert(self, operand_: Value, need: Need) -> Value:
        low, high = ~operand_.high, ~operand_.low
        if operand_.constant is not None:
            return constant(low)
        if not operand_.single and need is not None and need <= WORD:
            operand_ = _narrow(operand_)
        kind = operand_.kind
        if not operand_.single:
            return self._wide.invert(operand_, need)
        if kind.signed:  # a compiler takes ~ before a comparison for a slip, unless it is cast
            cast = "(s32)" if operand_.ones == 1 and not operand_.atom else ""
            return Value((f"~{cast}{operand_.operand()}",), low, high, kind)
        if need is not None and need <= kind.bits:
            full = (1 << kind.bits) - 1
            return Value((f"~{operand_.operand()}",), full - operand_.high, full - operand_.low, kind, full)
        if fitting(low, high) is None:
            return self._wide.invert(operand_, need)
        return Value((f"~{operand_.cast(Kind.S64)}",), low, high, Kind.S64)

    def and_(self, left: Value, right: Value, need: Need) -> Value:
        if left.constant is not None:
            left, right = right, left
        mask = right.constant
        if mask is not None and left.constant is not None:
            return constant(left.constant & mask)
        if mask is not None:
            wanted = left.ones if left.low >= 0 else -1
            if need is not None:
                wanted &= (1 << need) - 1
            if wanted & ~mask == 0:
                return left
            if mask >= 0 and wanted & mask == 0:
                return constant(0)
        if not (left.single and right.single):
            ones = left.ones & right.ones
            if ones < 0 or ones >> WORD:
                return self._wide.bitwise("&", left, right, need)
            left, right = _narrow(left), _narrow(right)
        if right.constant == 0xFFFFFFFF:
            return Value((f"(u32){left.operand()}",), 0, 0xFFFFFFFF, Kind.U32, left.ones & 0xFFFFFFFF)
        kind, ones = max(left.kind, right.kind), left.ones & right.ones
        text = joined(left.operand(mask=True), "&", right.operand(mask=True))
        if ones < 0:
            bits = max((~left.low).bit_length(), (~right.low).bit_length())
            return Value((text,), -1 << bits, max(left.high, right.high, 0), kind)
        return Value((text,), 0, ones, kind, ones)

    def or_(self, left: Value, right: Value, need: Need) -> Value:
        return self._either("|", int.__or__, left, right, need)

    def xor(self, left: Value, right: Value, need: Need) -> Value:
        return self._either("^", int.__xor__, left, right, need)

    def _either(self, op: str, fold: Callable[[int, int], int], left: Value, right: Value, need: Need) -> Value:
        if left.constant is not None and right.constant is not None:
            return constant(fold(left.constant, right.constant))
        for one, other in ((left, right), (right, left)):
            if one.constant == 0:
                return other
        if need is not None and need <= WORD:
            left, right = _narrow(left), _narrow(right)
        if not (left.single and right.single):
            return self._wide.bitwise(op, left, right, need)
        kind = max(left.kind, right.kind)
        text = joined(left.operand(mask=True), op, right.operand(mask=True))
        if left.low >= 0 and right.low >= 0:
            ones = left.ones | right.ones
            return Value((text,), 0, ones, kind, ones)
        bits = max(abs(bound).bit_length() for bound in (left.low, left.high, right.low, right.high))
        if not kind.signed and need is not None and need <= kind.bits:
            full = (1 << kind.bits) - 1
            return Value((text,), 0, full, kind, full)
        if kind.signed:
            return Value((text,), -1 << bits, (1 << bits) - 1, kind)
        if bits >= WORD:
            return self._wide.bitwise(op, left, right, need)
        text = joined(left.cast(Kind.S64), op, right.cast(Kind.S64))
        return Value((text,), -1 << bits, (1 << bits) - 1, Kind.S64)

    def sign(self, value: Value, width: int) -> Value:
        """The low bits as a signed number of this width."""
        half = 1 << (width - 1)
        if value.constant is not None:
            return constant((value.constant & 2 * half - 1 ^ half) - half)
        if -half <= value.low and value.high < half:
            return value
        if width > WORD:
            return self._wide.sign(value, width)
        value = _narrow(value)
        kind = Kind.INT if width <= 32 else Kind.S64
        if width in (8, 16, 32, 64):
            return Value((f"(s{width}){value.operand()}",), -half, half - 1, kind)
        low = self.and_(value, constant(2 * half - 1), None)
        text = f"({low.cast(kind)} ^ {number(half, kind)}) - {number(half, kind)}"
        return Value((text,), -half, half - 1, kind)

    # Choices

    def clamp(self, value: Value, low: int, high: int) -> Value:
        """The nearest number from `low` to `high`."""
        if value.constant is not None:
            return constant(min(max(value.constant, low), high))
        if low <= value.low and value.high <= high:
            return value
        held = self.hold(value)
        found = _within(held, max(value.low, low), min(value.high, high))
        if value.low < low:
            found = self.choose(self.compare("<", held, constant(low)), constant(low), found, None)
        if value.high > high:
            found = self.choose(self.compare(">", held, constant(high)), constant(high), found, None)
        return found

    def choose(self, condition: str, then: Value, otherwise: Value, need: Need) -> Value:
        """`condition ? then : otherwise`."""
        if condition in ("0", "1"):
            return then if condition == "1" else otherwise
        if need is not None and need <= WORD:
            then, otherwise = _narrow(then), _narrow(otherwise)
        low, high = min(then.low, otherwise.low), max(then.high, otherwise.high)
        if low == high:
            return then
        if not (then.single and otherwise.single):
            return self._wide.choose(condition, then, otherwise, need)
        kind, ones = max(then.kind, otherwise.kind), -1 if low < 0 else then.ones | otherwise.ones
        if not kind.holds(low, high):
            if need is not None and need <= kind.bits and not kind.signed:
                low, high, ones = 0, (1 << kind.bits) - 1, (1 << kind.bits) - 1
            elif Kind.S64.holds(low, high):
                kind = Kind.S64
            else:
                return self._wide.choose(condition, then, otherwise, need)
        arms = [
            arm.operand() if kind == max(then.kind, otherwise.kind) else arm.cast(kind) for arm in (then, otherwise)
        ]
        return Value((f"{operand(condition)} ? {arms[0]} : {arms[1]}",), low, high, kind, ones)

    def compare(self, op: str, left: Value, right: Value) -> str:
        """A comparison in C: 0 or 1. `op` is one of == != < <= > >=."""
        known = _known(op, left, right)
        if known is not None:
            return known
        kind = max(left.kind, right.kind)
        low, high = min(left.low, right.low), max(left.high, right.high)
        if left.single and right.single and kind.holds(low, high):
            return f"{_compared(left)} {op} {_compared(right)}"
        if left.single and right.single and Kind.S64.holds(low, high):
            return f"{left.cast(Kind.S64)} {op} {right.cast(Kind.S64)}"
        return self._wide.same(op, left, right) if op in ("==", "!=") else self._wide.ordered(op, left, right)


def _compared(value: Value) -> str:
    """An operand of a comparison; `!a < b` does not look like what it is."""
    text = value.operand()
    return f"({text})" if text.startswith("!") else text


def _known(op: str, left: Value, right: Value) -> str | None:
    """A comparison that the bounds decide."""
    if op in ("==", "!="):
        if left.high < right.low or right.high < left.low:
            return str(int(op == "!="))
        return str(int(op == "==")) if left.constant is not None and left.constant == right.constant else None
    if op[0] == ">":
        left, right, op = right, left, op.replace(">", "<")
    if op == "<":
        return "1" if left.high < right.low else "0" if left.low >= right.high else None
    return "1" if left.high <= right.low else "0" if left.low > right.high else None


def _result_kind(common: Kind, low: int, high: int, need: Need) -> Kind | None:
    """The type to compute in; None: no type holds the result."""
    if common.holds(low, high) or (need is not None and not common.signed and need <= common.bits):
        return common
    if need is not None and need <= 32 and common is Kind.INT:
        return Kind.U32
    signed = low < 0
    greater = next((kind for kind in Kind if kind > common and kind.signed is signed and kind.holds(low, high)), None)
    if greater is not None:
        return greater
    if need is not None and need <= WORD:
        return Kind.U64
    return Kind.S64 if Kind.S64.holds(low, high) else None


def _narrow(value: Value) -> Value:
    """The value modulo 2**64."""
    if value.single:
        return value
    word, ones = value.word(0), value.word_ones(0)
    return constant(word) if isinstance(word, int) else Value((word,), 0, ones, Kind.U64, ones)


def _within(value: Value, low: int, high: int) -> Value:
    """A value that is known to be inside these bounds."""
    if value.single or fitting(low, high) is None:
        return Value(value.words, low, high, value.kind, _full(high) if low >= 0 else -1)
    kind = Kind.U64 if low >= 0 else Kind.S64
    return Value((_narrow(value).cast(kind),), low, high, kind, _full(high) if low >= 0 else -1)


def _full(high: int) -> int:
    return (1 << high.bit_length()) - 1


def _below(count: Value, bits: int) -> str:
    """Whether a shift is shorter than a type, and not negative."""
    return f"{count.cast(Kind.U64 if count.low < 0 else count.kind)} < {bits}"
