"""The operator's file: what it means, and every mistake with its line."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from controller.tests.config_texts import changed, problems
from hypothesis import given
from hypothesis import strategies as st

from depot.address import Protocol, parse_address, parse_prefix
from depot.config import (
    Config,
    ConfigError,
    HealthType,
    HostPort,
    LogLevel,
    MemberFailure,
    Mode,
    Problem,
    SchedulerKind,
    load,
    parse,
)
from depot.config.locate import locate_keys

GOOD = """\
[depot]
name = "edge"
socket = "run/depot.sock"
metrics = "127.0.0.1:9100"
log_level = "debug"

[[switch]]
name = "s1"
address = "127.0.0.1:9559"
device_id = 7
tls = { ca = "ca.pem", cert = "depot.pem", key = "depot.key" }

  [[switch.port]]
  number = 1
  mac = "02:00:00:00:00:01"
  addresses = ["10.0.0.1/24", "fd00::1/64"]
  mtu = 1400

  [[switch.port]]
  number = 2
  mac = "02:00:00:00:00:02"
  addresses = ["203.0.113.1/24"]

  [[switch.route]]
  prefix = "0.0.0.0/0"
  via = "203.0.113.254"

  [[switch.route]]
  prefix = "10.9.0.0/16"
  port = 1

[[vip]]
name = "web"
address = "192.0.2.10"
port = 80
scheduler = "weighted-round-robin"
slow_start = "1m30s"
on_member_failure = "reset"

  [[vip.member]]
  name = "a"
  address = "10.0.0.11"
  port = 8080
  weight = 3

  [[vip.member]]
  name = "b"
  address = "10.0.0.12"

  [vip.health]
  type = "http"
  interval = "500ms"
  path = "/healthz"
  expect = [200, 204]

[[vip]]
name = "dns"
address = "2001:db8::53"
port = 53
protocol = "udp"
mode = "ipip"
tunnel_source = "10.0.0.1"
scheduler = "cost"

  [[vip.member]]
  name = "a"
  address = "10.0.0.11"

  [vip.cost]
  cpu_load = 2
  report_path = "/load"
"""


def good(*changes: tuple[str, str]) -> str:
    """The good file with texts replaced, each found exactly once."""
    return changed(GOOD, *changes)


def line_of(text: str, part: str, nth: int = 1) -> int:
    lines = [number for number, line in enumerate(text.splitlines(), 1) if part in line]
    return lines[nth - 1]


def test_everything_in_the_good_file_arrives() -> None:
    config = parse(GOOD, base=Path("/etc/depot"))
    assert config.depot.name == "edge"
    assert config.depot.socket == Path("/etc/depot/run/depot.sock")
    assert config.depot.metrics == HostPort("127.0.0.1", 9100)
    assert config.depot.log_level is LogLevel.DEBUG
    (switch,) = config.switches
    assert (switch.name, str(switch.address), switch.device_id, switch.election_id) == ("s1", "127.0.0.1:9559", 7, None)
    assert switch.tls is not None
    assert switch.tls.key == Path("/etc/depot/depot.key")
    assert [(port.number, port.mac, port.mtu) for port in switch.ports] == [
        (1, 0x020000000001, 1400),
        (2, 0x020000000002, 1500),
    ]
    assert [str(interface) for interface in switch.ports[0].addresses] == ["10.0.0.1/24", "fd00::1/64"]
    default, inner = switch.routes
    assert (default.prefix, default.port, default.via) == (parse_prefix("0.0.0.0/0"), 2, parse_address("203.0.113.254"))
    assert (inner.prefix, inner.port, inner.via) == (parse_prefix("10.9.0.0/16"), 1, None)
    web, dns = config.vips
    assert (web.protocol, web.mode, web.scheduler) == (Protocol.TCP, Mode.NAT, SchedulerKind.WEIGHTED_ROUND_ROBIN)
    assert (web.slow_start, web.on_member_failure, web.idle_timeout, web.time_wait) == (
        90,
        MemberFailure.RESET,
        900,
        60,
    )
    assert [(m.name, str(m.endpoint), m.weight) for m in web.members] == [
        ("a", "10.0.0.11:8080", 3),
        ("b", "10.0.0.12:80", 1),
    ]
    assert (web.health.type, web.health.interval, web.health.path) == (HealthType.HTTP, 0.5, "/healthz")
    assert (web.health.expect, web.health.passive) == ((200, 204), True)
    assert (dns.protocol, dns.idle_timeout, dns.health.type, dns.health.passive) == (17, 60, HealthType.NONE, False)
    assert (dns.tunnel_source, dns.members[0].port) == (parse_address("10.0.0.1"), 53)
    assert (dns.cost.cpu_load, dns.cost.response_time, dns.cost.report_path) == (2, 0, "/load")


def test_a_small_file_is_enough() -> None:
    config = parse("""
        [[switch]]
        name = "s"
        address = "[::1]:9559"
        port = [{ number = 1, mac = "02:00:00:00:00:01" }]
    """)
    assert config.vips == ()
    assert str(config.switches[0].address) == "[::1]:9559"
    assert config.depot.socket == Path("/run/depot.sock")


# Each case: what is changed in the good file, the text on the line where the mistake is expected (and which line of
# those that hold it), the key, part of the message.
MISTAKES: dict[str, tuple[list[tuple[str, str]], tuple[str, int], str, str]] = {
    "unknown key": ([("log_level", "log_levle")], ("log_levle", 1), "depot.log_levle", 'did you mean "log_level"'),
    "unknown table": ([("[depot]", "[dept]")], ("[dept]", 1), "dept", 'did you mean "depot"'),
    "unknown key deep inside": ([("weight = 3", "wait = 3")], ("wait", 1), "vip[0].member[0].wait", '"weight"'),
    "text for a number": ([("mtu = 1400", 'mtu = "1400"')], ("mtu", 1), "switch[0].port[0].mtu", "not a string"),
    "boolean for a number": ([("device_id = 7", "device_id = true")], ("device", 1), "switch[0].device_id", "boolean"),
    "number for a text": ([('name = "edge"', "name = 5")], ("name = 5", 1), "depot.name", "a string, not an integer"),
    "float for an integer": ([("weight = 3", "weight = 3.5")], ("3.5", 1), "vip[0].member[0].weight", "an integer"),
    "out of range": ([("weight = 3", "weight = 257")], ("257", 1), "vip[0].member[0].weight", "use 0 to 256"),
    "port 0": ([("port = 53", "port = 0")], ("port = 0", 1), "vip[1].port", "use 1 to 65535"),
    "mtu below IPv6's": ([("mtu = 1400", "mtu = 1279")], ("mtu", 1), "switch[0].port[0].mtu", "1280"),
    "CPU port": ([("number = 1", "number = 255")], ("255", 1), "switch[0].port[0].number", "controller's own"),
    "empty text": ([('name = "edge"', 'name = ""')], ('name = ""', 1), "depot.name", "empty"),
    "bad name": ([('name = "web"', 'name = "a b"')], ("a b", 1), "vip[0].name", "is no name"),
    "missing key": ([('address = "127.0.0.1:9559"\n', "")], ("[[switch]]", 1), "switch[0]", '"address" is missing'),
    "missing member address": (
        [('  address = "10.0.0.12"\n', "")], ("[[vip.member]]", 2), "vip[0].member[1]", '"address" is missing',
    ),
    "no duration": ([('"500ms"', '"fast"')], ("fast", 1), "vip[0].health.interval", 'like "30s"'),
    "duration without unit": ([('"500ms"', "5")], ("interval", 1), "vip[0].health.interval", "with its unit"),
    "duration with rest": ([('"500ms"', '"5s 3"')], ("interval", 1), "vip[0].health.interval", "is no duration"),
    "duration too long": ([('"500ms"', '"2h"')], ("interval", 1), "vip[0].health.interval", '"100ms" to "1h"'),
    "bad address": ([("192.0.2.10", "192.0.2.300")], ("300", 1), "vip[0].address", "is no IPv4 or IPv6 address"),
    "bad address in a list": (
        [("fd00::1/64", "fd00::1")], ("fd00", 1), "switch[0].port[0].addresses[1]", "lacks its prefix length",
    ),
    "bad MAC": ([("02:00:00:00:00:02", "2:0:0")], ("2:0:0", 1), "switch[0].port[1].mac", "six hexadecimal pairs"),
    "group MAC": ([("02:00:00:00:00:02", "03:00:00:00:00:02")], ("03:", 1), "switch[0].port[1].mac", "unicast"),
    "host bits in a prefix": ([("10.9.0.0/16", "10.9.1.0/16")], ("10.9", 1), "switch[0].route[1].prefix", "10.9.0.0"),
    "no host:port": ([("127.0.0.1:9100", "9100")], ("9100", 1), "depot.metrics", "host:port"),
    "unknown scheduler": (
        [('"weighted-round-robin"', '"weighted-robin"')], ("weighted", 1), "vip[0].scheduler",
        'did you mean "weighted-round-robin"',
    ),
    "unknown mode": ([('"ipip"', '"gre"')], ("gre", 1), "vip[1].mode", "nat, dsr, ipip"),
    "unknown protocol": ([('"udp"', '"sctp"')], ("sctp", 1), "vip[1].protocol", 'use "tcp" or "udp"'),
    "unknown check": ([('type = "http"', 'type = "icmp"')], ("icmp", 1), "vip[0].health.type", "tcp, http, none"),
    "bad status": ([("[200, 204]", "[200, 99]")], ("99", 1), "vip[0].health.expect[1]", "100 to 599"),
    "no status": ([("[200, 204]", "[]")], ("expect", 1), "vip[0].health.expect", "at least one"),
    "bad path": ([("/healthz", "healthz")], ("healthz", 1), "vip[0].health.path", 'start with "/"'),
    "table for a value": ([("port = 80\n", "port = {}\n")], ("port = {}", 1), "vip[0].port", "not a table"),
    "value for a table": ([("[depot]", "depot = 5\n[x]")], ("depot = 5", 1), "depot", "written [depot]"),
    "cert without key": ([(', key = "depot.key"', "")], ("tls", 1), "switch[0].tls", "belong together"),
    "value for tables": (
        [("[[vip]]\nname = \"dns\"", "[[vip]]\nhealth = 5\nname = \"dns\"")], ("health = 5", 1), "vip[1].health",
        "written [vip.health]",
    ),
    "text for true": ([("[vip.health]", "[vip.health]\n  passive = \"no\"")], ("passive", 1), "vip[0].health.passive",
        "true or false",
    ),
    "coefficient out of range": ([("cpu_load = 2", "cpu_load = -2")], ("cpu", 1), "vip[1].cost.cpu_load", "0 to 1000"),
    "text for a coefficient": ([("cpu_load = 2", 'cpu_load = "2"')], ("cpu", 1), "vip[1].cost.cpu_load", "a number"),
    "text for a list": (
        [('["203.0.113.1/24"]', '"203.0.113.1/24"')], ('"203', 1), "switch[0].port[1].addresses", "must be a list",
    ),
    "port of a host out of range": ([("127.0.0.1:9559", "127.0.0.1:0")], (":0", 1), "switch[0].address", "1 and 65535"),
    "blank in a path": ([("/healthz", "/health z")], ("health z", 1), "vip[0].health.path", "without spaces"),
    "VIP in use": (
        [("2001:db8::53", "192.0.2.10"), ("port = 53", "port = 80"), ('"udp"', '"tcp"')],
        ('address = "192.0.2.10"', 2), "vip[1].address", "TCP 192.0.2.10:80 is taken already by vip[0].address (line",
    ),
    "VIP name in use": ([('"dns"', '"web"')], ('"web"', 2), "vip[1].name", "is taken already"),
    "VIP at a port's address": ([("192.0.2.10", "10.0.0.1")], ('"10.0.0.1"', 1), "vip[0].address", "switch port's own"),
    "member name twice": ([('name = "b"', 'name = "a"')], ('name = "a"', 2), "vip[0].member[1].name", "taken already"),
    "member endpoint twice": (
        [("10.0.0.12", "10.0.0.11"), ("port = 8080\n", "")], ("10.0.0.11", 2), "vip[0].member[1].address",
        "member 10.0.0.11:80 is taken already by vip[0].member[0].address",
    ),
    "other family": (
        [("10.0.0.12", "fd00::12")], ("fd00::12", 1), "vip[0].member[1].address", 'mode "nat" keeps the family',
    ),
    "member at a port's address": (
        [("10.0.0.12", "203.0.113.1")], ('"203.0.113.1"', 1), "vip[0].member[1].address", "switch port's own",
    ),
    "member is a VIP": (
        [("10.0.0.12", "192.0.2.10")], ('"192.0.2.10"', 2), "vip[0].member[1].address", "the address of VIP web",
    ),
    "no way to a member": (
        [('prefix = "0.0.0.0/0"', 'prefix = "198.51.100.0/24"'), ("10.0.0.12", "172.16.0.1")],
        ("172.16", 1), "vip[0].member[1].address", "switch s1 has no way to 172.16.0.1",
    ),
    "port twice": ([("number = 2", "number = 1")], ("number = 1", 2), "switch[0].port[1].number", "taken already"),
    "network on two ports": (
        [("203.0.113.1/24", "10.0.0.2/24"), ('via = "203.0.113.254"', "port = 2")],
        ("10.0.0.2", 1), "switch[0].port[1].addresses[0]", "on-link network 10.0.0.0/24 is taken already",
    ),
    "unknown port": ([("port = 1\n", "port = 9\n")], ("port = 9", 1), "switch[0].route[1].port", "has no port 9"),
    "next hop nowhere": (
        [("203.0.113.254", "198.51.100.1")], ("198.51.100.1", 1), "switch[0].route[0].via", "no port has this address",
    ),
    "route without a way": (
        [('  via = "203.0.113.254"\n', "")], ("[[switch.route]]", 1), "switch[0].route[0]", 'needs "via"',
    ),
    "route twice": (
        [("10.9.0.0/16", "0.0.0.0/0")], ("0.0.0.0/0", 2), "switch[0].route[1].prefix", "taken already",
    ),
    "route to an on-link network": (
        [("10.9.0.0/16", "10.0.0.0/24")], ('"10.0.0.0/24"', 1), "switch[0].route[1].prefix", "on-link already",
    ),
    "next hop of another family": (
        [("203.0.113.254", "fd00::254"), ('"0.0.0.0/0"', '"198.51.100.0/24"')],
        ("fd00::254", 1), "switch[0].route[0].via", "another family",
    ),
    "ipip without source": (
        [('tunnel_source = "10.0.0.1"\n', "")], ("[[vip]]", 2), "vip[1]", 'needs "tunnel_source"',
    ),
    "source without ipip": (
        [('"ipip"', '"nat"'), ("2001:db8::53", "192.0.2.53")],
        ("tunnel_source", 1), "vip[1].tunnel_source", "no meaning",
    ),
    "source of another family": (
        [('tunnel_source = "10.0.0.1"', 'tunnel_source = "fd00::1"')], ("tunnel_source", 1), "vip[1].tunnel_source",
        "another family than member a",
    ),
    "member port in ipip": (
        [('address = "10.0.0.11"\n\n', 'address = "10.0.0.11"\n  port = 54\n\n')], ("port = 54", 1),
        "vip[1].member[0].port", "keep the VIP's port 53",
    ),
    "passive check of UDP": (
        [("[vip.cost]", "[vip.health]\n  passive = true\n  [vip.cost]")], ("passive", 1), "vip[1].health.passive",
        "UDP has no SYN",
    ),
    "HTTP keys without HTTP": (
        [('  type = "http"\n', ""), ("  expect = [200, 204]\n", "")],
        ("/healthz", 1), "vip[0].health.path", "without type",
    ),
    "metric that nobody reports": (
        [('  report_path = "/load"\n', "")], ("cpu_load", 1), "vip[1].cost.cpu_load", '"report_path"',
    ),
    "cost of nothing": (
        [("cpu_load = 2", "cpu_load = 0")], ("[vip.cost]", 1), "vip[1].cost", "every coefficient is 0",
    ),
    "weight in round robin": (
        [('"weighted-round-robin"', '"round-robin"')], ("weight = 3", 1), "vip[0].member[0].weight", "knows no weights",
    ),
}  # fmt: skip

# Mistakes that cannot but show at more than one place.
FOLLOW_ON = {"value for a table": 1}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_with_its_place(case: str) -> None:
    changes, (part, nth), key, message = MISTAKES[case]
    text = good(*changes)
    found = problems(text)
    line = line_of(text, part, nth)
    assert [(at, where) for at, where, said in found if message in said] == [(line, key)], found
    assert len(found) == 1 + FOLLOW_ON.get(case, 0), found


def test_dsr_needs_members_on_link_and_at_the_vips_port() -> None:
    text = good(
        ('scheduler = "weighted-round-robin"', 'scheduler = "weighted-round-robin"\nmode = "dsr"'),
        ("10.0.0.12", "172.16.0.1"),
    )
    said = {key: message for _, key, message in problems(text)}
    assert "on-link at no port of switch s1" in said["vip[0].member[1].address"]
    assert "keep the VIP's port 80" in said["vip[0].member[0].port"]


def test_a_nat_member_serves_one_vip_and_the_message_says_what_to_do() -> None:
    second = """
[[vip]]
name = "web2"
address = "192.0.2.11"
port = 80
  [[vip.member]]
  name = "b"
  address = "10.0.0.12"
"""
    ((line, key, message),) = problems(GOOD + second)
    assert (line, key) == (line_of(GOOD + second, "[[vip.member]]", 4), "vip[2].member[0]")
    assert f"member of VIP web already (line {line_of(GOOD, '[[vip.member]]', 2)})" in message
    assert 'another port or address, or use mode "dsr" or "ipip"' in message
    assert parse(GOOD + second.replace('"10.0.0.12"', '"10.0.0.12"\n  port = 81')).vips[2].members[0].port == 81
    assert len(parse(GOOD + second.replace("port = 80", 'port = 80\nmode = "dsr"')).vips) == 3


def test_no_switch_and_no_ports_and_no_members() -> None:
    assert problems("") == [(0, "", "there is no switch; add [[switch]] with its name and address")]
    text = '[[switch]]\nname = "s"\naddress = "h:1"\n[[vip]]\nname = "v"\naddress = "192.0.2.1"\nport = 1\n'
    assert [(line, key) for line, key, _ in problems(text)] == [(1, "switch[0]"), (4, "vip[0]")]


def test_every_mistake_is_told_at_once_in_the_files_order() -> None:
    text = good(("device_id = 7", "device_id = -1"), ("mtu = 1400", "mtuu = 1400"), ("weight = 3", 'weight = "3"'))
    found = problems(text)
    assert [line for line, _, _ in found] == [line_of(text, p) for p in ("device_id", "mtuu", 'weight = "3"')]


def test_toml_mistakes_have_their_line() -> None:
    text = good(('log_level = "debug"', "log_level ="))
    ((line, key, message),) = problems(text)
    assert (line, key) == (line_of(text, "log_level ="), "")
    assert "is not TOML" in message
    ((line, _, message),) = problems("[depot]\nname = [1,\n")
    assert line >= 2
    assert "is not TOML" in message


def test_a_key_given_twice_is_a_toml_mistake() -> None:
    ((line, _, message),) = problems('[depot]\nname = "a"\nname = "b"\n')
    assert line == 3
    assert "is not TOML" in message


class TestFiles:
    def test_a_file_is_loaded_and_its_folder_is_the_base(self, tmp_path: Path) -> None:
        for name in ("ca.pem", "depot.pem", "depot.key"):
            (tmp_path / name).touch()
        (tmp_path / "depot.toml").write_text(GOOD)
        config = load(tmp_path / "depot.toml")
        assert config == parse(GOOD, base=tmp_path)
        assert config.depot.socket == tmp_path / "run/depot.sock"

    def test_missing_tls_files_are_told(self, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").touch()
        (tmp_path / "depot.toml").write_text(GOOD)
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / "depot.toml")
        assert [problem.key for problem in caught.value.problems] == ["switch[0].tls.cert", "switch[0].tls.key"]
        assert str(tmp_path / "depot.toml") in str(caught.value)

    def test_a_missing_file_is_a_config_error(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be read: No such file"):
            load(tmp_path / "none.toml")

    def test_bytes_that_are_no_utf8(self, tmp_path: Path) -> None:
        (tmp_path / "depot.toml").write_bytes(b"[depot]\n\nname = '\xff'\n")
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / "depot.toml")
        assert [(problem.line, problem.message) for problem in caught.value.problems] == [
            (3, "is not UTF-8, as TOML must be")
        ]


def test_windows_line_ends_count_as_lines() -> None:
    text = good(("device_id = 7", "device_id = -1")).replace("\n", "\r\n")
    assert [line for line, _, _ in problems(text)] == [line_of(text, "device_id")]


LAYOUTS = '''\
# a comment = 1
top = "x" # [no.table]

[a."b.c"]
'literal' = """
[[not.a.table]]
key = "no" \\""" quoted """
after = 1
list = [ # comment ]
  1,
  [2, "]",
    3],
  { x = 1, y.z = [
    4 ] },
]
dotted . key = 1979-05-27T07:32:00Z

[[t]]
x = 1
[[t.u]]
x = 2
[[t.u]]
x = \'\'\'it's
fine\'\'\'
[[t]]
[t.v]
x = -inf
[[t.u]]
x = 3
'''


def test_the_locator_finds_every_kind_of_key() -> None:
    lines = locate_keys(LAYOUTS)
    tomllib.loads(LAYOUTS)
    expected = {
        ("top",): 2,
        ("a", "b.c"): 4,
        ("a", "b.c", "literal"): 5,
        ("a", "b.c", "after"): 8,
        ("a", "b.c", "list"): 9,
        ("a", "b.c", "list", 0): 10,
        ("a", "b.c", "list", 1): 11,
        ("a", "b.c", "list", 1, 2): 12,
        ("a", "b.c", "list", 2): 13,
        ("a", "b.c", "list", 2, "y", "z"): 13,
        ("a", "b.c", "list", 2, "y", "z", 0): 14,
        ("a", "b.c", "dotted", "key"): 16,
        ("t",): 18,
        ("t", 0): 18,
        ("t", 0, "u", 0, "x"): 21,
        ("t", 0, "u", 1, "x"): 23,
        ("t", 1): 25,
        ("t", 1, "v", "x"): 27,
        ("t", 1, "u", 0): 28,
        ("t", 1, "u", 0, "x"): 29,
    }
    assert {path: lines.get(path) for path in expected} == expected


def paths_of(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every key path of a parsed document."""
    parts: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        parts = list(value.items())
    elif isinstance(value, list):
        parts = list(enumerate(value))
    return [path] * bool(path) + [found for key, part in parts for found in paths_of(part, (*path, key))]


@given(st.text(alphabet="ab=[].,{}\"'#\n 1\\", max_size=60))
def test_the_locator_knows_every_path_that_tomllib_knows(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(paths_of(document)) <= set(locate_keys(text))


def test_the_locator_knows_every_path_of_the_good_file() -> None:
    assert set(paths_of(tomllib.loads(GOOD))) == set(locate_keys(GOOD))


def outcome(text: str) -> Config | tuple[Problem, ...]:
    """What a text comes to; nothing but a config or a config error may."""
    try:
        return parse(text)
    except ConfigError as error:
        return error.problems


@given(st.text(max_size=200))
def test_any_text_is_a_config_or_has_problems(text: str) -> None:
    assert outcome(text)


values = st.recursive(
    st.sampled_from(['"x"', "1", "-1", "1.5", "true", "[]", "{}", "1979-05-27", "nan", '""', '"::"', '"1s"', "2e99"]),
    lambda inner: st.lists(inner, max_size=2).map(lambda parts: f"[{', '.join(parts)}]"),
    max_leaves=4,
)


@given(st.data())
def test_any_value_anywhere_gives_problems_with_lines_inside_the_file(data: st.DataObject) -> None:
    lines = GOOD.splitlines()
    number = data.draw(st.sampled_from([n for n, line in enumerate(lines) if " = " in line]))
    lines[number] = lines[number].partition(" = ")[0] + " = " + data.draw(values)
    found = outcome("\n".join(lines))
    assert isinstance(found, Config) or all(1 <= problem.line <= len(lines) for problem in found)


def test_values_where_tables_belong_are_told() -> None:
    text = "vip = [1]\n" + GOOD[: GOOD.index("[[vip]]")]
    assert problems(text) == [(1, "vip", "must be tables, each written [[vip]]")]
