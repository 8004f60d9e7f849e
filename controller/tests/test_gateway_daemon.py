"""The daemon's part of gateways behind one address, without a switch: what ends, what goes on, what is said."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from controller.tests.test_config_vmac import BEHIND, SELF, SWITCH

from depot.address import parse_address
from depot.cli.main import main
from depot.config import Config, parse
from depot.config.host_port import HostPort
from depot.config.values import host_port
from depot.config.vmac_model import VmacConfig
from depot.daemon import gateway_member, load_shell
from depot.daemon.event_log import EventLog
from depot.daemon.gateway_member import GatewayMember, pause
from depot.daemon.gateway_switch import GatewaySwitch
from depot.daemon.load_shell import LoadMeter
from depot.daemon.switch_runner import LanListener, Membership, SwitchRunner
from depot.daemon.tasks import tell_failure
from depot.p4runtime.rpc_shell import RpcError
from depot.p4runtime.switch_shell import Pipeline
from depot.program import find_compiled_program
from depot.switching.switch_core import SwitchCore
from depot.vmac import Gateway, VmacError

REASON = "silent: our switch cannot be reached"


def gateways(config: Config) -> VmacConfig:
    assert config.vmac is not None
    return config.vmac


def runner(config: Config) -> SwitchRunner:
    """What the gateways see of a switch that does as it is told."""

    async def read_counts(tables: object) -> dict[object, object]:
        return {}

    async def flushed() -> None:
        pass

    core = SwitchCore(config.switches[0], (), vmac=config.vmac)
    shell = SimpleNamespace(read_counts=read_counts, flushed=flushed, send=lambda packet: None)
    return cast(SwitchRunner, SimpleNamespace(core=core, shell=shell, settle=lambda: None))


def member(folder: Path) -> tuple[GatewayMember, Config]:
    (folder / "vmac.key").write_text("0123456789abcdef")
    config = parse(SWITCH + SELF, base=folder)
    return GatewayMember(gateways(config), EventLog()), config


async def test_a_gateway_is_silent_when_its_switch_is_gone_not_when_a_former_one_is(tmp_path: Path):
    gateway, config = member(tmp_path)
    former, later = runner(config), runner(config)
    gateway.switch_ready(former)
    gateway.switch_ready(later)
    gateway.switch_lost(former)
    assert gateway.view().state == "listening"
    gateway.switch_lost(later)
    assert gateway.view().state == REASON
    assert [(one.name, one.up) for one in gateway.view().gateways] == [("g1", False)]


async def test_what_was_refused_is_counted_since_the_start_whatever_the_switch_does(tmp_path: Path):
    gateway, config = member(tmp_path)
    for _ in range(2):
        edge = runner(config)
        gateway.switch_ready(edge)
        gateway.datagram_received(bytes(100), ("192.0.2.9", 5))
        assert gateway.view().counts["forged"] >= 1
        assert gateway.view().counts["malformed"] == 0
        gateway.switch_lost(edge)
    assert gateway.view().counts["forged"] == 2


@pytest.mark.parametrize(
    ("listen", "address", "complaint"),
    [
        (HostPort("192.0.2.1", 7947), "192.0.2.2:7947", "vmac.listen: 192.0.2.1:7947: Cannot assign requested address"),
        (HostPort("127.0.0.1", 0), "nowhere.invalid:7947", "vmac: gateway g2: nowhere.invalid:7947: "),
        (HostPort("127.0.0.1", 0), "[fd00::2]:7947", "vmac: gateway g2: [fd00::2]:7947: "),
    ],
)
async def test_where_a_gateway_cannot_listen_or_speak_is_said(
    listen: HostPort, address: str, complaint: str, tmp_path: Path
):
    gateway, config = member(tmp_path)
    found = gateways(config)
    gateway.config = replace(
        found,
        listen=listen,
        gateways=tuple(replace(one, address=host_port(address)) for one in found.gateways),
    )
    with pytest.raises(OSError, match=re.escape(complaint)):
        await gateway.start()
    await gateway.stop()


async def test_a_reload_changes_who_is_heard_and_spoken_with(tmp_path: Path):
    gateway, config = member(tmp_path)
    gateway.config = replace(gateway.config, listen=HostPort("127.0.0.1", 0))
    await gateway.start()
    gateway.switch_ready(runner(config))
    more = SELF + '[[vmac.gateway]]\nname = "g3"\naddress = "192.0.2.3:7947"\n'
    gateway.reconfigure(gateways(parse(SWITCH + more, base=tmp_path)))
    await asyncio.sleep(0.05)
    assert [one.name for one in gateway.view().gateways] == ["g1", "g2", "g3"]
    gateway.reconfigure(gateways(config))
    await asyncio.sleep(0.05)
    assert [one.name for one in gateway.view().gateways] == ["g1", "g2"]
    await gateway.stop()


async def test_a_switch_that_is_let_go_of_is_lost_to_the_gateways(monkeypatch: pytest.MonkeyPatch):
    config = parse(SWITCH)
    lost: list[object] = []
    lan = cast(LanListener, SimpleNamespace(switch_lost=lost.append))
    edge = SwitchRunner(
        config.switches[0], (), Pipeline(find_compiled_program()), lambda *_: None, lambda _: None, Membership(lan=lan)
    )
    task = asyncio.create_task(edge.run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert lost == [edge]


async def test_a_gateway_whose_port_a_reload_takes_away_is_dead_and_the_others_are_served():
    text = BEHIND + '[[vmac.gateway]]\nname = "b"\nvia = "10.1.0.77"\n'
    config = parse(SWITCH + text.replace("ports = [1]\n", 'ports = [1]\nreport_interval = "50ms"\n'))
    edge, gateway = runner(config), GatewaySwitch(gateways(config), EventLog())
    gateway.switch_ready(edge)

    async def answers(*known: tuple[int, str]) -> None:
        for _ in range(6):
            for port, via in known:
                edge.core.neighbours.seen(port, parse_address(via), 0x02AA00000000 + port, gateway.now())
            await asyncio.sleep(0.03)

    await answers((1, "10.1.0.77"), (2, "10.9.0.11"))
    assert set(gateway.dispatcher.owners) == {"a", "b"}
    switch = replace(config.switches[0], ports=config.switches[0].ports[:1])
    edge.core.reconfigure(switch, (), {}, gateway.now(), vmac=config.vmac)
    await answers((1, "10.1.0.77"))
    assert gateway.dispatcher.alive == {"b"}
    assert set(gateway.dispatcher.owners) == {"b"}
    await gateway.stop()


async def test_a_gateway_that_falls_silent_is_replaced_though_counters_cannot_be_read():
    text = BEHIND + '[[vmac.gateway]]\nname = "b"\nvia = "10.1.0.77"\n'
    config = parse(SWITCH + text.replace("ports = [1]\n", 'ports = [1]\nreport_interval = "50ms"\n'))
    edge, gateway = runner(config), GatewaySwitch(gateways(config), EventLog())

    async def fails(tables: object) -> dict[object, object]:
        raise RpcError("no counters today")

    edge.shell.read_counts = fails  # type: ignore[method-assign, assignment]
    gateway.switch_ready(edge)
    for _ in range(6):
        edge.core.neighbours.seen(1, parse_address("10.1.0.77"), 0x02AA00000001, gateway.now())
        await asyncio.sleep(0.03)
    services = edge.core.routing.lan.buckets([])
    assert len(services) == 256
    await gateway.stop()


def test_reading_counters_leaves_the_switch_time_for_the_rest():
    assert pause(0.5, 0.1) == 0.5
    assert pause(0.5, 1.0) == 4.0


async def test_nothing_is_moved_without_the_switch():
    gateway = GatewaySwitch(gateways(parse(SWITCH + BEHIND)), EventLog())
    with pytest.raises(VmacError, match="the switch cannot be written to"):
        gateway.move([1], "a")


async def test_a_gateway_ends_when_its_buckets_are_taken_however_long_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gateway_member, "LEAVE_TIMEOUT", 0.05)
    gateway, config = member(tmp_path)
    gateway.switch_ready(runner(config))
    counts = iter([5, 3, 1, 1])
    monkeypatch.setattr(gateway, "_owned", lambda core: next(counts))
    monkeypatch.setattr(Gateway, "has_left", False)
    await gateway.stop()
    assert list(counts) == []
    assert gateway.gateway is None


async def test_a_name_that_is_taken_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gateway, config = member(tmp_path)
    gateway.switch_ready(runner(config))
    assert gateway.gateway is not None
    status = replace(gateway.gateway.status(), is_disputed=True)
    monkeypatch.setattr(Gateway, "status", lambda core: status)
    assert gateway.view().state == "another gateway has our name"


async def test_a_load_command_that_writes_no_lines_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(load_shell, "RESTART", 0.01)
    script = 'test -e "$0" && { echo 0.25; exec sleep 60; }; touch "$0"; head -c 200000 /dev/zero; exec sleep 60'
    _, config = member(tmp_path)
    command = ("sh", "-c", script, str(tmp_path / "once"))
    meter = LoadMeter(replace(gateways(config), load_command=command, capacity=1.0))
    await meter.start()
    for _ in range(1000):
        if meter.load(1000.0) == 0.25:
            break
        await asyncio.sleep(0.01)
    assert meter.load(1000.0) == 0.25
    await meter.stop()


async def test_a_task_that_fails_is_told(caplog: pytest.LogCaptureFixture):
    async def fails() -> None:
        raise KeyError("nobody looks")

    task = asyncio.create_task(fails())
    task.add_done_callback(tell_failure)
    with caplog.at_level(logging.ERROR, "depot.events"):
        await asyncio.wait([task])
        await asyncio.sleep(0)
    assert "nobody looks" in caplog.text


@pytest.mark.parametrize(
    ("buckets", "complaint"),
    [
        ("5-2", "'5-2' is neither a bucket nor a range of them like 8-15"),
        ("²", "'²' is neither a bucket"),
        ("1,", "'' is neither a bucket"),
        ("0-99999999999", "'0-99999999999' is out of range; buckets are numbered 0 to 4095"),
    ],
)
def test_what_is_no_bucket(buckets: str, complaint: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["vmac", "move", buckets, "g1"])
    assert complaint in capsys.readouterr().err
