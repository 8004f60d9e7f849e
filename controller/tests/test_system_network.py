"""The depot as its neighbours see it: UDP sessions, reused ports, ping, ARP and neighbour discovery, resets."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from controller.tests.system_lab import HERE, NAT, NEEDS, PORT, SystemLab, services
from controller.tests.system_lab import every_engine as system

from depot.demo.lab import LabError, wait_until
from depot.demo.network import CLIENTS, HEALTH_SOURCE, MEMBERS, PORTS

__all__ = ["system"]  # the fixture

pytestmark = NEEDS

CLIENT = CLIENTS[0].name
NAMES = [member.name for member in MEMBERS]


@pytest.mark.parametrize("vip", NAT.values())
def test_udp_sessions_stick(system: SystemLab, vip: str) -> None:
    """Shared out by at most one of difference; each keeps its member while schedule and members change."""
    system.probe(3, vip)  # everybody knows everybody's MAC: of a burst to an unknown neighbour a few packets are held
    system.drive(CLIENT, "open_datagrams", address=vip, port=PORT, count=20)
    first = system.drive(CLIENT, "datagrams", seconds=3)["members"]
    shares = Counter(first)
    assert set(shares) == set(NAMES)
    assert max(shares.values()) - min(shares.values()) <= 1
    system.box.tell("drain", "member1")
    assert system.drive(CLIENT, "datagrams", seconds=3)["members"] == first
    system.box.tell("undrain", "member1")
    system.reload(services(scheduler="maglev"))
    assert system.drive(CLIENT, "datagrams", seconds=3)["members"] == first
    system.reload(services())
    assert system.drive(CLIENT, "datagrams", seconds=3)["members"] == first
    system.drive(CLIENT, "close_datagrams")


@pytest.mark.parametrize("vip", NAT.values())
def test_a_client_port_is_used_again_at_once(system: SystemLab, vip: str) -> None:
    """Ten sessions from one port, each opened when the last has closed: none fails, none waits."""
    arguments = {"address": vip, "port": PORT, "count": 10, "source_port": 23456}
    answer = system.drive(CLIENT, "probe", **arguments)
    assert answer["failed"] == []
    assert max(answer["seconds"]) < 0.9, "a second is what the first retransmission of a SYN takes"


@pytest.mark.parametrize("vip", NAT.values())
def test_a_port_used_again_is_a_new_session(system: SystemLab, vip: str) -> None:
    """As soon as the depot knows that the old session has ended: the next member's turn."""
    for _ in range(3):
        one = system.probe(1, vip, source_port=23457)
        wait_until(lambda: 23457 not in open_ports(system), 5.0, "the session counts as closed, or has no entry")
        two = system.probe(1, vip, source_port=23457)
        assert one != two
        wait_until(lambda: 23457 not in open_ports(system), 5.0, "the session counts as closed, or has no entry")


def open_ports(system: SystemLab) -> set[int]:
    """Both ports of every entry of a session that the depot takes to be open."""
    entries = system.tables()["connection_table"]
    alike = [entry["key"] for entry in entries if entry["params"].get("closing", 1) == 0]
    return {key[end] for key in alike for end in ("port_lo", "port_hi")}


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("own", ["vip", "port"])
def test_ping_is_answered(system: SystemLab, family: int, own: str) -> None:
    port = PORTS[0]
    address = NAT[family] if own == "vip" else (port.ipv4 if family == 4 else port.ipv6)
    system.lab.run(CLIENT, sys.executable, str(HERE / "echo_request.py"), address)


@pytest.mark.parametrize("family", [4, 6])
def test_address_that_is_nobodys_does_not_answer_ping(system: SystemLab, family: int) -> None:
    with pytest.raises(LabError, match="status 1"):
        system.lab.run(
            CLIENT, sys.executable, str(HERE / "echo_request.py"), {4: "203.0.113.99", 6: "fd00:1::99"}[family]
        )


@pytest.mark.parametrize("family", [4, 6])
def test_arp_and_neighbour_discovery_are_answered(system: SystemLab, family: int) -> None:
    """For the port's address, and for a VIP that a client takes to be on its link: the port's MAC."""
    port, vip = PORTS[0], NAT[family]
    gateway, bits = (port.ipv4, 32) if family == 4 else (port.ipv6, 128)
    system.lab.ip(CLIENT, "neigh flush dev eth0", f"route add {vip}/{bits} dev eth0", family=family)
    try:
        assert len(system.probe(1, vip)) == 1
        system.lab.run(CLIENT, sys.executable, str(HERE / "echo_request.py"), gateway)
        neighbours = system.lab.run(CLIENT, "ip", f"-{family}", "neigh", "show", "dev", "eth0").splitlines()
    finally:
        system.lab.ip(CLIENT, f"route del {vip}/{bits} dev eth0", family=family)
    macs = {line.split()[0]: line.split()[2] for line in neighbours if "lladdr" in line}
    assert macs[gateway] == port.mac
    assert macs[vip] == port.mac


def test_a_reset_by_a_member_is_seen(system: SystemLab) -> None:
    """What other tests rely on: a member that resets is noticed. Here it is asked at a port that nobody serves."""
    member = MEMBERS[0]
    before = system.resets_sent([member.name])
    answer = system.drive(CLIENT, "probe", address=member.ipv4, port=1, count=2)
    assert [reason.split(":")[0] for reason in answer["failed"]] == ["ConnectionRefusedError"] * 2
    wait_until(lambda: system.resets_sent([member.name]) - before == {member.name: 2}, 5.0, "two resets are seen")


@pytest.fixture
def cable(system: SystemLab) -> Iterator[str]:
    """The far end of member3's link, connected again afterwards."""
    end = "m-member3"
    yield end
    system.lab.ip("lan", f"link set {end} up")
    system.wait_all_up()


def test_clients_of_a_dead_member_are_reset(system: SystemLab, cable: str) -> None:
    """A member vanishes from the network: with on_member_failure = "reset" its clients hear of it from the depot."""
    arguments = {"port": PORT, "pauses": [0.3], "sizes": [300], "patience": 20}
    for vip in NAT.values():
        answer = system.drive(CLIENT, "open", address=vip, count=15, **arguments)
        assert answer["failed"] == []
    held = Counter(answer["members"])
    assert held == dict.fromkeys(NAMES, 10)
    system.lab.ip("lan", f"link set {cable} down")
    system.wait_state("member3", "down")

    def all_reset() -> bool:
        return len(system.drive(CLIENT, "report")["lost"]) == 10

    wait_until(all_reset, 15.0, "ten sessions end", every=0.2)
    report = system.drive(CLIENT, "report")
    assert all("ConnectionResetError" in reason and "member3" in reason for reason in report["lost"])
    assert report["members"] == {"member1": 10, "member2": 10}
    assert set(system.probe(6)) == {"member1", "member2"}
    assert system.drive(CLIENT, "finish", seconds=10)["ended"] == 20


@pytest.fixture
def unheard(system: SystemLab) -> Iterator[str]:
    """member2, whose answers to health checks will be lost until the test is over."""
    name = MEMBERS[1].name
    yield name
    for address, family in ((HEALTH_SOURCE.ipv4, 4), (HEALTH_SOURCE.ipv6, 6)):
        system.lab.ip(name, f"route flush type blackhole to {address}", family=family)
    for client in CLIENTS:
        system.drive(client.name, "finish", seconds=0.1)
    system.wait_all_up()


@pytest.mark.parametrize("family", [4, 6])
def test_clients_that_only_listen_are_reset_too(system: SystemLab, unheard: str, family: int) -> None:
    """A member counts as dead but still sends: who only waits for more must hear of it as well."""
    arguments = {"port": PORT, "pauses": [1], "sizes": [100], "patience": 20, "listen": True}
    answer = system.drive(CLIENT, "open", address=NAT[family], count=9, **arguments)
    assert answer["failed"] == []
    assert answer["members"] == dict.fromkeys(NAMES, 3)
    bits = {4: f"{HEALTH_SOURCE.ipv4}/32", 6: f"{HEALTH_SOURCE.ipv6}/128"}
    for each, address in bits.items():
        system.lab.ip(unheard, f"route add blackhole {address}", family=each)
    system.wait_state(unheard, "down")
    wait_until(lambda: len(system.drive(CLIENT, "report")["lost"]) == 3, 10.0, "three sessions end", every=0.2)
    report = system.drive(CLIENT, "report")
    assert all("ConnectionResetError" in reason and unheard in reason for reason in report["lost"])
    assert report["members"] == {"member1": 3, "member3": 3}
