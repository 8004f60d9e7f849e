"""Expressions in C against the python engine's: the same trees over the same fields."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sw_fallback.tests.host_compiler import run, warnings
from sw_fallback.tests.xdp_programs import (
    HEADERS,
    REGISTERS,
    SIGNED,
    WIDTHS,
    State,
    c_states,
    field_of,
    random_state,
    state_program,
)

from softswitch.engine.python.expressions import Expressions as PythonExpressions
from softswitch.engine.python.names import Names
from softswitch.engine.python.terms import bits
from softswitch.engine.xdp.expressions import Expressions
from softswitch.engine.xdp.terms import WORD, Condition, Term, words_of
from softswitch.engine.xdp.writer import Writer
from softswitch.errors import UnsupportedConstruct
from softswitch.program.expressions import (
    BINARY_BOOLEAN,
    VALID_FIELD,
    Binary,
    BinaryOp,
    BoolConstant,
    Choice,
    Constant,
    Expression,
    FieldRef,
    HeaderRef,
    Param,
    RegisterRef,
    Unary,
    UnaryOp,
    Valid,
    walk,
)

STATES = 12
OUT = 12
"""Words of a result that are compared."""
PARAMS = (1, 9, 16, 32, 48, 64, 128, 145)
_CELLS = """
static u64 narrow_cells[8] = {%s}, full_cells[5] = {%s};
static u64 *cell(u64 *cells, u32 size, u32 index) { return index < size ? &cells[index] : NULL; }
#define cell_of(cells, index) cell(*(cells), sizeof(*(cells)) / 8, index)
"""


def _mask(width: int) -> Constant:
    return Constant((1 << width) - 1)


def _cut(expression: Expression, width: int) -> Expression:
    return Binary(BinaryOp.AND, expression, _mask(width))


widths = st.sampled_from(WIDTHS)


def _leaf(width: int) -> st.SearchStrategy[Expression]:
    """A field, parameter or number of this width."""
    narrower = [item for item in WIDTHS if item <= width]
    given_ = [index for index, item in enumerate(PARAMS) if item <= width]
    return st.one_of(
        st.sampled_from(narrower).map(lambda item: field_of("meta", item)),
        st.sampled_from(narrower).map(lambda item: field_of("one", item)),
        st.sampled_from(given_).map(lambda index: Param(index, PARAMS[index])),
        st.integers(0, (1 << width) - 1).map(Constant),
    )


@st.composite
def typed(draw: st.DrawFn, width: int, depth: int) -> Expression:
    """An expression of a `bit<width>`, as the compiler writes them: cut to its width after each operator."""
    if depth == 0:
        return draw(_leaf(width))
    kind = draw(st.integers(0, 11))
    if kind <= 2:
        op = draw(st.sampled_from([BinaryOp.ADD, BinaryOp.SUBTRACT, BinaryOp.AND, BinaryOp.OR, BinaryOp.XOR]))
        return _cut(Binary(op, draw(typed(width, depth - 1)), draw(typed(width, depth - 1))), width)
    if kind == 3:
        return _cut(Unary(UnaryOp.INVERT, draw(typed(width, depth - 1))), width)
    if kind == 4:  # a slice of something wider
        wider = draw(widths.filter(lambda item: item >= width))
        start = draw(st.integers(0, wider - width))
        moved = _cut(Binary(BinaryOp.SHIFT_RIGHT, draw(typed(wider, depth - 1)), Constant(start)), wider)
        return _cut(moved, width)
    if kind == 5:  # assignment to a slice
        high = draw(st.integers(0, width - 1))
        low = draw(st.integers(0, high))
        hole = (1 << high + 1) - (1 << low)
        part = _cut(Binary(BinaryOp.SHIFT_LEFT, draw(typed(high - low + 1, depth - 1)), Constant(low)), width)
        rest = Binary(BinaryOp.AND, draw(typed(width, depth - 1)), Constant((1 << width) - 1 & ~hole))
        return Binary(BinaryOp.OR, rest, Binary(BinaryOp.AND, part, Constant(hole)))
    if kind == 6:
        return Choice(draw(boolean(depth - 1)), draw(typed(width, depth - 1)), draw(typed(width, depth - 1)))
    if kind == 7:
        op = draw(st.sampled_from([BinaryOp.SHIFT_LEFT, BinaryOp.SHIFT_RIGHT]))
        count = draw(st.one_of(st.integers(0, width + 3).map(Constant), typed(8, depth - 1)))
        return _cut(Binary(op, draw(typed(width, depth - 1)), count), width)
    if kind == 8:
        op = draw(st.sampled_from([BinaryOp.ADD, BinaryOp.SUBTRACT]))
        total = Binary(op, draw(typed(width, depth - 1)), draw(typed(width, depth - 1)))
        return Binary(BinaryOp.SATURATE, total, Constant(width))
    if kind == 9:
        op = draw(st.sampled_from([BinaryOp.MULTIPLY, BinaryOp.DIVIDE, BinaryOp.MODULO]))
        return _cut(Binary(op, draw(typed(min(width, 64), depth - 1)), draw(typed(min(width, 64), depth - 1))), width)
    if kind == 10:
        return _cut(draw(signed(draw(st.sampled_from(SIGNED)), depth - 1)), width)
    return _cut(Unary(UnaryOp.BOOL_TO_DATA, draw(boolean(depth - 1))), width)


@st.composite
def signed(draw: st.DrawFn, width: int, depth: int) -> Expression:
    """An expression of an `int<width>`."""
    if depth == 0:
        half = 1 << width - 1
        number = st.integers(-half, half - 1).map(Constant)
        return draw(st.one_of(number, *[st.just(field_of(header, width, signed=True)) for header in ("meta", "one")]))
    kind = draw(st.integers(0, 5))
    if kind <= 1:
        op = draw(st.sampled_from([BinaryOp.ADD, BinaryOp.SUBTRACT, BinaryOp.MULTIPLY]))
        if width > 32 and op is BinaryOp.MULTIPLY:
            op = BinaryOp.XOR
        total = Binary(op, draw(signed(width, depth - 1)), draw(signed(width, depth - 1)))
        cut = draw(st.sampled_from([BinaryOp.SIGNED_WRAP, BinaryOp.SATURATE_SIGNED]))
        return Binary(cut, total, Constant(width))
    if kind == 2:
        op = draw(st.sampled_from([BinaryOp.SHIFT_LEFT, BinaryOp.SHIFT_RIGHT]))
        moved = Binary(op, draw(signed(width, depth - 1)), Constant(draw(st.integers(0, width))))
        return Binary(BinaryOp.SIGNED_WRAP, moved, Constant(width))
    if kind == 3:
        return Binary(BinaryOp.SIGNED_WRAP, draw(typed(draw(widths), depth - 1)), Constant(width))
    if kind == 4:
        return Choice(draw(boolean(depth - 1)), draw(signed(width, depth - 1)), draw(signed(width, depth - 1)))
    return Binary(BinaryOp.SIGNED_WRAP, Unary(UnaryOp.INVERT, draw(signed(width, depth - 1))), Constant(width))


@st.composite
def boolean(draw: st.DrawFn, depth: int) -> Expression:
    """A condition."""
    kind = draw(st.integers(0, 8))
    if depth == 0 or kind == 0:
        return draw(
            st.one_of(
                st.booleans().map(BoolConstant),
                st.sampled_from(HEADERS).map(lambda header: Valid(HeaderRef(header))),
                st.sampled_from(HEADERS).map(
                    lambda header: Unary(UnaryOp.DATA_TO_BOOL, FieldRef(header, VALID_FIELD, 1))
                ),
            )
        )
    if kind == 1:
        return Unary(UnaryOp.NOT, draw(boolean(depth - 1)))
    if kind == 2:
        op = draw(st.sampled_from([BinaryOp.BOTH, BinaryOp.EITHER, BinaryOp.EQUAL, BinaryOp.NOT_EQUAL]))
        return Binary(op, draw(boolean(depth - 1)), draw(boolean(depth - 1)))
    if kind == 3:
        return Unary(UnaryOp.DATA_TO_BOOL, draw(typed(draw(widths), depth - 1)))
    op = draw(st.sampled_from(sorted(BINARY_BOOLEAN - {BinaryOp.BOTH, BinaryOp.EITHER}, key=str)))
    if kind == 4:
        width = draw(st.sampled_from(SIGNED))
        return Binary(op, draw(signed(width, depth - 1)), draw(signed(width, depth - 1)))
    width = draw(widths)
    return Binary(op, draw(typed(width, depth - 1)), draw(st.one_of(typed(width, depth - 1), _leaf(width))))


@st.composite
def untyped(draw: st.DrawFn, depth: int) -> Expression:
    """Operators put together anyhow: values grow without end and go below zero."""
    if depth == 0:
        return draw(st.one_of(_leaf(draw(widths)), st.integers(-(1 << 70), 1 << 70).map(Constant), signed(33, 0)))
    kind = draw(st.integers(0, 6))
    if kind <= 3:
        op = draw(
            st.sampled_from(
                [
                    BinaryOp.ADD,
                    BinaryOp.SUBTRACT,
                    BinaryOp.MULTIPLY,
                    BinaryOp.AND,
                    BinaryOp.OR,
                    BinaryOp.XOR,
                    BinaryOp.DIVIDE,
                    BinaryOp.MODULO,
                ]
            )
        )
        return Binary(op, draw(untyped(depth - 1)), draw(untyped(depth - 1)))
    if kind == 4:
        op = draw(st.sampled_from([BinaryOp.SHIFT_LEFT, BinaryOp.SHIFT_RIGHT]))
        return Binary(op, draw(untyped(depth - 1)), Constant(draw(st.integers(0, 70))))
    if kind == 5:
        return Unary(UnaryOp.INVERT, draw(untyped(depth - 1)))
    name = draw(st.sampled_from(sorted(REGISTERS)))
    return RegisterRef(name, draw(st.one_of(typed(3, 1), untyped(depth - 1))))


class _Comparison:
    """Both translations of many expressions, over a few states."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._context = state_program()
        draw = random.Random(11)
        self._states = [random_state(draw) for _ in range(STATES)]
        self._cells = {
            name: [draw.getrandbits(item.width) for _ in range(item.size)] for name, item in REGISTERS.items()
        }
        self._arguments = [draw.choice((draw.getrandbits(width), (1 << width) - 1)) for width in PARAMS]
        self._names = Names()
        params = {index: bits(f"argument{index}", width) for index, width in enumerate(PARAMS)}
        self._python = PythonExpressions(self._context.program, self._names, params)
        self._scopes = [self._scope(state) for state in self._states]

    def _scope(self, state: State) -> dict[str, object]:
        found: dict[str, object] = {}
        for (header, name), value in state.items():
            valid = name == VALID_FIELD
            found[self._names.valid(header) if valid else self._names.field(header, name)] = value
        found |= {self._names.object("cells", name): cells for name, cells in self._cells.items()}
        return found | {f"argument{index}": value for index, value in enumerate(self._arguments)}

    def expected(self, expression: Expression) -> list[int]:
        """The values of an expression in each state."""
        code = compile(self._python.integer(expression).text, "<expression>", "eval")
        return [int(eval(code, scope)) for scope in self._scopes]

    def _params(self) -> dict[int, Term]:
        return {
            index: Term(
                (f"argument{index}",)
                if width <= WORD
                else tuple(f"argument{index}[{w}]" for w in range(words_of(width))),
                0,
                (1 << width) - 1,
                atom=True,
            )
            for index, width in enumerate(PARAMS)
        }

    def _function(self, writer: Writer, number: int, expression: Expression, width: int) -> list[Term | Condition]:
        """Write a function that leaves the exact value, the low bits and the condition; those that can be had."""
        made: list[Term | Condition] = []
        body = Writer(depth=1)
        expressions = Expressions(self._context, body, self._params())
        for number_ in range(3):
            try:
                made.append(
                    expressions.integer(expression)
                    if number_ == 0
                    else expressions.low_bits(expression, width)
                    if number_ == 1
                    else expressions.condition(expression)
                )
            except UnsupportedConstruct:
                assert any(_may_be_refused(part) for part in walk(expression)), expression
                return made
            last = made[-1]
            texts = last.words if isinstance(last, Term) else (last.text,)
            for index, text in enumerate(texts[:OUT]):
                body.line(f"out[{OUT * number_ + index}] = {text};")
        writer.line(f"static void case{number}(struct state *s, u64 *out)\n{{\n{body.text()}}}")
        return made

    def check(self, cases: Sequence[tuple[Expression, int]]) -> list[str]:
        """What differs, in words."""
        writer = Writer()
        listed = [", ".join(f"{cell}ull" for cell in self._cells[name]) for name in ("narrow", "full")]
        writer.line(_CELLS % tuple(listed))
        writer.line(c_states(self._context, self._states))
        for index, (width, value) in enumerate(zip(PARAMS, self._arguments, strict=True)):
            words = ", ".join(f"{value >> WORD * w & (1 << WORD) - 1:#x}ull" for w in range(words_of(width)))
            size = 8 if width <= 8 else 16 if width <= 16 else 32 if width <= 32 else 64
            writer.line(f"static u{size} argument{index}{'[]' if width > WORD else ''} = "
                        f"{f'{{{words}}}' if width > WORD else words};")  # fmt: skip
        done = []
        for expression, width in cases:
            made = self._function(writer, len(done), expression, width)
            if len(made) == 3:
                done.append((expression, width, made))
        with writer.block("int main(void)"), writer.block(f"for (int i = 0; i < {STATES}; i++)"):
            writer.line(f"u64 out[{3 * OUT}];")
            for number in range(len(done)):
                writer.line(f"case{number}(&states[i], out);")
                writer.line(f'for (int w = 0; w < {3 * OUT}; w++) printf("%llx ", out[w]);')
                writer.line("putchar(10);")
        lines = iter(run(writer.text(), self._folder))
        assert warnings(self._folder) == []
        expected = [self.expected(expression) for expression, _, _ in done]
        wrong = []
        for state in range(STATES):
            for (expression, width, made), values in zip(done, expected, strict=True):
                words = [int(word, 16) for word in next(lines).split()]
                wrong += [f"{what}: {expression!r}" for what in _differences(made, width, words, values[state])]
        assert len(done) > 0.3 * len(cases)
        return wrong


def _may_be_refused(part: Expression) -> bool:
    return isinstance(part, Binary) and part.op in (
        BinaryOp.MULTIPLY, BinaryOp.DIVIDE, BinaryOp.MODULO, BinaryOp.SHIFT_LEFT, BinaryOp.SHIFT_RIGHT
    )  # fmt: skip


def _number(term: Term, words: Sequence[int]) -> int:
    """What a term's words say."""
    count = min(len(term.words), OUT)
    total = sum(word << WORD * index for index, word in enumerate(words[:count]))
    return total - (total >> WORD * count - 1 << WORD * count) if term.low < 0 else total


def _differences(made: Sequence[Term | Condition], width: int, words: Sequence[int], value: int) -> list[str]:
    exact, low, _ = made
    assert isinstance(exact, Term)
    assert isinstance(low, Term)
    found = []
    whole = _number(exact, words)
    if len(exact.words) > OUT:
        whole, value_ = whole % (1 << WORD * OUT), value % (1 << WORD * OUT)
    else:
        value_ = value
    if whole != value_:
        found.append(f"exact {whole:#x}, expected {value:#x}")
    if not exact.low <= value <= exact.high:
        found.append(f"{value:#x} is outside of {exact.low:#x} to {exact.high:#x}")
    part = _number(low, words[OUT:])
    if (part - value) % (1 << min(width, WORD * OUT)):
        found.append(f"low {width} bits {part:#x}, expected {value:#x}")
    if len(low.words) <= OUT and not low.low <= part <= low.high:
        found.append(f"low bits {part:#x} are outside of {low.low:#x} to {low.high:#x}")
    if words[2 * OUT] != (value != 0):
        found.append(f"condition {words[2 * OUT]}, expected {value != 0}")
    return found


_QUICK = settings(
    max_examples=150,
    database=None,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


def _collect(strategy: st.SearchStrategy[Expression], examples: int = 150) -> list[tuple[Expression, int]]:
    """Examples of a strategy, each with how many low bits are wanted."""
    found: list[tuple[Expression, int]] = []

    @settings(_QUICK, max_examples=examples)
    @given(strategy, widths)
    def collect(expression: Expression, width: int) -> None:
        found.append((expression, width))

    collect()
    return found


def _smallest(comparison: _Comparison, cases: Sequence[tuple[Expression, int]]) -> str:
    """The smallest part of what differs that differs by itself."""
    parts = {
        (part, width) for expression, width in cases for part in walk(expression) if not isinstance(part, HeaderRef)
    }
    return min(comparison.check(list(parts)), key=len, default="only as a whole")


@pytest.mark.parametrize(
    "strategy",
    [
        pytest.param(st.one_of([typed(width, 3) for width in WIDTHS]), id="typed"),
        pytest.param(st.one_of([signed(width, 3) for width in SIGNED]), id="signed"),
        pytest.param(boolean(4), id="conditions"),
        pytest.param(untyped(3), id="untyped"),
    ],
)
def test_expressions_equal_those_of_the_python_engine(strategy: st.SearchStrategy[Expression], tmp_path: Path) -> None:
    comparison = _Comparison(tmp_path)
    cases = _collect(strategy)
    wrong = comparison.check(cases)
    if wrong:
        failed = [case for case in cases if any(repr(case[0]) in line for line in wrong)]
        pytest.fail(f"{len(wrong)} differ; the smallest: {_smallest(comparison, failed)}")
