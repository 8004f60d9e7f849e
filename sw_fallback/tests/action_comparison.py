"""Actions run on random states by the python engine and as C, compared."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from sw_fallback.tests.host_compiler import run, runtime

from softswitch.engine.python.context import Context as PythonContext
from softswitch.engine.python.statements import Statements as PythonStatements
from softswitch.engine.python.terms import bits
from softswitch.engine.python.writer import Writer as PythonWriter
from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.layout import size_of
from softswitch.engine.xdp.statements import Statements
from softswitch.engine.xdp.terms import WORD, Term, words_of
from softswitch.engine.xdp.writer import Writer
from softswitch.errors import UnsupportedConstruct
from softswitch.program import Program
from softswitch.program.controls import Action

STATES = 12
CELLS = 4
"""Cells of each register and counter that are there: indices are small, and often past the end."""
PRANDOM = 0x9E3779B9
_FAKES = """
#define bpf_get_prandom_u32() %#xu
struct lock { int held; };
static int held;
static struct lock *lock(struct lock *wanted) { held += !wanted->held; wanted->held = 1; return wanted; }
static void unlock(struct lock *lock) { held -= lock->held; lock->held = 0; }
struct meter { int unused; };
static struct meter the_meter;
#define bpf_map_lookup_elem(cells, index) (*(index) < %d ? &the_meter : NULL)
#define meter_execute(meter, now, amount) 0
#define packet_time(s) 0
static u64 *cell(u64 *cells, u32 words, u32 index) { return index < %d ? &cells[words * index] : NULL; }
#define cell_of(cells, index) cell((*(cells))[0], sizeof((*(cells))[0]) / 8, index)
static void count(u64 *cells, u32 index, u32 octets)
{
	if (index < %d) {
		cells[2 * index] += 1;
		cells[2 * index + 1] += octets;
	}
}
#define count_at(cells, index, octets) count(*(cells), index, octets)
"""  # fmt: skip
_OWN = {
    "length": 32, "digest": 32, "clone_session": 32, "clone_list": 32, "resubmit_list": 32, "recirculate_list": 32,
    "cut": 32, "exited": 8,
}  # fmt: skip
"""Members of `struct state` that are variables of the python engine too."""


class Numbers:
    def __getitem__(self, name: str, /) -> int:
        return 0


@dataclass(slots=True)
class _Member:
    """A member of `struct state` and the python engine's variable."""

    c: str
    python: str
    width: int
    signed: bool = False


@dataclass(slots=True)
class _Case:
    action: Action
    text: str
    """The C body."""
    code: str
    """The python engine's."""
    arguments: list[list[int]] = field(default_factory=list)


def _members(context: Context, python: PythonContext) -> list[_Member]:
    found = []
    kept = set(python.metadata_variables()) | set(python.header_variables())
    for header in context.program.headers.values():
        if not header.metadata:
            found.append(_Member(context.names.valid(header.name), python.names.valid(header.name), 1))
        for item in header.type.fields:
            name = python.names.field(header.name, item.name)
            if context.keeps(header.name, item.name):
                shared = name if name in kept else ""
                c = context.names.field(header.name, item.name)
                found.append(_Member(c, shared, item.width, item.signed))
    return found


class ActionComparison:
    """A program's actions in both languages."""

    def __init__(self, program: Program, seed: int) -> None:
        self._program = program
        self._context = Context(program, Numbers(), drop_port=511, cpu_port=255, cpus=1)
        self._python = PythonContext(program, Numbers(), 511)
        self._members = _members(self._context, self._python)
        self._draw = random.Random(seed)
        self._states = [{m.c: self._value(m.width, m.signed) for m in self._members} for _ in range(STATES)]
        for state in self._states:
            for member in self._members:
                if self._draw.getrandbits(1) and member.width >= 8:
                    state[member.c] = self._draw.randrange(2 * CELLS)  # fields are indices too
        self._registers = {
            name: [self._value(item.width) for _ in range(CELLS)] for name, item in program.registers.items()
        }
        self.refused: list[str] = []

    def _value(self, width: int, signed: bool = False) -> int:
        value = self._draw.choice((0, (1 << width) - 1, self._draw.getrandbits(width), self._draw.getrandbits(width)))
        half = 1 << width - 1
        return (value ^ half) - half if signed else value

    def cases(self) -> list[_Case]:
        found = []
        for action in self._program.actions.values():
            if not action.body:
                continue
            writer, python = Writer(depth=1), PythonWriter()
            widths = [parameter.width for parameter in action.parameters]
            try:
                Statements(self._context, writer, self._parameters(widths)).write_action(action.body)
            except UnsupportedConstruct as error:
                self.refused.append(str(error))
                continue
            params = {index: bits(f"argument{index}", width) for index, width in enumerate(widths)}
            PythonStatements(self._python, python, params).write(action.body)
            arguments = [[self._value(width) for width in widths] for _ in range(STATES)]
            found.append(_Case(action, writer.text(), python.text(), arguments))
        return found

    @staticmethod
    def _parameters(widths: list[int]) -> dict[int, Term]:
        names = [f"row->argument{index}" for index in range(len(widths))]
        return {
            index: Term(
                (name,) if width <= WORD else tuple(f"{name}[{word}]" for word in range(words_of(width))),
                0, (1 << width) - 1, atom=True,
            )
            for index, (name, width) in enumerate(zip(names, widths, strict=True))
        }  # fmt: skip

    # C

    def source(self, cases: list[_Case]) -> str:
        writer = Writer()
        writer.line(runtime("hashes.h"))
        writer.line(_FAKES % (PRANDOM, CELLS, CELLS, CELLS))
        writer.line("struct state {")
        for text, _ in self._layout():
            writer.line(text)
        for header in self._program.headers.values():
            writer.line(f"u16 {self._context.names.place(header.name)};")
        writer.line("u8 moved; u16 size;\n} __attribute__((packed));")
        values = ", ".join(f"{{.length = 100, .size = 100, .cut = -1, {self._state(state)}}}" for state in self._states)
        writer.line(f"static const struct state states[] = {{{values}}};")
        self._arrays(writer)
        writer.line("static void dump(const void *from, unsigned size)")
        with writer.block(""), writer.block("for (const u8 *at = from; size--; at++)"):
            writer.line('printf("%02x", *at);')
        for number, case in enumerate(cases):
            self._function(writer, number, case)
        with writer.block("int main(void)"), writer.block(f"for (int i = 0; i < {STATES}; i++)"):
            for number in range(len(cases)):
                writer.line(f"run{number}(i);")
        return writer.text()

    def _layout(self) -> list[tuple[str, int]]:
        """Declarations of the members that are compared, and their sizes in bytes."""
        found = [("u8 failed;", 1)]
        for member in self._members:
            size = size_of(member.width)
            wide = f"u64 {member.c}[{size // 8}];"
            kind = f"{'s' if member.signed else 'u'}{8 * size}"
            found.append((wide if member.width > WORD else f"{kind} {member.c};", size))
        return found + [(f"u{width} {name};", width // 8) for name, width in _OWN.items()]

    def _state(self, state: dict[str, int]) -> str:
        return ", ".join(f".{m.c} = {_initialiser(state[m.c], m.width)}" for m in self._members)

    def _arrays(self, writer: Writer) -> None:
        """Registers, counters and meters, how they start and how they end."""
        names, lines, ends = self._context.names, [], []
        for name, register in self._program.registers.items():
            stem, words = names.object(name), words_of(register.width)
            cells = [_initialiser(value, max(register.width, WORD + 1)) for value in self._registers[name]]
            writer.line(f"static const u64 {stem}_start[{CELLS}][{max(words, 2)}] = {{{', '.join(cells)}}};")
            writer.line(f"static u64 {stem}_cells[{CELLS}][{words}]; static struct lock {stem}_lock;")
            lines.append(f"for (int i = 0; i < {CELLS}; i++) memcpy({stem}_cells[i], {stem}_start[i], {8 * words});")
            ends.append(f"dump({stem}_cells, sizeof({stem}_cells));")
        for counter in self._program.counters:
            stem = names.object(counter)
            writer.line(f"static u64 {stem}_cells[{2 * CELLS}];")
            lines.append(f"memset({stem}_cells, 0, sizeof({stem}_cells));")
            ends.append(f"dump({stem}_cells, sizeof({stem}_cells));")
        for meter in self._program.meters:
            writer.line(f"static int {names.object(meter)}_cells;")
        writer.line("static void dump(const void *from, unsigned size);")
        for head, body in (("start", lines), ("end", ends)):
            with writer.block(f"static void {head}(void)"):
                for text in body:
                    writer.line(text)

    def _function(self, writer: Writer, number: int, case: _Case) -> None:
        writer.line(f"struct row{number} {{")
        for index, parameter in enumerate(case.action.parameters):
            size = size_of(parameter.width)
            wide = f"u64 argument{index}[{size // 8}];"
            writer.line(wide if parameter.width > WORD else f"u{8 * size} argument{index};")
        writer.line("};")
        rows = []
        for values in case.arguments:
            pairs = zip(values, case.action.parameters, strict=True)
            rows.append(f"{{{', '.join(_initialiser(value, parameter.width) for value, parameter in pairs)}}}")
        writer.line(f"static const struct row{number} rows{number}[] = {{{', '.join(rows)}}};")
        writer.line(f"static void case{number}(struct state *s, const struct row{number} *row)\n{{\n{case.text}}}")
        with writer.block(f"static void run{number}(int i)"):
            compared = sum(size for _, size in self._layout())
            writer.line("struct state s = states[i];")
            for text in ("start();", f"case{number}(&s, &rows{number}[i]);", f"dump(&s, {compared});", "end();"):
                writer.line(text)
            writer.line('printf("%02x\\n", held);')

    # Python

    def expected(self, case: _Case, number: int) -> dict[str, int | list[int]]:
        """What the python engine's code leaves, by the names of the C."""
        names = self._python.names
        scope: dict[str, object] = {**self._python.objects, "AssertionFailed": AssertionError, "now": 0, "octets": 100}
        scope |= {name: {"length": 100, "cut": 0xFFFFFFFF}.get(name, 0) for name in _OWN}
        scope |= dict.fromkeys(self._python.header_variables(), 0)
        scope |= {member.python: self._states[number][member.c] for member in self._members if member.python}
        scope |= {f"argument{index}": value for index, value in enumerate(case.arguments[number])}
        cells = {name: _Cells(values) for name, values in self._registers.items()}
        scope |= {names.object("cells", name): values for name, values in cells.items()}
        counted = {name: ([0] * CELLS, [0] * CELLS) for name in self._program.counters}
        for name, (packets, octets) in counted.items():
            scope |= {names.object("packets", name): _Cells(packets, counted[name][0])}
            scope |= {names.object("octets", name): _Cells(octets, counted[name][1])}
        scope |= {names.object("meters", name): _Cells([None] * CELLS) for name in self._program.meters}
        scope["random_between"] = lambda low, high: low + PRANDOM % (high - low + 1)
        failed = 0
        try:
            exec(compile(case.code, "<action>", "exec"), scope)
        except AssertionError:
            failed = 1
        found: dict[str, int | list[int]] = {"failed": failed}
        for member in self._members:
            if member.python:
                found[member.c] = int(str(scope[member.python]))
        found |= {name: int(str(scope[name])) for name in _OWN}
        found |= {name: list(values.data) for name, values in cells.items()}
        for name, (packets, octets) in counted.items():
            found[name] = [value for pair in zip(packets, octets, strict=True) for value in pair]
        return found

    def found(self, line: str) -> dict[str, int | list[int]]:
        """What the C code left."""
        data = bytes.fromhex(line)
        place = 0

        def take(size: int, *, signed: bool = False) -> int:
            nonlocal place
            place += size
            return int.from_bytes(data[place - size : place], "little", signed=signed)

        found: dict[str, int | list[int]] = {"failed": take(1)}
        for member in self._members:
            value = take(size_of(member.width), signed=member.signed)
            if member.python:
                found[member.c] = value
        found |= {name: take(width // 8) for name, width in _OWN.items()}
        for name, register in self._program.registers.items():
            found[name] = [take(8 * words_of(register.width)) for _ in range(CELLS)]
        for counter in self._program.counters:
            found[counter] = [take(8) for _ in range(2 * CELLS)]
        assert take(1) == 0, "a lock is held for ever"
        return found

    def check(self, folder: Path) -> int:
        """Compare all actions; returns how many."""
        cases = self.cases()
        lines = iter(run(self.source(cases), folder))
        for number in range(STATES):
            for case in cases:
                assert self.found(next(lines)) == self.expected(case, number), f"{case.code}\n{case.text}"
        return len(cases)


class _Cells(list[object]):
    """An array of which only the first cells are there; the rest takes what comes and gives nothing."""

    def __init__(self, values: list[object] | list[int] | list[None], data: list[int] | None = None) -> None:
        super().__init__(values)
        self.data: list[int] = data if data is not None else [int(str(value)) for value in values if value is not None]

    def __getitem__(self, index: object) -> object:
        assert isinstance(index, int)
        return self.data[index] if self.data else None

    def __setitem__(self, index: object, value: object) -> None:
        assert isinstance(index, int)
        self.data[index] = int(str(value))


def _initialiser(value: int, width: int) -> str:
    if width <= WORD:
        return f"{value & (1 << WORD) - 1:#x}ull"
    words = [value >> WORD * word & (1 << WORD) - 1 for word in range(words_of(width))]
    return f"{{{', '.join(f'{word:#x}ull' for word in words)}}}"
