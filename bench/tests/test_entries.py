"""Entries are counted, and so is the memory that they take."""

import asyncio

import pytest
from bench import entries
from bench.table_writes import softswitch

from softswitch.engine.xdp.availability import why_not


@pytest.mark.server
@pytest.mark.netns
def test_entries_come_in_parts_and_take_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(f"no XDP engine: {reason}")
    monkeypatch.setattr(entries, "PART", 2000)
    with softswitch("xdp") as (address, process):
        before = entries.memory(process)
        rates = asyncio.run(entries.inserted(address, 6000))
        after = entries.memory(process)
    assert len(rates) == 3
    assert min(rates) > 0
    assert before.maps == before.table == 0
    assert after.own - before.own > 6000 * 200
    assert after.maps > after.table > (1 << 20) * 40
