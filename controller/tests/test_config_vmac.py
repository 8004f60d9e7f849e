"""``[vmac]``: what the gateways behind one address may be told, and what is refused with its place and a way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from depot.address import parse_address
from depot.config import ConfigError, load, parse
from depot.config.host_port import HostPort
from depot.config.vmac_model import DispatchMode, GatewayConfig
from depot.vmac.hashing import BucketHash, VirtualMacs
from depot.vmac.settings import Algorithm

SWITCH = """
[[switch]]
name = "edge"
address = "127.0.0.1:9559"
[[switch.port]]
number = 1
mac = "02:de:00:00:00:01"
addresses = ["10.1.0.101/24", "fd00:1::101/64"]
[[switch.port]]
number = 2
mac = "02:de:00:00:00:02"
addresses = ["10.9.0.1/24"]
"""
SELF = """
[vmac]
name = "g1"
listen = "192.0.2.1:7947"
key = "vmac.key"
addresses = ["10.1.0.1", "fd00:1::1"]
ports = [1]
[[vmac.gateway]]
name = "g2"
address = "192.0.2.2:7947"
"""
BEHIND = """
[vmac]
mode = "switch"
addresses = ["10.1.0.1"]
ports = [1]
[[vmac.gateway]]
name = "a"
via = "10.9.0.11"
capacity = 1000
"""


def problems(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return str(caught.value)


def test_a_gateway_that_dispatches_itself():
    vmac = parse(SWITCH + SELF, base=Path("/etc/depot")).vmac
    assert vmac is not None
    assert vmac.mode is DispatchMode.SELF
    assert vmac.switch == "edge"
    assert vmac.key == Path("/etc/depot/vmac.key")
    assert vmac.addresses == (parse_address("10.1.0.1"), parse_address("fd00:1::1"))
    assert vmac.virtual_macs == VirtualMacs(0x028888888800, 256, BucketHash.CRC)
    assert vmac.balancing is Algorithm.BALANCED
    assert vmac.gateways == (GatewayConfig("g2", HostPort("192.0.2.2", 7947)),)


def test_gateways_behind_our_switch():
    vmac = parse(SWITCH + BEHIND).vmac
    assert vmac is not None
    assert vmac.mode is DispatchMode.SWITCH
    assert vmac.gateways == (GatewayConfig("a", via=parse_address("10.9.0.11"), capacity=1000.0),)


def test_without_the_table_there_are_none():
    assert parse(SWITCH).vmac is None


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("count = 100", 'line 20: vmac.count: 100 virtual MACs: the number must be a power of two'),
        ("count = 0", "line 20: vmac.count: 0 is out of range; use 1 to 4096"),
        ('base = "00:88:88:88:88:00"', "must be a locally administered unicast MAC"),
        ('base = "03:88:88:88:88:00"', "must be a locally administered unicast MAC"),
        ('base = "02:88:88:88:88:80"', "is no multiple of the number of virtual MACs, 256"),
        ("count = 4096", "is no multiple of the number of virtual MACs, 4096; 02:88:88:88:80:00 is"),
        ('base = "02:de:00:00:00:00"', "is one of the virtual MACs of [vmac]; give the port another"),
        ('hash = "sum"', "'sum' is unknown; known here: mod, crc"),
        ('balancing = "ringg"', "'ringg' is unknown; did you mean \"ring\"?"),
        ('report_interval = "0s"', "'0s' is out of range"),
        ("threshold = 2", "2 is out of range; use 0 to 1"),
        ("capasity = 5", 'unknown key; did you mean "capacity"?'),
        ('switch = "core"', "there is no switch core"),
    ],
)  # fmt: skip
def test_what_a_gateway_cannot_be_told(line: str, found: str):
    assert found in problems(SWITCH + SELF.replace("ports = [1]\n", f"ports = [1]\n{line}\n"))


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("ports = [1]", "ports = [7]", "switch edge has no port 7"),
        ('"10.1.0.1", ', '"10.1.0.101", ', "10.1.0.101 is the port's own address; a gateway needs one of its own"),
        ('"10.1.0.1", ', '"10.5.0.1", ', "10.5.0.1 is in no network of the ports 1"),
        ('name = "g2"', 'name = "g1"', "gateway g1 is there already; list the others only, each once"),
        ("192.0.2.2:7947", "192.0.2.1:7947", "192.0.2.1:7947 is another gateway's address, or our own"),
        ('listen = "192.0.2.1:7947"\n', "", '"listen" is missing'),
        ('key = "vmac.key"\n', "", '"key" is missing'),
        ("ports = [1]", "ports = []", "vmac.ports: is empty; list at least one"),
        ("ports = [1]", "ports = [1, 1]", "1 is there already; list each port once"),
        ('["10.1.0.1", "fd00:1::1"]', "[]", "vmac.addresses: is empty; list at least one"),
        ('"fd00:1::1"]', '"10.1.0.1"]', "10.1.0.1 is there already; list each address once"),
        ('address = "192.0.2.2:7947"', 'via = "10.9.0.11"', '"address" is missing'),
    ],
)
def test_what_does_not_fit_together(before: str, after: str, found: str):
    assert before in SELF
    assert found in problems(SWITCH + SELF.replace(before, after))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('name = "g1"', 'has no meaning with mode = "switch"'),
        ('listen = "192.0.2.1:7947"', 'has no meaning with mode = "switch"'),
        ('key = "vmac.key"', 'has no meaning with mode = "switch"'),
        ('learning_interval = "30s"', 'has no meaning with mode = "switch"'),
    ],
)
def test_what_only_gateways_that_dispatch_themselves_have(line: str, found: str):
    assert found in problems(SWITCH + BEHIND.replace("ports = [1]\n", f"ports = [1]\n{line}\n"))


def test_gateways_behind_our_switch_must_be_reachable_and_some():
    assert "no port has 10.7.0.11 on-link" in problems(SWITCH + BEHIND.replace("10.9.0.11", "10.7.0.11"))
    for via in ("10.9.0.1", "10.1.0.1"):
        found = problems(SWITCH + BEHIND.replace("10.9.0.11", via))
        assert f"{via} is the switch's, the shared one or another gateway's" in found
    twice = SWITCH + BEHIND + '[[vmac.gateway]]\nname = "b"\nvia = "10.9.0.11"\n'
    assert "10.9.0.11 is the switch's, the shared one or another gateway's" in problems(twice)
    assert "has no gateway; add [[vmac.gateway]]" in problems(SWITCH + BEHIND[: BEHIND.index("[[vmac.gateway]]")])


def test_of_two_switches_one_must_be_named():
    second = SWITCH.replace('"edge"', '"other"').replace("9559", "9560")
    assert "there are several switches" in problems(SWITCH + second + SELF)
    named = parse(SWITCH + second + SELF.replace("ports = [1]\n", 'ports = [1]\nswitch = "other"\n')).vmac
    assert named is not None
    assert named.switch == "other"


def test_a_key_that_is_not_there(tmp_path: Path):
    file = tmp_path / "depot.toml"
    file.write_text(SWITCH + SELF)
    with pytest.raises(ConfigError, match="`depot vmac init` makes the key that all gateways share"):
        load(file)
    (tmp_path / "vmac.key").write_text("0123456789abcdef0123456789abcdef")
    assert load(file).vmac is not None
