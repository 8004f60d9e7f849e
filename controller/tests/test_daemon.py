"""`depot run` and its commands as whole programs, with a real software switch: what an operator sees and causes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from controller.tests.running import Daemon, SwitchProcess, eventually
from controller.tests.switch_tables import read_tables

from depot.daemon.metrics import Metrics

pytestmark = pytest.mark.server

SWITCH = """
[[switch]]
name = "edge"
address = "{address}"
[[switch.port]]
number = 1
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.1/24", "fd00:1::1/64"]
[[switch.port]]
number = 2
mac = "02:00:00:00:02:01"
addresses = ["10.2.0.1/24", "127.0.0.2/8"]
"""
WEB = """
[[vip]]
name = "web"
address = "10.1.0.100"
port = 80
{settings}
[vip.health]
{health}
"""
MEMBER = '[[vip.member]]\nname = "{name}"\naddress = "{address}"\nport = {port}\n{more}\n'
UNCHECKED = 'type = "none"'


def vip(*members: tuple[str, str, int], settings: str = "", health: str = UNCHECKED, more: str = "") -> str:
    text = WEB.format(settings=settings, health=health)
    return text + "".join(MEMBER.format(name=n, address=a, port=p, more=more) for n, a, p in members)


THREE = vip(("m1", "10.2.0.11", 8080), ("m2", "10.2.0.12", 8080), ("m3", "10.2.0.13", 8080))


ENGINE = ("--engine", "python")
"""Nothing is forwarded here, and it loads the program quickly."""


@pytest.fixture(scope="module")
def switch() -> Iterator[SwitchProcess]:
    """One for all: each daemon makes of its tables what it wants. Members of former ones are kept."""
    with SwitchProcess.running(*ENGINE) as running:
        yield running


@contextmanager
def running(folder: Path, switch: SwitchProcess, services: str = THREE) -> Iterator[Daemon]:
    daemon = Daemon(folder, SWITCH.format(address=switch.address) + services)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.kill()


@pytest.fixture
def daemon(tmp_path: Path, switch: SwitchProcess) -> Iterator[Daemon]:
    with running(tmp_path, switch) as made:
        yield made


@pytest.fixture(scope="class")
def lasting(tmp_path_factory: pytest.TempPathFactory, switch: SwitchProcess) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), switch) as made:
        yield made


def tables(switch: SwitchProcess) -> dict[str, list[dict[str, Any]]]:
    return read_tables(switch.address, 1)  # type: ignore[return-value]


def slots(switch: SwitchProcess) -> Counter[int]:
    """Slots by the last byte of the member's address."""
    held = tables(switch)
    addresses = {row["key"]["member_id"]: row["params"]["address"] & 255 for row in held["member_table"]}
    return Counter(addresses[row["params"]["member_id"]] for row in held["schedule_table"])


class TestQuestions:
    """All of one daemon: each leaves it as it was."""

    @pytest.fixture
    def daemon(self, lasting: Daemon) -> Daemon:
        return lasting

    def test_status(self, daemon: Daemon) -> None:
        status = daemon.ask("status")
        (edge,) = status["switches"]
        assert (edge["name"], edge["role"], edge["in_sync"], edge["trouble"]) == ("edge", "primary", True, "")
        assert edge["updates_failed"] == 0
        (web,) = status["vips"]
        assert (web["name"], web["members_up"], web["members"], web["slots"]) == ("web", 3, 3, 3)
        text = daemon.command("status").stdout
        assert "in sync" in text
        assert "10.1.0.100" in text

    def test_members(self, daemon: Daemon) -> None:
        rows = daemon.ask("members", "--vip", "web")
        assert [(row["name"], row["state"], row["weight"]) for row in rows] == [
            (m, "up", 1) for m in ("m1", "m2", "m3")
        ]
        assert sum(row["share"] for row in rows) == pytest.approx(1.0, abs=0.001)
        lines = daemon.command("members").stdout.splitlines()
        assert len(lines) == 4
        assert lines[0].startswith("VIP  MEMBER")

    def test_connections_of_a_quiet_depot(self, daemon: Daemon) -> None:
        assert daemon.ask("connections", "--vip", "web") == {"count": 0, "connections": []}
        assert daemon.command("connections", "--count").stdout == "0\n"

    def test_events(self, daemon: Daemon) -> None:
        daemon.ask("drain", "m1")
        lines = daemon.command("events", "--last", "1", "--json").stdout.splitlines()
        daemon.ask("undrain", "m1")
        event = json.loads(lines[-1])
        assert (event["kind"], event["member"], event["vip"]) == ("drained", "m1", "web")

    @pytest.mark.parametrize(
        ("words", "complaint"),
        [
            (("drain", "m9"), "there is no member m9 in any VIP; there are: m1, m2, m3"),
            (("drain", "m1", "--vip", "mail"), "there is no VIP mail; there are: web"),
            (("connections", "--client", "here"), "'here' is no IPv4 or IPv6 address"),
        ],
    )
    def test_what_is_not_there(self, daemon: Daemon, words: tuple[str, ...], complaint: str) -> None:
        done = daemon.command(*words)
        assert done.returncode == 1
        assert complaint in done.stderr
        assert done.stdout == ""

    @pytest.mark.parametrize("words", [("weight", "m1", "999"), ("weight", "m1", "-1"), ("fly",), ()])
    def test_used_wrongly(self, daemon: Daemon, words: tuple[str, ...]) -> None:
        assert daemon.command(*words).returncode == 2

    @pytest.mark.parametrize(
        "line",
        [
            b"\n",
            b"{}\n",
            b"[]\n",
            b"\xff\n",
            b'{"command": "dance"}\n',
            b'{"command": "drain"}\n',
            b'{"command": "drain", "member": 1}\n',
            b'{"command": "weight", "member": "m1", "weight": "x"}\n',
            b'{"command": "connections", "limit": -1}\n',
        ],
    )
    def test_bad_requests_are_answered(self, daemon: Daemon, line: bytes) -> None:
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(10)
            raw.connect(str(daemon.socket))
            raw.sendall(line)
            answer = json.loads(raw.makefile().readline())
        assert set(answer) == {"error"}
        assert daemon.command("members").returncode == 0

    def test_an_endless_request_ends(self, daemon: Daemon) -> None:
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(10)
            raw.connect(str(daemon.socket))
            try:
                raw.sendall(b"x" * 200_000)
                assert raw.recv(100) == b""
            except (BrokenPipeError, ConnectionResetError):
                pass
        assert daemon.command("members").returncode == 0

    def test_a_second_daemon_at_the_same_socket(self, daemon: Daemon) -> None:
        argv = [sys.executable, "-m", "depot", "run", "-c", str(daemon.config_file)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 1
        assert "another daemon answers here" in done.stderr
        assert daemon.command("status").returncode == 0

    def test_check_config(self, daemon: Daemon) -> None:
        argv = [sys.executable, "-m", "depot", "check-config", "-c", str(daemon.config_file)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
        assert (done.returncode, done.stdout.strip()) == (
            0, f"{daemon.config_file}: good: 1 switches, 1 VIPs, 3 members",
        )  # fmt: skip

    def test_the_shell_says_what_is_missing(self, daemon: Daemon) -> None:
        argv = [sys.executable, "-m", "depot", "shell", "-c", str(daemon.config_file), "--python", sys.executable]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 1
        assert "p4runtime-shell is not installed" in done.stderr


class TestOrders:
    def test_drain_and_undrain(self, daemon: Daemon, switch: SwitchProcess) -> None:
        (row,) = daemon.ask("drain", "m2")
        assert (row["name"], row["state"], row["share"]) == ("m2", "drained", 0.0)
        assert slots(switch) == {11: 1, 13: 1}, "when the command returns, the switch has it"
        daemon.ask("undrain", "m2")
        assert slots(switch) == {11: 1, 12: 1, 13: 1}

    def test_weight(self, tmp_path: Path, switch: SwitchProcess) -> None:
        services = vip(("m1", "10.2.0.11", 80), ("m2", "10.2.0.12", 80), settings='scheduler = "weighted-round-robin"')
        with running(tmp_path, switch, services) as daemon:
            daemon.ask("weight", "m2", "3")
            assert slots(switch) == {11: 1, 12: 3}
            daemon.ask("weight", "m2", "0")
            assert slots(switch) == {11: 1}
            daemon.ask("weight", "m2", "config")
            assert slots(switch) == {11: 1, 12: 1}

    def test_all_drained(self, daemon: Daemon, switch: SwitchProcess) -> None:
        for name in ("m1", "m2", "m3"):
            daemon.ask("drain", name)
        assert slots(switch) == {}
        (row,) = tables(switch)["vip_table"]
        assert row["params"]["schedule_size"] == 0


class TestReload:
    def test_a_changed_file(self, daemon: Daemon, switch: SwitchProcess) -> None:
        daemon.write(daemon.text + MEMBER.format(name="m4", address="10.2.0.14", port=8080, more=""))
        done = daemon.command("reload")
        assert done.returncode == 0, done.stderr
        assert slots(switch) == {11: 1, 12: 1, 13: 1, 14: 1}

    def test_drained_members_stay_so(self, daemon: Daemon, switch: SwitchProcess) -> None:
        daemon.ask("drain", "m2")
        daemon.write(daemon.text + MEMBER.format(name="m4", address="10.2.0.14", port=8080, more=""))
        assert daemon.command("reload").returncode == 0
        assert slots(switch) == {11: 1, 13: 1, 14: 1}

    def test_a_bad_file_changes_nothing_and_names_its_lines(self, daemon: Daemon, switch: SwitchProcess) -> None:
        before = tables(switch)
        daemon.write(daemon.text.replace('name = "m2"', 'name = "m1"') + "\ncolour = 3\n")
        done = daemon.command("reload")
        assert done.returncode == 1
        assert "the running configuration stays" in done.stderr
        assert "m1" in done.stderr
        assert "colour" in done.stderr
        assert f"{daemon.config_file}: line " in done.stderr
        assert tables(switch) == before
        assert daemon.command("status").returncode == 0

    def test_a_bad_file_by_signal(self, daemon: Daemon, switch: SwitchProcess) -> None:
        before = tables(switch)
        daemon.write("[what")
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)
        eventually(lambda: "reload refused" in daemon.log, "the refusal is logged")
        assert tables(switch) == before

    def test_what_needs_a_restart_is_said(self, daemon: Daemon) -> None:
        text = daemon.config_file.read_text().replace('name = "test"', 'name = "other"', 1)
        daemon.config_file.write_text(text)
        assert "started again" in daemon.command("reload").stdout

    def test_a_switch_more_and_less(self, daemon: Daemon, switch: SwitchProcess) -> None:
        with SwitchProcess.running(*ENGINE) as second:
            more = SWITCH.format(address=second.address).replace("edge", "second")
            daemon.write(more + daemon.text)
            assert daemon.command("reload").returncode == 0
            daemon.wait_in_sync()
            assert {row["name"] for row in daemon.ask("status")["switches"]} == {"edge", "second"}
            assert slots(second) == slots(switch)
            daemon.write()
            assert daemon.command("reload").returncode == 0
            assert [row["name"] for row in daemon.ask("status")["switches"]] == ["edge"]
            assert slots(second) == slots(switch), "what we let go of keeps its tables"


class TestLife:
    def test_killed_and_started_again(self, daemon: Daemon, switch: SwitchProcess) -> None:
        before = tables(switch)
        daemon.kill()
        daemon.start()
        assert tables(switch) == before
        assert daemon.ask("status")["switches"][0]["differences"] == 0

    def test_orders_outlive_the_daemon(self, daemon: Daemon, switch: SwitchProcess) -> None:
        daemon.ask("drain", "m2")
        daemon.ask("weight", "m3", "7")
        daemon.kill()
        daemon.start()
        assert slots(switch) == {11: 1, 13: 1}
        rows = {row["name"]: row for row in daemon.ask("members")}
        assert (rows["m2"]["state"], rows["m3"]["weight"]) == ("drained", 7)
        daemon.ask("undrain", "m2")
        daemon.ask("weight", "m3", "config")
        daemon.kill()
        daemon.start()
        assert slots(switch) == {11: 1, 12: 1, 13: 1}

    @pytest.mark.parametrize(
        "content", ["[", "7", '[{"vip": "web"}]', '[{"vip":"x","member":"y","drained":true,"weight":1}]']
    )
    def test_an_orders_file_that_is_none(self, daemon: Daemon, switch: SwitchProcess, content: str) -> None:
        daemon.kill()
        daemon.socket.with_name("depot.sock.orders").write_text(content)
        daemon.start()
        assert "depot.sock.orders" in daemon.log
        assert slots(switch) == {11: 1, 12: 1, 13: 1}

    def test_events_are_followed(self, daemon: Daemon) -> None:
        argv = [sys.executable, "-m", "depot", "events", "--follow", "--last", "0", "--json"]
        follower = subprocess.Popen([*argv, "--socket", str(daemon.socket)], stdout=subprocess.PIPE, text=True)
        assert follower.stdout is not None
        heard: list[str] = []
        reader = threading.Thread(target=lambda: heard.extend(follower.stdout or ()), daemon=True)
        reader.start()
        eventually(lambda: daemon.command("weight", "m2", "9").returncode == 0 and heard, "the event is told")
        daemon.stop()
        assert follower.wait(10) == 1, "the daemon has ended"
        assert json.loads(heard[0])["kind"] == "weight"

    def test_stopped_in_order(self, daemon: Daemon, switch: SwitchProcess) -> None:
        before = tables(switch)
        assert daemon.stop() == 0
        assert tables(switch) == before
        assert not daemon.socket.exists()
        assert "the switches keep their tables" in daemon.log

    def test_the_switch_dies_and_comes_back_empty(self, daemon: Daemon, switch: SwitchProcess) -> None:
        before = tables(switch)
        switch.kill()
        eventually(lambda: daemon.command("status").returncode == 1, "status fails")
        assert daemon.ask("status")["switches"][0]["trouble"]
        switch.start()
        daemon.wait_in_sync()
        after = tables(switch)
        assert {name: sorted(map(str, rows)) for name, rows in after.items()} == {
            name: sorted(map(str, rows)) for name, rows in before.items()
        }

    def test_a_second_daemon_stands_by_and_takes_over(
        self, daemon: Daemon, switch: SwitchProcess, tmp_path: Path
    ) -> None:
        folder = tmp_path / "second"
        folder.mkdir()
        second = Daemon(folder, daemon.text)
        second.start(in_sync=False)
        try:
            eventually(lambda: second.ask("status")["switches"][0]["role"] == "backup", "it stands by")
            assert second.command("status").returncode == 1
            daemon.kill()
            second.wait_in_sync()
            assert slots(switch) == {11: 1, 12: 1, 13: 1}
        finally:
            second.kill()

    def test_no_daemon(self, tmp_path: Path) -> None:
        done = Daemon(tmp_path, "").command("status")
        assert done.returncode == 1
        assert "no daemon answers" in done.stderr

    def test_a_file_that_is_wrong_is_not_run(self, tmp_path: Path) -> None:
        file = tmp_path / "depot.toml"
        file.write_text("[[switch]]\nname = 3\n")
        for command in ("run", "check-config"):
            argv = [sys.executable, "-m", "depot", command, "-c", str(file)]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
            assert done.returncode == 1
            assert f"{file}: line 2" in done.stderr


SHELL_PYTHON = Path(__file__).resolve().parents[2] / ".venv-p4rt-shell" / "bin" / "python"


@pytest.mark.skipif(not SHELL_PYTHON.is_file(), reason="p4runtime-shell has no environment here: make test makes it")
def test_the_shell_reads_beside_the_daemon(tmp_path: Path, empty: SwitchProcess) -> None:
    with running(tmp_path, empty) as daemon:
        words = ["shell", "edge", "-c", str(daemon.config_file), "--python", str(SHELL_PYTHON)]
        typed = 'for e in table_entry["member_table"].read(): print(e)\n\nexit\n'
        argv = [sys.executable, "-m", "depot", *words]
        done = subprocess.run(argv, input=typed, capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout.count("nat_to_member") == 3
        assert daemon.ask("status")["switches"][0]["role"] == "primary"


class Server:
    """A member on loopback that can be ill."""

    def __init__(self, address: str) -> None:
        self.status = 200
        self.report: dict[str, float] = {}
        self.answering = threading.Event()
        self.answering.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answering.wait(60)
                body = json.dumps(outer.report).encode()
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer((address, 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.answering.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    made = [Server("127.0.0.11"), Server("127.0.0.12")]
    yield made
    for server in made:
        server.close()


def members(servers: list[Server]) -> list[tuple[str, str, int]]:
    return [(f"m{n}", f"127.0.0.1{n}", server.port) for n, server in enumerate(servers, 1)]


class TestHealth:
    QUICK = 'interval = "100ms"\ntimeout = "1s"\nrise = 2\nfall = 2\n'

    def test_a_member_falls_ill_and_recovers(
        self, tmp_path: Path, switch: SwitchProcess, servers: list[Server]
    ) -> None:
        services = vip(*members(servers), health=self.QUICK + 'type = "http"')
        with running(tmp_path, switch, services) as daemon:
            eventually(lambda: slots(switch) == {11: 1, 12: 1}, "both serve")
            servers[1].status = 503
            eventually(lambda: slots(switch) == {11: 1}, "the ill one leaves the schedule")
            row = daemon.ask("members")[1]
            assert (row["state"], row["health"]) == ("down", "down")
            assert "503" in row["detail"]
            servers[1].status = 200
            eventually(lambda: slots(switch) == {11: 1, 12: 1}, "it returns by itself")
            kinds = [json.loads(line)["kind"] for line in daemon.command("events", "--json").stdout.splitlines()]
            assert "member-down" in kinds
            assert kinds[-1] == "member-up"

    def test_one_that_is_not_there_from_the_beginning(
        self, tmp_path: Path, switch: SwitchProcess, servers: list[Server]
    ) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.13", 0))
            services = vip(*members(servers), ("m3", "127.0.0.13", unused.getsockname()[1]), health=self.QUICK)
            with running(tmp_path, switch, services):
                eventually(lambda: slots(switch) == {11: 1, 12: 1}, "it leaves the schedule")

    @pytest.mark.parametrize("well", [True, False])
    def test_a_dead_member_stays_out_when_the_daemon_starts_again(
        self, tmp_path: Path, switch: SwitchProcess, servers: list[Server], well: bool
    ) -> None:
        """Until its first check; the one that serves goes on without."""
        slow = 'interval = "100ms"\ntimeout = "30s"\nrise = 2\nfall = 2\ntype = "http"\n'
        with running(tmp_path, switch, vip(*members(servers), health=slow)) as daemon:
            servers[1].status = 503
            eventually(lambda: slots(switch) == {11: 1}, "the ill one leaves the schedule")
            daemon.kill()
            for server in servers:
                server.answering.clear()
            daemon.start()
            assert [row["state"] for row in daemon.ask("members")] == ["up", "unchecked"]
            assert slots(switch) == {11: 1}
            assert "web/m2: gets no session before its first check" in daemon.log
            servers[1].status = 200 if well else 503
            for server in servers:
                server.answering.set()
            state = "up" if well else "down"
            eventually(lambda: daemon.ask("members")[1]["state"] == state, f"it is {state}")
            eventually(lambda: slots(switch) == ({11: 1, 12: 1} if well else {11: 1}), "the schedule follows")

    def test_slow_start(self, tmp_path: Path, switch: SwitchProcess, servers: list[Server]) -> None:
        services = vip(*members(servers), settings='slow_start = "4s"', health=self.QUICK + 'type = "http"')
        with running(tmp_path, switch, services):
            eventually(lambda: slots(switch) == {11: 1, 12: 1}, "both serve at once at the start")
            servers[1].status = 503
            eventually(lambda: slots(switch) == {11: 1}, "the ill one leaves the schedule")
            servers[1].status = 200
            first = eventually(lambda: (now := slots(switch))[12] and now, "it returns")
            assert first[12] * 4 <= first[11], "with a small share"
            eventually(lambda: slots(switch) == {11: 1, 12: 1}, "and grows")


def test_the_cost_scheduler_follows_reports(tmp_path: Path, switch: SwitchProcess, servers: list[Server]) -> None:
    settings = 'scheduler = "cost"\n[vip.cost]\ncpu_load = 1.0\nresponse_time = 0.0\nactive_requests = 0.0\n'
    settings += 'report_path = "/load"\nreport_interval = "1s"'
    for server in servers:
        server.report = {"cpu_load": 0.2}
    with running(tmp_path, switch, vip(*members(servers), settings=settings)):
        eventually(lambda: slots(switch) == {11: 16, 12: 16}, "equal members share equally")
        servers[0].report = {"cpu_load": 0.9}
        eventually(lambda: slots(switch)[12] > 2 * slots(switch)[11], "the busy one gets less")


@pytest.fixture
def empty() -> Iterator[SwitchProcess]:
    with SwitchProcess.running(*ENGINE) as running:
        yield running


def test_metrics(tmp_path: Path, empty: SwitchProcess) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{probe.getsockname()[1]}"
    daemon = Daemon(tmp_path, f'metrics = "{place}"\n' + SWITCH.format(address=empty.address) + THREE)
    daemon.start()
    try:
        daemon.command("drain", "m1")
        with urllib.request.urlopen(f"http://{place}/metrics", timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain")
            lines = answer.read().decode().splitlines()
        values = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}
        assert values['depot_switch_in_sync{switch="edge"}'] == 1
        assert values['depot_write_errors_total{switch="edge"}'] == 0
        assert values['depot_entries{switch="edge",table="member_table"}'] == 3
        assert values['depot_member_drained{member="m1",vip="web"}'] == 1
        assert values['depot_drops_total{reason="no_session",switch="edge"}'] == 0
        named = {line.split()[2].removesuffix("_total") for line in lines if line.startswith("# HELP")}
        assert named == {f"depot_{spec.name}" for spec in Metrics.all()}
        for path, status in (("/nothing", 404),):
            with pytest.raises(urllib.error.HTTPError, match=str(status)):
                urllib.request.urlopen(f"http://{place}{path}", timeout=10)
    finally:
        daemon.kill()


def test_a_hung_switch_is_noticed(tmp_path: Path, switch: SwitchProcess) -> None:
    """It keeps its connections and does not answer."""
    with running(tmp_path, switch) as daemon:
        assert switch.process is not None
        switch.process.send_signal(signal.SIGSTOP)
        eventually(lambda: daemon.command("status").returncode == 1, "status fails", seconds=40)
        switch.process.send_signal(signal.SIGCONT)
        daemon.wait_in_sync()
