"""Checksums and the deparser in C.

Three ways for a frame to get its headers back, by what `s->moved` says: fields stored in place where no header came
or went; room made for one header that was added; everything else put together anew. The last one is a function that
the verifier checks on its own, once; a call and its return cost some nanoseconds.
"""

from __future__ import annotations

from softswitch.engine.xdp.calculations import Calculations
from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.expressions import Expressions
from softswitch.engine.xdp.places import Places, addable, has_place
from softswitch.engine.xdp.state import keeps_place
from softswitch.engine.xdp.statements import Statements
from softswitch.engine.xdp.wire import HeaderBytes, copy
from softswitch.engine.xdp.writer import Writer
from softswitch.program.program import Checksum

__all__ = ["DeparserWriter"]

_NO_ROOM = "return -1;"
_OWN_WAYS = 4


class DeparserWriter:
    """Writes `verify`, `update` and `deparse`, each as a body or as functions."""

    def __init__(self, context: Context, writer: Writer, places: Places) -> None:
        self._context = context
        self._writer = writer
        self._places = places
        usage = context.usage
        self._order = [name for name in context.program.deparser if name in usage.extracted | usage.made_valid]
        """Headers that are ever emitted, in order."""
        self._emitted = tuple(dict.fromkeys(self._order))
        self._layouts = {name: HeaderBytes(context, context.program.headers[name]) for name in self._emitted}

    # Checksums

    def verify(self) -> None:
        """The body of `verify`: set `checksum_error` when a checksum is wrong, as far as anything reads it."""
        result = self._context.intrinsic("checksum_error")
        if result is None:
            return
        for checksum in self._context.program.checksums:
            if checksum.verify:
                self._verify(checksum, result)

    def _verify(self, checksum: Checksum, result: str) -> None:
        expressions = Expressions(self._context, self._writer)
        tests = []
        if not self._context.program.headers[checksum.target.header].metadata:
            tests.append(self._context.valid(checksum.target.header))
        if checksum.condition is not None:
            tests.append(expressions.condition(checksum.condition).wrapped())
        with self._writer.block(f"if ({' && '.join(tests)})" if tests else "", checksum.location):
            calculation = self._context.program.calculations[checksum.calculation]
            value = Calculations(self._context, self._writer).render(calculation).text
            with self._writer.block(f"if ({value} != {self._context.term(checksum.target).text})"):
                self._writer.line(f"{result} = 1;")

    def update(self) -> None:
        """The body of `update`: write every checksum that is to be updated."""
        for checksum in self._context.program.checksums:
            if checksum.update:
                self._update(checksum)

    def _update(self, checksum: Checksum) -> None:
        test = ""
        if checksum.condition is not None:
            test = f"if ({Expressions(self._context, self._writer).condition(checksum.condition).text})"
        with self._writer.block(test, checksum.location):
            calculation = self._context.program.calculations[checksum.calculation]
            value = Calculations(self._context, self._writer).render(calculation)
            Statements(self._context, self._writer).assign(checksum.target, value)

    # Headers

    def functions(self) -> None:
        """What `deparse` calls when headers moved."""
        for header in self._own_ways():
            self._writer.line("")
            head = f"static __always_inline int {self._adder(header)}(struct xdp_md *ctx, struct state *s)"
            with self._writer.block(head):
                self._add(header)
        self._writer.line("")
        with self._writer.block("__noinline int rearrange(struct xdp_md *ctx)"):
            self._rearrange()

    def write(self) -> None:
        """The body of `deparse`."""
        line = self._writer.line
        with self._writer.block("if (s->moved)"):
            own = addable(self._context.program, self._context.usage.made_valid)
            for header in self._own_ways():
                with self._writer.block(f"if (s->moved == {2 << own.index(header)})"):
                    line(f"return {self._adder(header)}(ctx, s);")
            line("return rearrange(ctx);")
        if any(self._stores(name) for name in self._emitted):
            self._pointers()
            for name in self._emitted:
                if self._stores(name):
                    self._store_in_place(name)
        line("return 0;")

    def _own_ways(self) -> list[str]:
        """Headers that are added often enough to be worth code of their own: the first of those no frame has."""
        own = addable(self._context.program, self._context.usage.made_valid)
        return [name for name in own if not has_place(self._context, name)][:_OWN_WAYS]

    def _adder(self, header: str) -> str:
        return f"add_{self._context.names.valid(header).removesuffix('_valid')}"

    def _stores(self, name: str) -> bool:
        """Whether a header that was extracted may have to be written back."""
        return has_place(self._context, name) and self._layouts[name].written

    def _pointers(self) -> None:
        self._writer.line("u8 *data = (u8 *)(long)ctx->data, *end = (u8 *)(long)ctx->data_end, *p;")

    def _place(self, name: str) -> str:
        """Where an extracted header was, as a number that the verifier sees the bounds of."""
        if not keeps_place(self._context, self._places, name):
            return str(self._places.constant(name) or 0)
        return f"({self._context.place(name)} & {self._places.furthest(name):#x})"

    def _point(self, place: str, size: int) -> None:
        self._writer.line(f"p = data + {place};")
        with self._writer.block(f"if (p + {size} > end)"):
            self._writer.line(_NO_ROOM)

    def _store_in_place(self, name: str) -> None:
        layout = self._layouts[name]
        with self._writer.block(f"if ({self._context.valid(name)})"):
            self._point(self._place(name), layout.size)
            layout.store(self._writer, "p", whole=False)

    # One header added

    def _add(self, header: str) -> None:
        """The frame grows by the header, what was before it moves to the front, what is behind it stays."""
        line, size = self._writer.line, self._layouts[header].size
        index = self._emitted.index(header)
        with self._writer.block(f"if (bpf_xdp_adjust_head(ctx, -{size}))"):
            line(_NO_ROOM)
        self._pointers()
        line("u32 to = 0;")
        for name in self._emitted[:index]:
            if has_place(self._context, name):
                self._move_to_front(name, size)
        self._point("to", size)
        self._layouts[header].store(self._writer, "p", whole=True)
        for name in self._emitted[index + 1 :]:
            if self._stores(name):
                with self._writer.block(f"if ({self._context.valid(name)})"):
                    self._point(f"{self._place(name)} + {size}", self._layouts[name].size)
                    self._layouts[name].store(self._writer, "p", whole=False)
        line("return 0;")

    def _move_to_front(self, name: str, distance: int) -> None:
        layout, place = self._layouts[name], self._place(name)
        with self._writer.block(f"if ({self._context.valid(name)})"):
            self._point(place, distance + layout.size)
            if not layout.all_written:
                for text in copy("p", f"p + {distance}", layout.size):
                    self._writer.line(text)
            layout.store(self._writer, "p", whole=False)
            self._writer.line(f"to = {place} + {layout.size};")

    # Everything else

    def _rearrange(self) -> None:
        """Headers that are to stand elsewhere are put aside, the frame's front is moved, and all are written anew."""
        line, total = self._writer.line, sum(self._layouts[name].size for name in self._order)
        line("struct workspace *w = this_workspace();")
        with self._writer.block("if (!w)"):
            line(_NO_ROOM)
        line("struct state *s = &w->state;")
        self._pointers()
        line("u32 size = 0;")
        for index, name in enumerate(self._order):
            line(f"w->to[{index}] = size;")
            line(f"size += {self._context.valid(name)} * {self._layouts[name].size};")
        line("const s32 shift = (s32)size - s->at;")
        line("barrier(); /* loading again is better than much on the stack, which callers and callees share */")
        self._put_aside()
        with self._writer.block("if (shift && bpf_xdp_adjust_head(ctx, -shift))"):
            line(_NO_ROOM)
        line("data = (u8 *)(long)ctx->data;")
        line("end = (u8 *)(long)ctx->data_end;")
        for index, name in enumerate(self._order):
            with self._writer.block(f"if ({self._context.valid(name)})"):
                self._point(f"(w->to[{index}] & {(1 << total.bit_length()) - 1:#x})", self._layouts[name].size)
                self._put_back(name)
        line("return 0;")

    def _put_aside(self) -> None:
        for index, name in enumerate(self._order):
            layout = self._layouts[name]
            if has_place(self._context, name) and name not in self._order[:index]:
                with self._writer.block(f"if ({' && '.join(self._leaves(name))})"):
                    self._point(self._place(name), layout.size)
                    for text in copy(f"w->aside + {self._aside_at(name)}", "p", layout.size):
                        self._writer.line(text)

    def _put_back(self, name: str) -> None:
        """A header at `p`, from where it was or from its fields."""
        layout = self._layouts[name]
        if not has_place(self._context, name):
            layout.store(self._writer, "p", whole=True)
            return
        if name in self._context.usage.made_valid:
            with self._writer.block(f"if ({self._context.place(name)} == FRESH)"):
                layout.store(self._writer, "p", whole=True)
            with self._writer.block("else"):
                self._copy_back(name)
        else:
            self._copy_back(name)

    def _copy_back(self, name: str) -> None:
        layout, tests = self._layouts[name], self._leaves(name)[-1:]
        with self._writer.block(f"if ({tests[0]})" if self._emitted_once(name) else ""):
            for text in copy("p", f"w->aside + {self._aside_at(name)}", layout.size):
                self._writer.line(text)
        layout.store(self._writer, "p", whole=False)

    def _leaves(self, name: str) -> list[str]:
        """When a header's bytes in the frame are to stand elsewhere; the last test is about places only."""
        tests = [self._context.valid(name)]
        kept = keeps_place(self._context, self._places, name)
        if name in self._context.usage.made_valid:
            tests.append(f"{self._context.place(name)} != FRESH")
        if self._emitted_once(name):
            place = self._context.place(name) if kept else str(self._places.constant(name) or 0)
            tests.append(f"{place} + shift != w->to[{self._order.index(name)}]")
        return tests

    def _emitted_once(self, name: str) -> bool:
        return self._order.count(name) == 1

    def _aside_at(self, name: str) -> int:
        before = self._emitted[: self._emitted.index(name)]
        return sum(self._layouts[other].size for other in before if has_place(self._context, other))

    @property
    def headers(self) -> int:
        """How many headers `rearrange` has to place."""
        return len(self._order)

    @property
    def aside(self) -> int:
        """Bytes that it needs to put headers aside."""
        return sum(self._layouts[name].size for name in self._emitted if has_place(self._context, name))
