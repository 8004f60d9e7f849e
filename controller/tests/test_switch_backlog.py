"""A switch that is slower than its sessions: what waits stays small, and schedules do not wait behind sessions."""

from __future__ import annotations

from pathlib import Path

from depot import config
from depot.address import Endpoint, FlowKey, parse_address
from depot.demo.configuration import Service, configuration
from depot.p4runtime.entry import Action, Table
from depot.p4runtime.reconcile import Operation
from depot.switching.switch_core import SwitchCore

VIP = Endpoint(parse_address("203.0.113.80"), 80)
CLIENT = parse_address("10.1.0.11")
SYN, FIN_ACK = 0x02, 0x11


def connected_core() -> SwitchCore:
    """A core whose switch holds nothing and is told all that is configured."""
    text = configuration([Service("web", "203.0.113.80")], Path("/tmp/depot.sock"))
    read = config.parse(text, "depot.toml")
    core = SwitchCore(read.switches[0], read.vips)
    core.reconfigure(read.switches[0], read.vips, {"web": ("member1", "member2", "member3")}, 0.0)
    core.connected([], 0.0)
    core.take_output(0.0)
    return core


def flow(port: int) -> FlowKey:
    return FlowKey.between(Endpoint(CLIENT, port), VIP, 6)


def open_session(core: SwitchCore, port: int, now: float) -> None:
    key = flow(port)
    client_is_hi = int(key.high == Endpoint(CLIENT, port))
    core.digest("new_flow_t", [(*spread_key(key), 6, client_is_hi, SYN, 0, 0, 0)], now)


def spread_key(key: FlowKey) -> tuple[int, int, int, int]:
    return key.addr_lo, key.addr_hi, key.port_lo, key.port_hi


def test_sessions_wait_while_there_is_no_room() -> None:
    core = connected_core()
    open_session(core, 40000, 1.0)
    open_session(core, 40001, 1.0)
    assert core.take_output(1.0, connections=False).connections == []
    assert core.tracker.waiting == 2
    assert [update.operation for update in core.take_output(1.0).connections] == [Operation.INSERT] * 2
    assert core.tracker.waiting == 0


def test_of_a_session_that_ended_meanwhile_only_its_end_is_written() -> None:
    core = connected_core()
    open_session(core, 40000, 1.0)
    core.take_output(1.0, connections=False)
    for src_is_hi in (0, 1):
        core.digest("tcp_event_t", [(*spread_key(flow(40000)), src_is_hi, FIN_ACK)], 1.1)
    (update,) = core.take_output(1.1).connections
    assert update.operation == Operation.INSERT
    assert update.entry.action == Action.FORWARD_TO_MEMBER
    assert update.entry.params[2] == 1, "closing"


def test_a_new_schedule_does_not_wait() -> None:
    core = connected_core()
    for port in range(2000):
        open_session(core, 1024 + port, 1.0)
    core.set_schedules({"web": ("member1", "member3")}, 1.0)
    output = core.take_output(1.0, connections=False)
    written = {update.entry.table for batch in output.batches for update in batch}
    assert written == {Table.SCHEDULE, Table.VIP}
    assert output.connections == []
    assert core.tracker.waiting == 2000
