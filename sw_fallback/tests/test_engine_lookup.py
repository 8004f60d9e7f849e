"""Lookups of each match kind against a search through all entries."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from sw_fallback.tests.engine_programs import CompiledProgram

from softswitch.entities import Exact, FieldMatch, Lpm, Range, TableEntry, Ternary
from softswitch.errors import EntryExists
from softswitch.switch import Switch

MATCHES = CompiledProgram("matches")
DEFAULT_LPM = 0xEE

numbers = st.sampled_from([0, 1, 2, 3, 0x0A000001, 0x0A000002, 0x0A00FF00, 0xFFFFFFFF, 0x80000000])
ports = st.sampled_from([0, 1, 2, 3, 255, 65535])
masks = st.sampled_from([0, 1, 3, 0xFF, 0xFF000000, 0xFFFFFFFF, 0x0F0F0F0F])


def _prefix(address: int, length: int) -> Lpm | None:
    return Lpm(address >> (32 - length) << (32 - length), length) if length else None


def _masked(value: int, mask: int) -> Ternary | None:
    return Ternary(value & mask, mask) if mask else None


def _interval(ends: tuple[int, int]) -> Range | None:
    low, high = sorted(ends)
    return None if (low, high) == (0, 65535) else Range(low, high)


prefixes = st.builds(_prefix, numbers, st.integers(0, 32))
ternaries = st.builds(_masked, numbers, masks)
small_ternaries = st.builds(_masked, st.integers(0, 0xFFF), st.sampled_from([0, 0xFFF, 0xF00, 1]))
intervals = st.builds(_interval, st.tuples(ports, ports))
optionals = st.one_of(st.none(), st.builds(Exact, numbers))
small_optionals = st.one_of(st.none(), st.builds(Exact, ports))


def _fits(match: FieldMatch | None, value: int, width: int) -> bool:
    match match:
        case None:
            return True
        case Exact(wanted):
            return value == wanted
        case Lpm(wanted, length):
            return value >> (width - length) == wanted >> (width - length)
        case Ternary(wanted, mask):
            return value & mask == wanted
        case Range(low, high):
            return low <= value <= high


def _fill(switch: Switch, entries: Iterable[TableEntry]) -> list[TableEntry]:
    kept = []
    for entry in entries:
        try:
            switch.insert(entry)
        except EntryExists:
            continue
        kept.append(entry)
    return kept


def _entries(
    table: str, action: str, matches: list[tuple[FieldMatch | None, ...]], *, priorities: bool
) -> list[TableEntry]:
    """Each match with a priority of its own, their order shuffled a little."""
    return [
        MATCHES.entry(table, match, MATCHES.call(action, number + 1), (number * 7919) % 104729 + 1 if priorities else 0)
        for number, match in enumerate(matches)
    ]


def _best(entries: list[TableEntry], values: tuple[int, ...], widths: tuple[int, ...]) -> TableEntry | None:
    fitting = [
        entry
        for entry in entries
        if all(_fits(match, value, width) for match, value, width in zip(entry.key.match, values, widths, strict=True))
    ]
    return max(fitting, key=lambda entry: entry.key.priority, default=None)


def _result(entry: TableEntry | None) -> int:
    return 0 if entry is None else entry.action.params[0]  # type: ignore[union-attr]


def _probe(switch: Switch, a: int, b: int, c: int, offset: int) -> int:
    """The result byte at `offset` past the key of a packet with these fields."""
    packet = a.to_bytes(4, "big") + b.to_bytes(2, "big") + (c << 4).to_bytes(2, "big") + bytes(7)
    ((_, out),) = switch.process(1, packet)
    return out[8 + offset]


probes = st.lists(st.tuples(numbers, ports, st.integers(0, 0xFFF)), min_size=1, max_size=8)


@given(st.lists(st.tuples(st.builds(Exact, ports), prefixes), max_size=20), probes, st.data())
def test_longest_prefix(matches: list[tuple[FieldMatch | None, ...]], tried: list[tuple[int, int, int]], data) -> None:  # type: ignore[no-untyped-def]
    switch = MATCHES.switch()
    entries = _fill(switch, _entries("lpm_table", "lpm_hit", matches, priorities=False))
    for _ in range(2):
        for a, b, c in tried:
            fitting = [e for e in entries if _fits(e.key.match[0], b, 16) and _fits(e.key.match[1], a, 32)]
            longest = max(fitting, key=lambda e: e.key.match[1].prefix_len if e.key.match[1] else 0, default=None)
            assert _probe(switch, a, b, c, 1) == (DEFAULT_LPM if longest is None else _result(longest))
        for entry in list(entries):  # the same again with some of them gone
            if data.draw(st.booleans()):
                switch.delete(entry.key)
                entries.remove(entry)


def _check_priorities(
    table: str, action: str, matches: list[tuple[FieldMatch | None, ...]], tried: list[tuple[int, int, int]],
    offset: int, order: tuple[int, ...], widths: tuple[int, ...], gone: list[bool],
) -> None:  # fmt: skip
    switch = MATCHES.switch()
    entries = _fill(switch, _entries(table, action, matches, priorities=True))
    for _ in range(2):
        for probe in tried:
            expected = _best(entries, tuple(probe[index] for index in order), widths)
            assert _probe(switch, *probe, offset) == _result(expected)
        for entry, leaves in zip(list(entries), gone, strict=False):
            if leaves:
                switch.delete(entry.key)
                entries.remove(entry)


flags = st.lists(st.booleans(), min_size=20, max_size=20)


@given(st.lists(st.tuples(ternaries, st.builds(Exact, ports), small_ternaries), max_size=20), probes, flags)
def test_ternary(
    matches: list[tuple[FieldMatch | None, ...]], tried: list[tuple[int, int, int]], gone: list[bool]
) -> None:
    _check_priorities("ternary_table", "ternary_hit", matches, tried, 2, (0, 1, 2), (32, 16, 12), gone)


@given(st.lists(st.tuples(intervals, small_ternaries, prefixes), max_size=20), probes, flags)
def test_range(
    matches: list[tuple[FieldMatch | None, ...]], tried: list[tuple[int, int, int]], gone: list[bool]
) -> None:
    _check_priorities("range_table", "range_hit", matches, tried, 3, (1, 2, 0), (16, 12, 32), gone)


@given(st.lists(st.tuples(optionals, small_optionals), max_size=20), probes, flags)
def test_optional(
    matches: list[tuple[FieldMatch | None, ...]], tried: list[tuple[int, int, int]], gone: list[bool]
) -> None:
    """The second key is a field of a header that these packets lack, so it is zero."""
    lacking = [(a, 0, c) for a, _, c in tried]
    _check_priorities("optional_table", "optional_hit", matches, lacking, 4, (0, 1), (32, 16), gone)


def test_two_entries_that_differ_in_priority_only() -> None:
    switch = MATCHES.switch()
    match = (Ternary(0x0A000000, 0xFF000000), Exact(1), None)
    for priority, value in ((5, 50), (9, 90), (7, 70)):
        switch.insert(MATCHES.entry("ternary_table", match, MATCHES.call("ternary_hit", value), priority))
    seen = []
    for priority in (9, 7, 5):
        seen.append(_probe(switch, 0x0A010203, 1, 0, 2))
        switch.delete(MATCHES.key("ternary_table", *match, priority=priority))
    assert seen == [90, 70, 50]
    assert _probe(switch, 0x0A010203, 1, 0, 2) == 0
