"""Tables, profiles and arrays in C: their rows, their maps and the functions that look a packet up."""

from __future__ import annotations

from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.indexes import index_text
from softswitch.engine.xdp.layout import ArgumentLayout, KeyLayout, RowLayout
from softswitch.engine.xdp.sizes import profile_counts, row_count
from softswitch.engine.xdp.terms import WORD, words_of
from softswitch.engine.xdp.writer import Writer
from softswitch.program.controls import Action, ActionProfile, KeyField, MatchKind, Table
from softswitch.program.expressions import VALID_FIELD

__all__ = ["TableLookups", "is_changeable", "is_fixed"]


def is_fixed(table: Table) -> bool:
    """Whether a table always runs the same action, as those that the compiler makes around plain statements."""
    return not table.key and table.default is not None and table.default.constant


def is_changeable(table: Table) -> bool:
    """Whether the control plane may change the default action."""
    return table.profile is None and (table.default is None or not table.default.constant)


class TableLookups:
    """Writes everything that ingress() and egress() look up and count in."""

    def __init__(self, context: Context) -> None:
        self._context = context
        program = context.program
        self.tables = [
            table
            for table in [*program.ingress.tables.values(), *program.egress.tables.values()]
            if not is_fixed(table)
        ]
        """The tables that have rows, in the order of the program; a table's number is its place here."""
        self.rows = {table.name: self._row(table) for table in self.tables}
        self.members = {name: RowLayout(self._profile_actions(name), context.cells) for name in program.profiles}
        """The rows of profiles' members, by profile name."""

    @property
    def hash_words(self) -> int:
        """The most words of an exact key."""
        keys = (layout.key.words for layout in self.rows.values() if layout.key is not None)
        return max(keys, default=1)

    def _row(self, table: Table) -> RowLayout:
        actions = [self._context.program.actions[number] for number in table.actions]
        return RowLayout.of(
            table, actions, self._context.cells, with_key=table.kind is MatchKind.EXACT and bool(table.key)
        )

    def _profile_actions(self, profile: str) -> list[Action]:
        numbers = dict.fromkeys(number for table in self.tables if table.profile == profile for number in table.actions)
        return [self._context.program.actions[number] for number in numbers]

    def write(self, writer: Writer) -> None:
        """Write actions' numbers, tables, profiles, counters, meters and registers."""
        self._actions(writer)
        for profile in self._context.program.profiles.values():
            self._profile(profile, writer)
        for table in self.tables:
            self._table(table, writer)
        self._arrays(writer)

    def _actions(self, writer: Writer) -> None:
        names = dict.fromkeys(action.name for action in self._context.program.actions.values())
        if not names:
            return
        writer.line("")
        writer.comment("The actions of tables' rows.")
        with writer.block("enum action", tail=";"):
            for name in names:
                writer.line(f"{self._context.names.action(name)} = {self._context.numbers[name]},")

    # Rows

    def _struct(self, stem: str, layout: RowLayout, actions: list[Action], writer: Writer) -> None:
        with writer.block(f"struct {stem}_row", tail=f" __attribute__((aligned({layout.alignment})));"):
            if layout.key is not None:
                writer.line(f"u64 key[{layout.key.words}];")
            writer.line("u32 action;")
            with_arguments = list({action.name: action for action in actions if action.parameters}.values())
            if with_arguments and layout.arguments:
                with writer.block("union", tail=";"):
                    for action in with_arguments:
                        with writer.block("struct", tail=f" {self._context.names.arguments(action.name)};"):
                            for member in self._members(action):
                                writer.line(member)
            if layout.hit_at is not None:
                writer.line("u64 hit;")
            if layout.counters_at is not None:
                writer.line("struct counter counters[COUNTER_CELLS];")
            if layout.meter_at is not None:
                writer.line("struct meter meter;")
        self._check(stem, layout, with_arguments, writer)

    def _members(self, action: Action) -> list[str]:
        members = []
        for parameter, (_, size) in zip(action.parameters, ArgumentLayout(action).offsets, strict=True):
            name = self._context.names.parameter(action.name, parameter.name)
            members.append(f"u64 {name}[{size // 8}];" if parameter.width > WORD else f"u{8 * size} {name};")
        return members

    def _check(self, stem: str, layout: RowLayout, actions: list[Action], writer: Writer) -> None:
        """The compiler's layout and Python's are the same, or this does not compile."""
        writer.line(f'_Static_assert(sizeof(struct {stem}_row) == {layout.size}, "layout.py");')
        for action in actions if layout.arguments else ():
            argument = layout.arguments[action.name]
            name = self._context.names.arguments(action.name)
            for parameter, (offset, _) in zip(action.parameters, argument.offsets, strict=True):
                member = f"{name}.{self._context.names.parameter(action.name, parameter.name)}"
                at = layout.arguments_at + offset
                writer.line(f'_Static_assert(offsetof(struct {stem}_row, {member}) == {at}, "layout.py");')

    # Tables

    def _table(self, table: Table, writer: Writer) -> None:
        stem = self._context.names.object(table.name)
        layout = self.rows[table.name]
        actions = [self._context.program.actions[number] for number in table.actions]
        writer.line("")
        writer.comment(f"table {table.name}", table.location)
        self._struct(stem, layout, actions, writer)
        writer.line(f"TABLE_ROWS({stem}, {row_count(table.size)});")
        if table.key:
            self._find(table, stem, writer)
        if is_changeable(table):
            with writer.block(f"static __always_inline struct {stem}_row *{stem}_default(void)"):
                writer.line(f"return default_row(&{stem}_rows);")

    def _find(self, table: Table, stem: str, writer: Writer) -> None:
        key, found = KeyLayout(table.key), index_text(table, stem)
        for line in found.declarations:
            writer.line(line)
        with writer.block(f"static __always_inline struct {stem}_row *{stem}_find(struct state *s)"):
            words: list[list[str]] = [[] for _ in range(key.words)]
            for part in key.parts:
                for index, text in enumerate(self._key(part.field)):
                    word = f"(u64)({text})" if part.shift else text
                    words[part.word + index].append(f"{word} << {part.shift}" if part.shift else word)
            listed = ", ".join(" | ".join(texts) for texts in words)
            writer.line(f"const u64 key[{key.words}] = {{ {listed} }};")
            writer.line("")
            writer.line(f"return {found.call};")

    def _key(self, field: KeyField) -> list[str]:
        """A key field's words; zero where its header is invalid."""
        target, full = field.target, (1 << field.target.width) - 1
        metadata = self._context.program.headers[target.header].metadata
        if target.field == VALID_FIELD:
            return ["1" if metadata else self._context.valid(target.header)]
        mask = full if field.mask is None else field.mask & full
        texts = []
        term = self._context.term(target)
        for index in range(words_of(target.width)):
            text, part = term.words[index], mask >> WORD * index & (1 << WORD) - 1
            whole = full >> WORD * index & (1 << WORD) - 1
            if target.signed or part != whole:
                text = f"(u64){text} & {part:#x}ull"
            if not metadata:
                text = f"({self._context.valid(target.header)} ? {text} : 0)"
            elif target.signed or part != whole:
                text = f"({text})"
            texts.append(text)
        return texts

    # Profiles and arrays

    def _profile(self, profile: ActionProfile, writer: Writer) -> None:
        stem = self._context.names.object(profile.name)
        writer.line("")
        writer.comment(f"action profile {profile.name}", profile.location)
        self._struct(stem, self.members[profile.name], self._profile_actions(profile.name), writer)
        users = [table for table in self.tables if table.profile == profile.name]
        groups, seats, members = profile_counts(profile, users)
        writer.line(f"PROFILE({stem}, {groups}, {seats}, {members});")

    def _arrays(self, writer: Writer) -> None:
        program, names = self._context.program, self._context.names
        writer.line("")
        for counter in program.counters.values():
            if counter.table is None:
                writer.line(f"COUNTER({names.object(counter.name)}, {counter.size});", counter.location)
        for meter in program.meters.values():
            if meter.table is None:
                writer.line(f"METER({names.object(meter.name)}, {meter.size});", meter.location)
        for register in program.registers.values():
            name, words = names.object(register.name), words_of(register.width)
            writer.line(f"REGISTER({name}, {words}, {register.size});", register.location)
