"""A million connections through P4Runtime into softswitch with its XDP engine: how many a second from one client in
batches of 500, and what memory each takes, in the kernel and in the switch's process. What a million known sessions
mean to packets is measured by `xdp`.

Of the 17 to 20 us that the switch's process takes for an insert when nothing else runs, 6 are reading the key out of
the message, 3 to 4 the action, 4 the table of the python engine with its checks and timer, 2 the row and slot in shared
memory (cProfile of the process, and its parts timed alone). In its memory, 150 bytes of an entry are the row, 240 its
key, 140 the timer of its idle timeout, the rest dictionary and numbers.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from finsy.proto import p4r

from bench.harness import AtLeast, Reference, Row, publish
from bench.table_writes import BATCH, Controller, softswitch
from depot.program import find_compiled_program
from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.kernel import Map
from softswitch.engine.xdp.libbpf import check, library

COMMAND = "make bench NAME=entries"
ENTRIES = 1_000_000
PART = 50_000
"""Entries made at a time, and measured apart."""
TARGET = 20_000
"""Inserts per second."""
TABLE = "connection_tabl"
"""How the names of the table's maps begin; the kernel keeps 15 characters."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What the switch holds, in bytes."""

    own: int
    """Of the process alone: no memory that it shares with the kernel's programs."""
    maps: int
    """All maps of its program."""
    table: int
    """Those of the connection table. Maps have their size from the beginning."""


def memory(process: int) -> Memory:
    """Of a running switch."""
    status = Path(f"/proc/{process}/status").read_text()
    own = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon:"))
    locked: dict[int, int] = {}
    for information in Path(f"/proc/{process}/fdinfo").iterdir():
        fields = dict(line.split(":\t", 1) for line in information.read_text().splitlines() if ":\t" in line)
        if "map_id" in fields:
            locked[int(fields["map_id"])] = int(fields["memlock"])
    table = sum(size for number, size in locked.items() if _name(number).startswith(TABLE))
    return Memory(own, sum(locked.values()), table)


def _name(map_id: int) -> str:
    with Map(check(library().bpf_map_get_fd_by_id(map_id), f"map {map_id} cannot be opened")) as opened:
        return opened.name


async def inserted(address: str, entries: int) -> list[float]:
    """Insert so many connections; the entries per second of each part of them."""
    controller = Controller(address, find_compiled_program())
    await controller.start()
    rates = []
    for first in range(0, entries, PART):
        batches = [
            [controller.entry(number) for number in range(start, start + BATCH)]
            for start in range(first, first + PART, BATCH)
        ]
        begun = time.perf_counter()
        for batch in batches:
            await controller.write(p4r.Update.INSERT, batch)
        rates.append(PART / (time.perf_counter() - begun))
    if (there := await controller.read_all()) != entries:
        raise SystemExit(f"{entries} entries were inserted, {there} are there")
    await controller.stop()
    return rates


def main() -> None:
    """Measure and publish."""
    reason = why_not()
    if reason is not None:
        print(f"entries not measured: {reason}")
        return
    with softswitch("xdp") as (address, process):
        before = memory(process)
        rates = asyncio.run(inserted(address, ENTRIES))
        after = memory(process)
    whole = len(rates) / sum(1 / rate for rate in rates)
    per_entry = "bytes/entry"
    rows = [
        Row("inserts, all of a million", whole, "entries/s", COMMAND, target=AtLeast(TARGET)),
        Row(
            f"inserts, slowest {PART}",
            min(rates),
            "entries/s",
            COMMAND,
            Reference(f"first {PART}", rates[0]),
            AtLeast(TARGET),
        ),
        Row("kernel, the table's maps", after.table / ENTRIES, per_entry, COMMAND),
        Row("the switch's process", (after.own - before.own) / ENTRIES, per_entry, COMMAND),
        Row("kernel, all maps of the program", after.maps / 1e6, "MB", COMMAND),
    ]
    publish(__file__, "A million connections", rows)


if __name__ == "__main__":
    main()
