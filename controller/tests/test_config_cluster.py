"""The cluster and the access policy in the operator's file: what they mean, and every mistake with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from controller.tests.config_texts import changed, problems

from depot.address import Endpoint, Protocol, parse_address, parse_prefix
from depot.config import (
    BusKind,
    ConfigError,
    EntryMode,
    HealthType,
    HostPort,
    Mode,
    PolicyAction,
    SteerKind,
    load,
    parse,
)

GOOD = """\
[[switch]]
name = "s1"
address = "127.0.0.1:9559"
  [[switch.port]]
  number = 1
  mac = "02:00:00:00:00:01"
  addresses = ["192.0.2.11/24", "2001:db8::11/64", "10.9.0.1/24"]

[cluster]
name = "a"
listen = "192.0.2.1:4646"
tunnel = ["192.0.2.11", "2001:db8::11"]
ca = "ca.pem"
cert = "a.pem"
key = "a.key"
hold_time = "100ms"
hold_bytes = 1_000_000
hold_flow_bytes = 65536
entries = "eager"
mss_mtu = 1400

[[cluster.peer]]
name = "b"
address = "192.0.2.2:4646"
tunnel = ["192.0.2.12"]
keepalive = "2s"
misses = 4
retries = 5
retry_interval = "1s"

[[cluster.peer]]
name = "c"
address = "192.0.2.3:4646"
tunnel = ["2001:db8::13"]
retries = "infinite"

[[policy]]
name = "web"
client = "10.1.0.0/16"
server = "any"
port = [80, "8000-8099"]
protocol = "tcp"
action = "intercept"
to = "squid"
steer = "affinity"

[[policy]]
name = "mail"
server = ["198.51.100.0/24", "2001:db8:25::/48"]
port = 25
protocol = "tcp"
action = "intercept"
to = "elsewhere"
holder = "b"

[[policy]]
name = "rest"
action = "deny"

[[vip]]
name = "squid"
transparent = true
[[vip.member]]
name = "s1"
address = "10.9.0.2"

[[vip]]
name = "own"
address = "203.0.113.80"
port = 80
shared = false
[[vip.member]]
name = "w1"
address = "10.9.0.3"
"""


def good(*changes: tuple[str, str]) -> str:
    """The good file with texts replaced, each found exactly once."""
    return changed(GOOD, *changes)


def test_everything_in_the_good_file_arrives() -> None:
    config = parse(GOOD, base=Path("/etc/depot"))
    cluster = config.cluster
    assert cluster is not None
    assert (cluster.name, cluster.listen, cluster.insecure) == ("a", HostPort("192.0.2.1", 4646), False)
    assert cluster.tunnel == (parse_address("192.0.2.11"), parse_address("2001:db8::11"))
    assert (cluster.ca, cluster.cert, cluster.key) == tuple(
        Path("/etc/depot") / n for n in ("ca.pem", "a.pem", "a.key")
    )
    assert (cluster.hold_time, cluster.hold_bytes, cluster.hold_flow_bytes) == (0.1, 1_000_000, 65536)
    assert (cluster.entries, cluster.mss_mtu) == (EntryMode.EAGER, 1400)
    b, c = cluster.peers
    assert (b.name, str(b.address), b.tunnel) == ("b", "192.0.2.2:4646", (parse_address("192.0.2.12"),))
    assert (b.keepalive, b.misses, b.retries, b.retry_interval) == (2, 4, 5, 1)
    assert (c.keepalive, c.misses, c.retries) == (1, 3, None)
    web, mail, rest = config.policies
    assert (web.action, web.to, web.holder, web.steer) == (PolicyAction.INTERCEPT, "squid", None, SteerKind.AFFINITY)
    assert (web.clients, web.servers, web.ports) == ((parse_prefix("10.1.0.0/16"),), (), ((80, 80), (8000, 8099)))
    assert web.protocols == (Protocol.TCP,)
    assert (mail.holder, len(mail.servers)) == ("b", 2)
    assert (rest.action, rest.protocols, rest.clients, rest.ports) == (PolicyAction.DENY, tuple(Protocol), (), ())
    squid, own = config.vips
    assert (squid.transparent, squid.shared, squid.mode, squid.address, squid.port) == (True, True, Mode.DSR, 0, 0)
    assert (squid.health.type, squid.members[0].port) == (HealthType.NONE, 0)
    assert (own.transparent, own.shared) == (False, False)


def test_what_the_defaults_are() -> None:
    text = good(
        ('hold_time = "100ms"\n', ""), ("hold_bytes = 1_000_000\nhold_flow_bytes = 65536\n", ""),
        ('entries = "eager"\n', ""), ("mss_mtu = 1400\n", ""), ("shared = false\n", ""),
    )  # fmt: skip
    config = parse(text)
    cluster = config.cluster
    assert cluster is not None
    # seed 000, 3: 160 Mbit/s for 100 ms; the issue: 200 ms
    assert (cluster.hold_bytes, cluster.hold_time) == (160_000_000 // 8 // 10, 0.2)
    assert (cluster.entries, cluster.mss_mtu) == (EntryMode.LAZY, 1500)
    assert all(vip.shared for vip in config.vips)


def test_without_a_cluster_nothing_is_shared_and_rules_still_work() -> None:
    start, end = GOOD.index("[cluster]"), GOOD.index('[[policy]]\nname = "rest"')
    rule = '[[policy]]\nname = "web"\nprotocol = "tcp"\naction = "intercept"\nto = "squid"\n'
    config = parse((GOOD[:start] + rule + GOOD[end:]).replace("shared = false\n", ""))
    assert config.cluster is None
    assert not any(vip.shared for vip in config.vips)
    assert [rule.name for rule in config.policies] == ["web", "rest"]


def test_plain_channels_are_asked_for() -> None:
    config = parse(good(('ca = "ca.pem"\ncert = "a.pem"\nkey = "a.key"\n', "insecure = true\n")))
    assert config.cluster is not None
    assert (config.cluster.insecure, config.cluster.ca, config.cluster.key) == (True, None, None)


@pytest.mark.parametrize(
    ("client", "server", "port", "protocol", "fits"),
    [
        ("10.1.2.3", "198.51.100.1", 80, 6, True),
        ("10.1.2.3", "198.51.100.1", 8099, 6, True),
        ("10.1.2.3", "198.51.100.1", 8100, 6, False),
        ("10.1.2.3", "198.51.100.1", 80, 17, False),
        ("10.2.2.3", "198.51.100.1", 80, 6, False),
        ("2001:db8::1", "2001:db8::2", 80, 6, False),
    ],
)
def test_which_connections_a_rule_is_about(client: str, server: str, port: int, protocol: int, fits: bool) -> None:
    web = parse(GOOD).policies[0]
    ends = Endpoint(parse_address(client), 4000), Endpoint(parse_address(server), port)
    assert web.fits(*ends, protocol) is fits


_TLS = 'ca = "ca.pem"\ncert = "a.pem"\nkey = "a.key"\n'

# As in test_config: changes, the text on the line where the mistake is expected and which of them, key, message.
MISTAKES: dict[str, tuple[list[tuple[str, str]], tuple[str, int], str, str]] = {
    "unknown key": ([("hold_time", "holdtime")], ("holdtime", 1), "cluster.holdtime", 'did you mean "hold_time"'),
    "unknown key of a peer": ([("misses = 4", "missed = 4")], ("missed", 1), "cluster.peer[0].missed", '"misses"'),
    "unknown key of a rule": ([("steer =", "ster =")], ("ster =", 1), "policy[0].ster", '"steer"'),
    "no name": ([('[cluster]\nname = "a"\n', "[cluster]\n")], ("[cluster]", 1), "cluster", '"name" is missing'),
    "no tunnel of a peer": (
        [('tunnel = ["192.0.2.12"]\n', "")], ("[[cluster.peer]]", 1), "cluster.peer[0]", '"tunnel" is missing',
    ),
    "no certificates": ([(_TLS, "")], ("[cluster]", 1), "cluster", 'lacks "ca", "cert", "key": control channels'),
    "no key": ([('key = "a.key"\n', "")], ("[cluster]", 1), "cluster", 'lacks "key"'),
    "certificates of no use": ([(_TLS, 'ca = "ca.pem"\ninsecure = true\n')], ("ca =", 1), "cluster.ca", "insecure"),
    "own name among peers": ([('name = "b"', 'name = "a"'), ('holder = "b"', 'holder = "c"')], ('name = "a"', 2),
        "cluster.peer[0].name", "this member itself"),
    "peer name twice": (
        [('name = "c"', 'name = "b"')], ('name = "b"', 2), "cluster.peer[1].name",
        "taken already by cluster.peer[0].name (line 23)",
    ),
    "peer address twice": (
        [("192.0.2.3:4646", "192.0.2.2:4646")], ("192.0.2.2:4646", 2), "cluster.peer[1].address", "taken already",
    ),
    "peer at our own place": (
        [("192.0.2.3:4646", "192.0.2.1:4646")], ("192.0.2.1:4646", 2), "cluster.peer[1].address", "listens itself",
    ),
    "tunnel twice": (
        [('"2001:db8::13"', '"192.0.2.12"')], ('"192.0.2.12"', 2), "cluster.peer[1].tunnel[0]",
        "192.0.2.12 is taken already by cluster.peer[0].tunnel[0]",
    ),
    "tunnel of nobody's port": (
        [('["192.0.2.11", "2001:db8::11"]', '["192.0.2.99", "2001:db8::11"]')], ("192.0.2.99", 1), "cluster.tunnel[0]",
        "no address of a switch port",
    ),
    "two tunnels of a family": (
        [('["192.0.2.11", "2001:db8::11"]', '["192.0.2.11", "10.9.0.1", "2001:db8::11"]')], ("tunnel", 1),
        "cluster.tunnel[1]", "second address of its family",
    ),
    "peer's tunnel is ours": (
        [('"192.0.2.12"', '"10.9.0.1"')], ('["10.9.0.1"]', 1), "cluster.peer[0].tunnel[0]", "our own switch",
    ),
    "no common family": (
        [('["192.0.2.11", "2001:db8::11"]', '["192.0.2.11"]')], ("2001:db8::13", 1), "cluster.peer[1].tunnel",
        "no address of a family",
    ),
    "no way to a peer": (
        [('"192.0.2.12"', '"198.18.0.1"')], ("198.18.0.1", 1), "cluster.peer[0].tunnel[0]", "no way to 198.18.0.1",
    ),
    "hold time out of range": ([('"100ms"', '"20s"')], ("20s", 1), "cluster.hold_time", '"1ms" to "10s"'),
    "flow's cap above the whole": (
        [("hold_flow_bytes = 65536", "hold_flow_bytes = 2_000_000")], ("hold_flow_bytes", 1),
        "cluster.hold_flow_bytes", "more than hold_bytes, 1000000",
    ),
    "cap below a packet": ([("1_000_000", "100")], ("hold_bytes", 1), "cluster.hold_bytes", "1500 to"),
    "unknown entries": ([('"eager"', '"early"')], ("early", 1), "cluster.entries", 'did you mean "eager"'),
    "retries in words": ([("retries = 5", 'retries = "many"')], ("many", 1), "cluster.peer[0].retries", '"infinite"'),
    "no retries": ([("retries = 5", "retries = 0")], ("retries = 0", 1), "cluster.peer[0].retries", "use 1 to"),
    "intervals the wrong way": (
        [('retry_interval = "1s"', 'retry_interval = "9s"')], ("9s", 1), "cluster.peer[0].retry_interval", "below",
    ),
    "rule's name twice": ([('name = "mail"', 'name = "web"')], ('name = "web"', 2), "policy[1].name", "taken already"),
    "no action": ([('action = "deny"\n', "")], ("[[policy]]", 3), "policy[2]", '"action" is missing'),
    "unknown action": ([('action = "deny"', 'action = "drop"')], ('"drop"', 1), "policy[2].action", "bypass"),
    "no host in the prefix": ([("10.1.0.0/16", "10.1.0.1/16")], ("10.1.0.1", 1), "policy[0].client", "bits set"),
    "prefix in a list": (
        [("2001:db8:25::/48", "2001:db8:25::")], ("2001:db8:25::", 1), "policy[1].server[1]", "prefix length",
    ),
    "all of IPv6": ([('"10.1.0.0/16"', '"::/0"')], ("::/0", 1), "policy[0].client", 'say "any"'),
    "families that never meet": (
        [('"10.1.0.0/16"', '["10.1.0.0/16", "2001:db8::/64"]'), ('server = "any"', 'server = "198.51.100.0/24"')],
        ("10.1.0.0/16", 1), "policy[0].client[1]", "2001:db8::/64 is of another family",
    ),
    "port out of range": ([('[80, "8000-8099"]', "[80, 65537]")], ("65537", 1), "policy[0].port[1]", "0 to 65535"),
    "range the wrong way": ([("8000-8099", "8099-8000")], ("8099-8000", 1), "policy[0].port[1]", '"8000-8099"?'),
    "no range": ([("8000-8099", "http")], ('"http"', 1), "policy[0].port[1]", "no port range"),
    "no ports": ([('[80, "8000-8099"]', "[]")], ("port = []", 1), "policy[0].port", "nothing would fit"),
    "no prefixes": ([('"10.1.0.0/16"', "[]")], ("client = []", 1), "policy[0].client", "nothing would fit"),
    "unknown protocol": ([('protocol = "tcp"\naction = "intercept"\nto = "squid"',
        'protocol = "sctp"\naction = "intercept"\nto = "squid"')], ("sctp", 1), "policy[0].protocol", '"tcp", "udp"'),
    "holder nobody knows": (
        [('holder = "b"', 'holder = "bb"')], ('"bb"', 1), "policy[1].holder", 'of the cluster; did you mean "b"',
    ),
    "interception by nobody": ([('to = "squid"\n', "")], ("[[policy]]", 1), "policy[0]", 'needs "to"'),
    "interception by an unknown VIP": (
        [('to = "squid"', 'to = "squit"')], ('"squit"', 1), "policy[0].to", 'no VIP squit; did you mean "squid"',
    ),
    "interception by a VIP of its own": ([('to = "squid"', 'to = "own"')], ('"own"', 1), "policy[0].to", "transparent"),
    "interception of too much": (
        [('protocol = "tcp"\naction = "intercept"\nto = "squid"', 'action = "intercept"\nto = "squid"')],
        ("[[policy]]", 1), "policy[0]", 'say protocol = "tcp"',
    ),
    "interception of another protocol": (
        [('"tcp"\naction = "intercept"\nto = "squid"', '"udp"\naction = "intercept"\nto = "squid"')], ('"squid"', 1),
        "policy[0].to", "squid is for TCP",
    ),
    "target of a denial": ([('action = "deny"', 'action = "deny"\nto = "squid"')], ('"squid"', 2), "policy[2].to",
        'no meaning with action "deny"'),
    "address of a transparent VIP": (
        [("transparent = true", 'transparent = true\naddress = "203.0.113.81"')], ("203.0.113.81", 1), "vip[0].address",
        "leave it out",
    ),
    "port of a transparent VIP": (
        [("transparent = true", "transparent = true\nport = 3128")], ("3128", 1), "vip[0].port", "leave it out",
    ),
    "mode of a transparent VIP": (
        [("transparent = true", 'transparent = true\nmode = "nat"')], ('"nat"', 1), "vip[0].mode", 'mode = "dsr"',
    ),
    "port of a transparent member": (
        [('address = "10.9.0.2"', 'address = "10.9.0.2"\nport = 3128')], ("3128", 1), "vip[0].member[0].port",
        "take any port",
    ),
    "check at no port": (
        [('address = "10.9.0.2"', 'address = "10.9.0.2"\n[vip.health]\ntype = "tcp"')], ('type = "tcp"', 1),
        "vip[0].health.type", 'give "port"',
    ),
    "transparent member past a router": (
        [('"10.9.0.2"', '"10.8.0.2"')], ("10.8.0.2", 1), "vip[0].member[0].address", "on-link at no port",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_with_its_place(case: str) -> None:
    changes, (part, nth), key, message = MISTAKES[case]
    text = good(*changes)
    found = problems(text)
    lines = [number for number, line in enumerate(text.splitlines(), 1) if part in line]
    assert found == [(lines[nth - 1], key, found[0][2])], found
    assert message in found[0][2]


def test_without_a_cluster_its_words_have_no_meaning() -> None:
    start, end = GOOD.index("[cluster]"), GOOD.index("[[policy]]")
    text = (GOOD[:start] + GOOD[end:]).replace("shared = false", "shared = true")
    assert {key for _, key, _ in problems(text)} == {"policy[0].steer", "policy[1].holder", "vip[1].shared"}


def test_a_member_has_one_switch() -> None:
    other = '[[switch]]\nname = "s2"\naddress = "127.0.0.1:9560"\n[[switch.port]]\nnumber = 1\n'
    text = GOOD + other + 'mac = "02:00:00:00:00:02"\naddresses = ["198.51.100.1/24"]\n'
    assert "a member of a cluster has one switch" in "".join(message for _, _, message in problems(text))


def test_missing_certificates_are_told(tmp_path: Path) -> None:
    (tmp_path / "depot.toml").write_text(GOOD)
    (tmp_path / "ca.pem").touch()
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "depot.toml")
    told = [(problem.key, "depot cluster init" in problem.message) for problem in caught.value.problems]
    assert told == [("cluster.cert", True), ("cluster.key", True)]


NATS = (
    GOOD.replace('listen = "192.0.2.1:4646"', 'bus = "nats"\nnats = "nats://192.0.2.9:4222"')
    .replace('address = "192.0.2.2:4646"\n', "")
    .replace('address = "192.0.2.3:4646"\n', "")
    .replace('retries = 5\nretry_interval = "1s"\n', "")
    .replace('retries = "infinite"\n', "")
)


def test_a_bus_needs_no_addresses_of_members() -> None:
    cluster = parse(NATS, base=Path("/etc/depot")).cluster
    assert cluster is not None
    assert (cluster.bus, cluster.nats) == (BusKind.NATS, HostPort("192.0.2.9", 4222))
    assert [peer.name for peer in cluster.peers] == ["b", "c"]


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        ('bus = "nats"\n', "", "cluster.nats", "has no meaning without bus"),
        ('nats = "nats://192.0.2.9:4222"\n', "", "cluster", 'write nats = "nats://host:port"'),
        ("nats://", "http://", "cluster.nats", "is no NATS server"),
        (":4222", "", "cluster.nats", ""),
        ('bus = "nats"', 'bus = "kafka"', "cluster.bus", "mesh"),
        ('bus = "nats"', 'bus = "nats"\nlisten = "192.0.2.1:4646"', "cluster.listen", "do not call each other"),
        ("misses = 4", "misses = 4\nretries = 3", "cluster.peer[0].retries", "do not call each other"),
    ],
    ids=["server without bus", "bus without server", "scheme", "port", "bus", "listen", "retries"],
)
def test_a_mistake_about_the_bus_is_named_with_its_place(old: str, new: str, key: str, message: str) -> None:
    assert old in NATS
    found = problems(NATS.replace(old, new))
    assert any(where == key and message in text for _, where, text in found), found
