"""Entries come, change and go while frames pass at full speed: no frame ever meets a table that is half written."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random

import pytest
from sw_fallback.tests.engine_pair import IDLE_NS
from sw_fallback.tests.engine_programs import CompiledProgram
from sw_fallback.tests.namespace import namespace
from sw_fallback.tests.random_entities import RandomEntities

from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.compiler import compile_object
from softswitch.engine.xdp.engine import XdpEngine
from softswitch.engine.xdp.kernel import Attachment, Object, run_live
from softswitch.entities import Exact, Lpm, Range, TableEntry, TableKey, Ternary
from softswitch.errors import EntityError
from softswitch.switch import Switch

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: loads programs into the kernel"),
]

FRAMES = 20_000_000 if "SOAK_SECONDS" in os.environ else 4_000_000
DST, SRC = 0x0200_0000_0009, 0x0200_0000_0007
FRAME = DST.to_bytes(6, "big") + SRC.to_bytes(6, "big") + b"\x08\x00" + bytes(46)
STRANGERS = {9: range(10, 30), 16: (0x86DD, 0x9000, 0xFFFF), 48: [0x0600_0000_0000 + number for number in range(40)]}
"""Values of entries that these frames never meet."""

_COUNTING = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1 << 16);
    __type(key, __u32);
    __type(value, __u64);
} arrived SEC(".maps");

SEC("xdp") int count(struct xdp_md *context)
{
    __u32 interface = context->ingress_ifindex;
    __u64 *cell = bpf_map_lookup_elem(&arrived, &interface);
    if (cell)
        *cell += 1;
    return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
"""


@dataclass
class Wires:
    """A switch whose ports 1, 2 and 3 are interfaces, and what arrives behind them."""

    switch: Switch
    engine: XdpEngine
    program: CompiledProgram
    indices: list[int]
    """Of the switch's interfaces."""
    ends: list[int]
    """Of the interfaces at the other ends."""
    counting: Object

    def arrived(self, port: int) -> int:
        """Frames that came out of a port."""
        value = self.counting.maps["arrived"].lookup(struct.pack("=I", self.ends[port - 1])) or b""
        return sum(struct.unpack(f"={len(value) // 8}Q", value))

    def send(self, frames: int) -> int:
        """Let frames come in at port 1; not for the thread that writes."""
        return run_live(self.engine.program, FRAME, ingress_ifindex=self.indices[0], repeat=frames)


@pytest.fixture
def wires() -> Iterator[Wires]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    program = CompiledProgram("p4runtime_entities")
    with ExitStack() as held:
        space = held.enter_context(namespace())
        counting = held.enter_context(Object.load(compile_object(_COUNTING), name="counting"))
        switch = Switch.load(program.p4info_path, program.json_path, cpu_port=255, kernel=XdpEngine)
        held.callback(switch.close)
        engine = switch.kernel
        assert isinstance(engine, XdpEngine)
        made = Wires(switch, engine, program, [], [], counting)
        engine.serve(())
        for port in (1, 2, 3):
            space.veth(f"p{port}", f"p{port}-t")
            made.indices.append(socket.if_nametoindex(f"p{port}"))
            made.ends.append(socket.if_nametoindex(f"p{port}-t"))
            engine.connect(port, made.indices[-1])
            held.enter_context(Attachment.attach(engine.program, made.indices[-1]))
            held.enter_context(Attachment.attach(counting.programs["count"], made.ends[-1]))
        yield made


def entry_for(wires: Wires, port: int, dst: int = DST) -> TableEntry:
    key = TableKey(wires.program.info.table("mac_table").id, (Exact(dst),))
    return TableEntry(key, wires.program.call("count_and_forward", port))


def writes(wires: Wires, until: Callable[[], bool]) -> int:
    """Move our frames from port to port, and let entries of strangers come and go; how many writes that were."""
    dice, switch, count = Random(3), wires.switch, 0
    strangers = RandomEntities(wires.program.info, STRANGERS, IDLE_NS)
    tables = [wires.program.info.table(name) for name in ("mac_table", "route_table", "acl_table")]
    held: dict[TableKey, None] = {}
    while not until():
        switch.modify(entry_for(wires, 2 + count % 2))
        for _ in range(10):
            entry = strangers.entry(dice, dice.choice(tables))
            if meets_ours(entry):
                continue
            try:
                switch.insert(entry)
                held[entry.key] = None
            except EntityError:  # there already, a broken rule, or full
                pass
        while len(held) > 40:
            switch.delete(held.popitem()[0] if dice.random() < 0.5 else _first(held))
        switch.flush()
        count += 1
    return count


def _first(held: dict[TableKey, None]) -> TableKey:
    key = next(iter(held))
    del held[key]
    return key


def meets_ours(entry: TableEntry) -> bool:
    """Whether our frames would hit the entry: it is left out."""
    values = iter((DST,) if len(entry.key.match) == 1 else (SRC, 0x0800, 1))
    for part, value in zip(entry.key.match, values, strict=True):
        match part:
            case None:
                continue
            case Exact(wanted) if wanted == value:
                continue
            case Lpm(wanted, length) if value >> 48 - length == wanted >> 48 - length:
                continue
            case Ternary(wanted, mask) if value & mask == wanted:
                continue
            case Range(low, high) if low <= value <= high:
                continue
            case _:
                return False
    return True


def test_no_frame_is_lost_or_led_astray(wires: Wires) -> None:
    ignore = TableKey(wires.program.info.table("source_table").id, (Exact(SRC), Exact(1)))
    wires.switch.insert(TableEntry(ignore, wires.program.call("ignore_source")))
    wires.switch.insert(entry_for(wires, 2))
    wires.switch.flush()
    with ThreadPoolExecutor(1) as sender:
        sending: Future[int] = sender.submit(wires.send, FRAMES)
        count = writes(wires, sending.done)
        nanoseconds = sending.result()
    print(f"{FRAMES} frames of {nanoseconds} ns each, {count} rounds of writes")
    assert count > 100
    assert wires.switch.poll() == []
    assert wires.arrived(2) + wires.arrived(3) == FRAMES
    assert min(wires.arrived(2), wires.arrived(3)) > FRAMES // 10
    statistics = wires.engine.statistics()
    assert statistics["packets_in"] == statistics["packets_out"] == FRAMES
