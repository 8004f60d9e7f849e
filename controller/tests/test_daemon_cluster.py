"""Two `depot run` as members of a cluster, with certificates from `depot cluster init`: what operators see."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from controller.tests.nats_server import NEEDS_NATS, NatsServer
from controller.tests.running import Daemon, SwitchProcess, eventually
from controller.tests.switch_tables import read_tables

pytestmark = pytest.mark.server

MEMBER = """
[[switch]]
name = "s{name}"
address = "{switch}"
[[switch.port]]
number = 1
mac = "02:00:00:00:0{i}:01"
addresses = ["192.0.2.1{i}/24", "10.9.{i}.1/24"]
[cluster]
name = "{name}"
listen = "127.0.0.1:{own_port}"
tunnel = ["192.0.2.1{i}"]
ca = "{pki}/ca.pem"
cert = "{pki}/{name}.pem"
key = "{pki}/{name}.key"
[[cluster.peer]]
name = "{peer}"
address = "127.0.0.1:{peer_port}"
tunnel = ["192.0.2.1{j}"]
keepalive = "200ms"
retry_interval = "50ms"
longest_retry_interval = "200ms"
[[policy]]
name = "web"
port = 80
protocol = "tcp"
action = "intercept"
to = "proxies"
[[vip]]
name = "proxies"
transparent = true
[[vip.member]]
name = "p1"
address = "10.9.{i}.11"
"""


_OF_CHANNELS = ("listen", "ca =", "cert =", "key =", "retry", "longest", 'address = "127.0.0.1:1"')
"""Lines that have no meaning on a bus, or name certificates."""
_PLAIN = "insecure = true"


def depot(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "depot", *words], capture_output=True, text=True, check=False)


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture
def switches() -> Iterator[tuple[SwitchProcess, SwitchProcess]]:
    engine = ("--engine", "python")  # nothing is forwarded here, and it loads the program quickly
    with SwitchProcess.running(*engine) as a, SwitchProcess.running(*engine) as b:
        yield a, b


@pytest.fixture
def members(tmp_path: Path, switches: tuple[SwitchProcess, SwitchProcess]) -> Iterator[tuple[Daemon, Daemon]]:
    pki = tmp_path / "pki"
    done = depot("cluster", "init", str(pki), "a", "b")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in pki.iterdir()) == ["a.key", "a.pem", "b.key", "b.pem", "ca.key", "ca.pem"]
    ports = free_ports()
    daemons = []
    for index, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        text = MEMBER.format(
            name=name, switch=switches[index].address, i=index + 1, j=2 - index, own_port=ports[index], pki=pki,
            peer="ba"[index], peer_port=ports[1 - index],
        )  # fmt: skip
        daemons.append(Daemon(tmp_path / name, text))
    for daemon in daemons:
        daemon.start()
    try:
        yield daemons[0], daemons[1]
    finally:
        for daemon in daemons:
            daemon.kill()


def is_up(daemon: Daemon) -> bool:
    return daemon.command("cluster", "status").returncode == 0


def test_members_see_each_other(members: tuple[Daemon, Daemon], switches: tuple[SwitchProcess, SwitchProcess]) -> None:
    a, b = members
    for daemon in members:
        eventually(lambda daemon=daemon: is_up(daemon), "the peer is up")  # type: ignore[misc]
    status = a.ask("cluster", "status")
    assert (status["name"], status["tls"], status["in_sync"], status["known"]) == ("a", True, True, 0)
    (peer,) = status["peers"]
    assert (peer["name"], peer["up"], peer["state"]) == ("b", True, "established")
    shown = a.command("cluster", "status").stdout
    assert "mutual TLS, in sync" in shown
    assert "established" in shown
    assert a.ask("connections", "--cluster") == {"count": 0, "connections": []}
    assert a.command("connections", "--cluster", "--count").stdout == "0\n"
    assert "cluster member a: 1 of 1 peers up" in a.command("status").stdout
    tables = read_tables(switches[0].address, 1)
    assert len(tables["tunnel_table"]) == 1
    assert {row["action"] for row in tables["policy_table"]} == {"intercept", "hold"}
    assert {row["action"] for row in tables["member_table"]} == {"dsr_to_member", "ipip_to_member"}
    assert len(tables["mss_table"]) == 2

    b.kill()
    eventually(lambda: not is_up(a), "the dead peer is missed")
    kinds = [event["kind"] for event in map(_event, a.command("events", "--json").stdout.splitlines())]
    assert [kind for kind in kinds if kind.startswith(("peer", "cluster-started"))] == [
        "cluster-started", "peer-up", "peer-lost", "peer-down",
    ]  # fmt: skip
    b.start()
    eventually(lambda: is_up(a), "the peer is back")

    b.command("cluster", "leave")
    eventually(lambda: not is_up(a), "the peer has left")
    last = a.command("events", "--last", "1").stdout
    assert "cluster: b is gone: peer left" in last.replace("-", " ")


def _event(line: str) -> dict[str, str]:
    return json.loads(line)  # type: ignore[no-any-return]


def test_reload_takes_other_peers_and_rules(members: tuple[Daemon, Daemon]) -> None:
    a, _ = members
    eventually(lambda: is_up(a), "the peer is up")
    start, end = a.text.index("[[cluster.peer]]"), a.text.index("[[policy]]")
    a.write(a.text[:start] + a.text[end:].replace('"intercept"\nto = "proxies"', '"deny"'))
    assert a.command("reload").returncode == 0
    assert a.ask("cluster", "status")["peers"] == []
    a.write(a.text.replace('name = "a"', 'name = "z"', 1).replace('name = "sa"', 'name = "sa"'))
    done = a.command("reload")
    assert "take effect when the daemon is started again" in done.stdout


def test_certificates_that_do_not_fit_together_are_told(tmp_path: Path, members: tuple[Daemon, Daemon]) -> None:
    a, _ = members
    a.kill()
    other = tmp_path / "other"
    depot("cluster", "init", str(other), "a")
    pki = tmp_path / "pki"
    a.write(a.text.replace(f"{pki}/a.key", f"{other}/a.key"))
    done = depot("run", "-c", str(a.config_file))
    assert done.returncode == 1
    assert "mismatch" in done.stderr.lower()


def test_a_depot_without_a_cluster_says_so(tmp_path: Path, switches: tuple[SwitchProcess, SwitchProcess]) -> None:
    text = MEMBER.format(
        name="a", switch=switches[0].address, i=1, j=2, own_port=1, pki=tmp_path, peer="b", peer_port=2
    )
    start, end = text.index("[cluster]"), text.index("[[policy]]")
    daemon = Daemon(tmp_path, text[:start] + text[end:])
    daemon.start()
    try:
        done = daemon.command("cluster", "status")
        assert done.returncode == 1
        assert "no member of a cluster" in done.stderr
    finally:
        daemon.kill()


def test_names_that_are_none_get_no_certificates(tmp_path: Path) -> None:
    done = depot("cluster", "init", str(tmp_path / "pki"), "a b")
    assert done.returncode == 1
    assert "is no name" in done.stderr
    assert not (tmp_path / "pki").exists()


@NEEDS_NATS
def test_members_on_a_bus_see_each_other(tmp_path: Path, switches: tuple[SwitchProcess, SwitchProcess]) -> None:
    server = NatsServer(tmp_path)
    server.start()
    daemons = []
    try:
        for index, name in enumerate("ab"):
            (tmp_path / name).mkdir()
            text = MEMBER.format(
                name=name, switch=switches[index].address, i=index + 1, j=2 - index, own_port=1, pki="",
                peer="ba"[index], peer_port=1,
            )  # fmt: skip
            meant = [line for line in text.splitlines() if not line.startswith(_OF_CHANNELS)]
            meant.insert(
                meant.index("[cluster]") + 1, f'bus = "nats"\nnats = "nats://127.0.0.1:{server.port}"\n{_PLAIN}'
            )
            daemons.append(Daemon(tmp_path / name, "\n".join(meant)))
            daemons[-1].start()
        for daemon in daemons:
            eventually(lambda daemon=daemon: is_up(daemon), "the peer is up")  # type: ignore[misc]
        assert f"nats://127.0.0.1:{server.port}" in daemons[0].command("cluster", "status").stdout
        assert daemons[1].command("cluster", "leave").returncode == 0
        eventually(lambda: not is_up(daemons[0]), "the peer that has left is missing")
        assert "peer left" in daemons[0].command("cluster", "status").stdout
    finally:
        for daemon in daemons:
            daemon.kill()
        server.kill()
