"""The process of the switch ends in every way while two hundred sessions go on: `softswitch --pin`."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from controller.tests.system_lab import NAT, NEEDS, SESSIONS, SystemLab

from depot.demo.box import Engine, Target
from depot.demo.lab import Lab, wait_until
from depot.demo.network import MEMBERS
from softswitch.engine.xdp.availability import why_not

pytestmark = NEEDS

NAMES = [member.name for member in MEMBERS]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SystemLab]:
    """One lab for all tests, with a BPF file system of its own."""
    if (reason := why_not()) is not None:
        pytest.skip(f"XDP cannot run: {reason}")
    place = tmp_path_factory.mktemp("bpffs")
    subprocess.run(["mount", "-t", "bpf", "bpf", str(place)], check=True)
    try:
        with Lab() as lab:
            yield SystemLab.build(lab, Target.SOFTSWITCH, Engine.XDP, ("--pin", str(place / "switch")))
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def nobody_notices(system: SystemLab) -> Iterator[None]:
    """What is done in the block disturbs none of the sessions."""
    system.hold_sessions()
    assert sum(map(len, system.held.values())) == sum(count for _, _, count in SESSIONS) == 200
    resets = system.resets_sent(NAMES)
    yield
    system.expect_all_exchange()
    assert system.resets_sent(NAMES) == resets
    system.expect_entries_of_sessions()


def restart(system: SystemLab) -> None:
    """Another process, and the controller finds it."""
    system.box.start_switch()
    system.box.wait_in_sync()


@pytest.mark.parametrize("way", ["kill", "stop"])
def test_sessions_go_on_without_the_switchs_process(system: SystemLab, way: str) -> None:
    with nobody_notices(system):
        assert system.box.switch is not None
        getattr(system.box.switch, way)()
        wait_until(lambda: not system.box.in_sync(), 10.0, "the controller notices")
        system.expect_all_exchange()
        served = system.probe(30)
        assert {name: served.count(name) for name in NAMES} == dict.fromkeys(NAMES, 10)
        restart(system)
        assert set(system.probe(6, NAT[6])) == set(NAMES)


def test_sessions_that_begin_without_the_switchs_process_stay(system: SystemLab) -> None:
    """Held by the flow cache alone, in the kernel's memory; announced again once there is somebody to hear it."""
    system.end_sessions()
    system.wait_no_sessions()
    assert system.box.switch is not None
    system.box.switch.kill()
    wait_until(lambda: not system.box.in_sync(), 10.0, "the controller notices")
    with nobody_notices(system):
        system.expect_all_exchange()
        restart(system)


def test_both_processes_are_killed(system: SystemLab) -> None:
    with nobody_notices(system):
        assert system.box.switch is not None
        system.box.switch.kill()
        system.box.kill_controller()
        system.expect_all_exchange()
        system.box.start_switch()
        system.box.start_controller()
        system.expect_all_exchange()


def test_all_sessions_end_well(system: SystemLab) -> None:
    """Last: the new process knows what the old one's entries are, and lets them go."""
    system.hold_sessions()
    ended = sum(system.drive(client, "finish", seconds=10)["ended"] for client in system.drivers)
    system.held = {}
    assert ended == 200
    system.wait_no_sessions()
