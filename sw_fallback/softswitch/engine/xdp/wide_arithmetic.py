"""Operators on values of several words, word by word: what is known of a word leaves no code."""

from __future__ import annotations

from softswitch.engine.xdp.terms import WORD, words_of
from softswitch.engine.xdp.values import FULL, Kind, Value, is_atom, joined, number, operand, signed_words, wide
from softswitch.engine.xdp.writer import Writer

__all__ = ["WideArithmetic"]

Word = str | int
Need = int | None


class WideArithmetic:
    """Results are exact, or right modulo `2**need` where a `need` is given; operands may be single words too."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def hold(self, value: Value) -> Value:
        """The value as something that may be repeated."""
        words = tuple(self._held(word) for word in value.words)
        return Value(words, value.low, value.high, value.kind, value.ones)

    def _held(self, word: Word) -> Word:
        return word if isinstance(word, int) or operand(word) == word else self._writer.temporary("u64", word)

    def _words(self, value: Value, count: int) -> list[Word]:
        """The words as something that may be repeated."""
        return [self._held(value.word(index)) for index in range(count)]

    # Sums

    def add(self, left: Value, right: Value, need: Need) -> Value:
        low, high = left.low + right.low, left.high + right.high
        count, low, high = _bounded(low, high, need)
        found: list[Word] = []
        carry: Word = 0
        for index, (one, other) in enumerate(zip(self._words(left, count), self._words(right, count), strict=True)):
            if index == count - 1:
                found.append(_plus(_plus(one, other), carry))
                continue
            total = self._held(_plus(one, other))
            over = _less(total, other) if one != 0 else 0
            if carry != 0:
                carry = self._held(carry)
                total = self._held(_plus(total, carry))
                over = _or(over, _less(total, carry))
            found.append(total)
            carry = over
        return wide(found, low, high)

    def subtract(self, left: Value, right: Value, need: Need) -> Value:
        low, high = left.low - right.high, left.high - right.low
        count, low, high = _bounded(low, high, need)
        found: list[Word] = []
        borrow: Word = 0
        for index, (one, other) in enumerate(zip(self._words(left, count), self._words(right, count), strict=True)):
            if index == count - 1:
                found.append(_minus(_minus(one, other), borrow))
                continue
            total = self._held(_minus(one, other))
            under = _less(one, other)
            if borrow != 0:
                borrow = self._held(borrow)
                under = _or(under, _less(total, borrow))
                total = self._held(_minus(total, borrow))
            found.append(total)
            borrow = under
        return wide(found, low, high)

    # Bits

    def bitwise(self, op: str, left: Value, right: Value, need: Need) -> Value:
        """`op` is one of & | ^."""
        if op == "&":
            low = -1 if left.low < 0 and right.low < 0 else 0
        else:
            low = -1 if left.low < 0 or right.low < 0 else 0
        if low < 0:
            bits = max(_bits(left), _bits(right))
            count, low, high = _bounded(-1 << bits, (1 << bits) - 1, need)
        else:
            ones = left.ones & right.ones if op == "&" else left.ones | right.ones
            count, low, high = _bounded(0, ones, need)
        found: list[Word] = []
        known = 0
        for index in range(count):
            one, other = left.word_ones(index), right.word_ones(index)
            word = _bitwise(op, left.word(index), right.word(index), one, other)
            known |= (one & other if op == "&" else one | other) << WORD * index
            found.append(word)
        return wide(found, low, high, known)

    def invert(self, value: Value, need: Need) -> Value:
        count, low, high = _bounded(~value.high, ~value.low, need)
        words = [value.word(index) for index in range(count)]
        return wide([FULL ^ word if isinstance(word, int) else f"~{operand(word)}" for word in words], low, high)

    def sign(self, value: Value, width: int) -> Value:
        """The low bits as a signed number of this width, which is above 64."""
        count = words_of(width)
        words = [value.word(index) for index in range(count)]
        half = 1 << (width - 1) % WORD
        if width % WORD:
            masked = _bitwise("&", words[-1], 2 * half - 1, FULL, 2 * half - 1)
            words[-1] = _minus(_bitwise("^", masked, half, FULL, half), half)
        return wide(words, -(1 << (width - 1)), (1 << (width - 1)) - 1)

    # Shifts by a known count

    def shift_left(self, value: Value, shift: int, need: Need) -> Value:
        if value.low < 0:
            count, low, high = _bounded(value.low << shift, value.high << shift, need)
        else:
            count, low, high = _bounded(0, value.ones << shift, need)
        whole, bits = divmod(shift, WORD)
        source = [value.word(index) for index in range(count - whole)] if count > whole else []
        if bits:
            source = [self._held(word) for word in source]
        found: list[Word] = [0] * min(whole, count)
        known = 0
        for index in range(len(found), count):
            word, ones = _shifted(source[index - whole], value.word_ones(index - whole), bits, FULL)
            if bits and index > whole:
                carried, more = _shifted(
                    source[index - whole - 1], value.word_ones(index - whole - 1), bits - WORD, FULL
                )
                word, ones = _or(word, carried), ones | more
            found.append(word)
            known |= ones << WORD * index
        return wide(found, low, high, known)

    def shift_right(self, value: Value, shift: int, need: Need) -> Value:
        """`value` is right modulo `2**(need + shift)`."""
        if value.low < 0:
            count, low, high = _bounded(value.low >> shift, value.high >> shift, need)
        else:
            count, low, high = _bounded(0, value.ones >> shift, need)
        whole, bits = divmod(shift, WORD)
        source = [value.word(index + whole) for index in range(count + 1)]
        if bits and count > 1:
            source = [self._held(word) for word in source]
        found: list[Word] = []
        known = 0
        for index in range(count):
            wanted = FULL if need is None else (1 << max(0, need - WORD * index)) - 1 & FULL
            word, ones = _shifted(source[index], value.word_ones(index + whole), -bits, FULL)
            if bits:
                carried, more = _shifted(source[index + 1], value.word_ones(index + whole + 1), WORD - bits, wanted)
                word, ones = _or(word, carried), ones | more
            found.append(word)
            known |= ones << WORD * index
        return wide(found, low, high, known)

    # Choices

    def choose(self, condition: str, then: Value, otherwise: Value, need: Need) -> Value:
        """`condition ? then : otherwise`."""
        if not is_atom(condition):
            condition = self._writer.temporary("u8", condition)
        count, low, high = _bounded(min(then.low, otherwise.low), max(then.high, otherwise.high), need)
        found: list[Word] = []
        known = 0
        for index in range(count):
            one, other = then.word(index), otherwise.word(index)
            known |= (then.word_ones(index) | otherwise.word_ones(index)) << WORD * index
            found.append(one if one == other else f"{condition} ? {_literal(one, Kind.U64)} : {_literal(other)}")
        return wide(found, low, high, known)

    def same(self, op: str, left: Value, right: Value) -> str:
        """`op` is one of == !=."""
        count = _common(left, right)
        pairs = [(left.word(index), right.word(index)) for index in range(count)]
        if any(isinstance(one, int) and isinstance(other, int) and one != other for one, other in pairs):
            return str(int(op == "!="))
        pairs = [pair for pair in pairs if pair[0] != pair[1]]
        if not pairs:
            return str(int(op == "=="))
        if len(pairs) == 1:
            return f"{_literal(pairs[0][0])} {op} {_literal(pairs[0][1])}"
        differences = [_bitwise("^", one, other, FULL, FULL) for one, other in pairs]
        return f"({' | '.join(_literal(word) for word in differences)}) {op} 0"

    def ordered(self, op: str, left: Value, right: Value) -> str:
        """`op` is one of < <= > >=."""
        count = _common(left, right)
        ones, others = self._words(left, count), self._words(right, count)
        strict = op[0]
        found = _test(op, ones[0], others[0])
        for index in range(1, count):
            one, other = ones[index], others[index]
            if one == other:
                continue
            signed = index == count - 1 and (left.low < 0 or right.low < 0)
            same = f"{_literal(one)} == {_literal(other)}"
            if not signed and (other if strict == "<" else one) == 0:  # nothing is below zero
                found = f"{same} && {operand(found)}"
            elif signed:
                found = f"({_signed(one)} {strict} {_signed(other)}) || ({same} && {operand(found)})"
            else:
                found = f"({_test(strict, one, other)}) || ({same} && {operand(found)})"
        return found


def _literal(word: Word, kind: Kind | None = None) -> str:
    return operand(word) if isinstance(word, str) else number(word, kind)


def _signed(word: Word) -> str:
    return f"(s64){operand(word)}" if isinstance(word, str) else number(word - (word >> 63 << 64))


def _test(op: str, left: Word, right: Word) -> str:
    if isinstance(left, int) and isinstance(right, int):
        return "1" if {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[op] else "0"
    return f"{_literal(left)} {op} {_literal(right)}"


def _common(left: Value, right: Value) -> int:
    """How many words it takes to compare two values."""
    low, high = min(left.low, right.low), max(left.high, right.high)
    return words_of(high.bit_length()) if low >= 0 else signed_words(low, high)


def _bits(value: Value) -> int:
    return max((~value.low if value.low < 0 else value.low).bit_length(), value.high.bit_length())


def _bounded(low: int, high: int, need: Need) -> tuple[int, int, int]:
    """How many words a result has, and its bounds."""
    count = words_of(high.bit_length()) if low >= 0 else signed_words(low, high)
    if need is None or (words_of(need) > count or (words_of(need) == count and low >= 0)):
        return count, low, high
    count = words_of(need)
    return count, 0, (1 << WORD * count) - 1


def _plus(left: Word, right: Word) -> Word:
    if left == 0:
        return right
    if right == 0:
        return left
    if isinstance(left, int) and isinstance(right, int):
        return (left + right) & FULL
    return joined(_literal(left), "+", _literal(right))


def _minus(left: Word, right: Word) -> Word:
    if right == 0:
        return left
    if isinstance(left, int) and isinstance(right, int):
        return (left - right) & FULL
    return f"{_literal(left)} - {_literal(right)}"


def _less(left: Word, right: Word) -> Word:
    if right == 0:
        return 0
    if isinstance(left, int) and isinstance(right, int):
        return int(left < right)
    return f"(u64)({_literal(left)} < {_literal(right)})"


def _or(left: Word, right: Word) -> Word:
    return _bitwise("|", left, right, FULL, FULL)


def _bitwise(op: str, left: Word, right: Word, left_ones: int, right_ones: int) -> Word:
    """An operator on two words of which only these bits may be set."""
    if isinstance(left, int) and isinstance(right, int):
        return left & right if op == "&" else left | right if op == "|" else left ^ right
    for one, other, ones in ((left, right, left_ones), (right, left, right_ones)):
        if op == "&" and isinstance(other, int):
            if ones & other == 0:
                return 0
            if ones & ~other == 0:
                return one
        elif op != "&" and other == 0:
            return one
        elif op == "|" and isinstance(other, int) and ones & ~other == 0:
            return other
    return joined(_mask(left), op, _mask(right))


def _mask(word: Word) -> str:
    return operand(word) if isinstance(word, str) else f"{word:#x}" if 9 < word < 1 << 31 else number(word)


def _shifted(word: Word, ones: int, left: int, wanted: int) -> tuple[Word, int]:
    """A word moved to the left, or to the right below zero, of which only some bits are wanted; and its bits."""
    moved = ones << left & FULL if left >= 0 else ones >> -left
    if moved & wanted == 0:
        return 0, 0
    if isinstance(word, int):
        return (word << left & FULL if left >= 0 else word >> -left), moved
    if left == 0:
        return word, moved
    return f"{operand(word)} {'<<' if left > 0 else '>>'} {abs(left)}", moved
