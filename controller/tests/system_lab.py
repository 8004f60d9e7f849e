"""The lab of the system tests: the demo's network with a fourth member, checksummed traffic, a relay to the switch."""

from __future__ import annotations

import ipaddress
import json
import os
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from depot.demo.box import Box, Engine, Target
from depot.demo.configuration import SWITCH_ADDRESS, Service
from depot.demo.kernel import listens
from depot.demo.lab import Lab, Process, missing_programs, wait_until
from depot.demo.network import CLIENTS, DEPOT, HEALTH_SOURCE, MEMBERS, Host, build_network, give_vip

HERE = Path(__file__).parent
TRAFFIC = str(HERE / "session_traffic.py")
PORT = 7000
"""Port of the traffic servers and of their VIPs."""
MEMBER4 = Host("member4", "10.2.0.14", "fd00:2::14")
ALL_MEMBERS = (*MEMBERS, MEMBER4)
NAT = {4: "203.0.113.70", 6: "2001:db8:70::70"}
DSR = {4: "203.0.113.71", 6: "2001:db8:70::71"}
RELAY_PORT = 9560
SESSIONS = ((NAT[4], CLIENTS[0].name, 100), (NAT[6], CLIENTS[1].name, 60), (DSR[4], CLIENTS[0].name, 40))
"""Two hundred sessions: VIP, client, how many."""
PAUSES = (0.2, 0.3, 0.4, 0.5)
SIZES = (200, 3000, 1000, 20)
PATIENCE = 8.0
"""Seconds without an answer after which a session counts as lost."""

NEEDS = [
    pytest.mark.netns,
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces"),
    pytest.mark.skipif(bool(missing_programs(("ip", "ethtool"))), reason="needs the programs ip and ethtool"),
]
"""What every system test is marked with."""


def services(
    members: Sequence[Host] = MEMBERS, weights: Mapping[str, int] | None = None, **settings: object
) -> list[Service]:
    """The VIPs of the tests: TCP by NAT and by direct server return, UDP by NAT, in both families."""
    tcp = {"on_member_failure": "reset", "time_wait": "1s", "idle_timeout": "10s"} | settings
    udp = {"protocol": "udp", "idle_timeout": "30s"} | settings
    given = weights or {}
    return [
        *(Service(f"tcp{f}", vip, PORT, "nat", members, given, settings=tcp) for f, vip in NAT.items()),
        *(Service(f"direct{f}", vip, PORT, "dsr", members, given, settings=tcp) for f, vip in DSR.items()),
        *(Service(f"udp{f}", vip, PORT, "nat", members, given, settings=udp, health={}) for f, vip in NAT.items()),
    ]


@dataclass
class Conversation:
    """A program that answers each line of standard input by one line."""

    process: Process
    buffer: bytes = b""

    def say(self, line: str, seconds: float = 60.0) -> str:
        """Send a line, wait for the answer."""
        pipe_in, pipe_out = self.process.popen.stdin, self.process.popen.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        pipe_in.write(line.encode() + b"\n")
        pipe_in.flush()
        deadline = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([pipe_out], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(pipe_out.fileno(), 1 << 16) if ready else b""
            assert data, f"{self.process.name} does not answer {line!r}:\n{self.process.log_tail()}"
            self.buffer += data
        answer, _, self.buffer = self.buffer.partition(b"\n")
        return answer.decode()


@dataclass
class SystemLab:
    """Everything running, and how the tests speak with it."""

    lab: Lab
    box: Box
    relay: Conversation
    watch: Process
    servers: dict[str, Process] = field(default_factory=dict)
    drivers: dict[str, Conversation] = field(default_factory=dict)
    held: dict[str, dict[str, str]] = field(default_factory=dict)
    """By client: the sessions that are held, address, port and VIP to member."""

    @classmethod
    def build(
        cls,
        lab: Lab,
        target: Target = Target.SOFTSWITCH,
        engine: Engine = Engine.AUTO,
        options: tuple[str, ...] = (),
    ) -> SystemLab:
        """Network, traffic servers, switch, relay, controller, clients."""
        build_network(lab, ALL_MEMBERS)
        argv = [sys.executable, str(HERE / "relay.py"), str(RELAY_PORT), SWITCH_ADDRESS.rpartition(":")[2]]
        relay = Conversation(lab.start(DEPOT, "relay", *argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        watch = lab.start("lan", "resets", sys.executable, str(HERE / "reset_watch.py"))
        wait_until(lambda: "watching" in watch.log.read_text(), 5.0, "resets are watched")
        system = cls(lab, Box(lab, target, f"127.0.0.1:{RELAY_PORT}", engine, options), relay, watch)
        for member in ALL_MEMBERS:
            for vip in DSR.values():
                give_vip(lab, member, vip)
            system.start_server(member.name)
        for client in CLIENTS:
            argv = [sys.executable, TRAFFIC, "drive"]
            process = lab.start(
                client.name, f"driver-{client.name}", *argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            system.drivers[client.name] = Conversation(process)
        system.box.configure(services())
        system.box.start_switch()
        system.box.start_controller()
        system.wait_all_up()
        return system

    def start_server(self, name: str) -> None:
        """Start a member's traffic server."""
        process = self.lab.start(name, f"server-{name}", sys.executable, TRAFFIC, "serve", name, str(PORT))
        wait_until(lambda: listens(process.pid, PORT, 6), 10.0, f"{name} listens")
        self.servers[name] = process

    # What the depot says

    def wait_state(self, member: str, state: str, seconds: float = 10.0) -> None:
        """Wait until a member has this state in every VIP that is watched (UDP is not), and the switch knows it."""

        def has_it() -> bool:
            rows = [row for row in self.box.ask("members") if row["name"] == member]
            return {row["state"] for row in rows if not row["vip"].startswith("udp")} == {state}

        wait_until(has_it, seconds, f"{member} is {state}")
        self.box.wait_in_sync()

    def wait_all_up(self) -> None:
        """Wait until every configured member is up."""

        def all_up() -> bool:
            rows = self.box.ask("members")
            return bool(rows) and all(row["state"] == "up" for row in rows)

        wait_until(all_up, 10.0, "all members up")
        self.box.wait_in_sync()

    def reload(self, wanted: Sequence[Service]) -> None:
        """Change the configuration of the running controller, and wait until the switch has it."""
        self.box.configure(wanted)
        self.box.tell("reload")
        self.box.wait_in_sync()

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """What the switch holds, read by an outsider."""
        program = str(HERE / "switch_tables.py")
        tables: dict[str, list[dict[str, Any]]] = json.loads(
            self.lab.run(DEPOT, sys.executable, program, SWITCH_ADDRESS, "1")
        )
        return tables

    def resets_sent(self, members: Sequence[str]) -> Counter[str]:
        """How many TCP resets members have sent: what they do for packets of sessions that they do not know.

        Those for health checks do not count: a kernel sends one when both sides of a connection close at once.
        """
        lines = [line.split() for line in self.watch.log.read_text().splitlines() if line.count(" ") == 1]
        ends = {f"m-{name}": name for name in members}
        checks = (HEALTH_SOURCE.ipv4, HEALTH_SOURCE.ipv6)
        return Counter(ends[interface] for interface, to in lines if interface in ends and to not in checks)

    # Sessions

    def drive(self, client: str, do: str, **arguments: object) -> dict[str, Any]:
        """One command for a client's driver (see session_traffic.Driver)."""
        answer: dict[str, Any] = json.loads(self.drivers[client].say(json.dumps({"do": do} | arguments)))
        return answer

    def reports(self) -> list[dict[str, Any]]:
        """What the sessions of each client are doing."""
        return [self.drive(client, "report") for client in self.drivers]

    def hold_sessions(self) -> None:
        """See to it that the two hundred sessions are held."""
        if sum(map(len, self.held.values())) == sum(count for _, _, count in SESSIONS) and self.lost() == []:
            return
        self.end_sessions()
        for vip, client, count in SESSIONS:
            answer = self.drive(
                client, "open", address=vip, port=PORT, count=count, pauses=PAUSES, sizes=SIZES, patience=PATIENCE
            )
            assert answer["failed"] == []
            assert answer["lost"] == []
            self.held[client] = answer["sessions"]

    def end_sessions(self) -> None:
        """End whatever is held."""
        for client in self.drivers:
            self.drive(client, "finish", seconds=PATIENCE)
        self.held = {}

    def lost(self) -> list[str]:
        """Why sessions were lost."""
        return [reason for report in self.reports() for reason in report["lost"]]

    def expect_all_exchange(self, records: int = 2, seconds: float = 15.0) -> None:
        """Every held session exchanges so many more records, with the member it always had."""
        for client in self.drivers:
            answer = self.drive(client, "progress", records=records, seconds=seconds)
            assert answer["lost"] == []
            assert answer["behind"] == 0
            assert answer["sessions"] == self.held.get(client, {})

    def probe(self, count: int, vip: str = NAT[4], client: str = CLIENTS[0].name, source_port: int = 0) -> list[str]:
        """The members of so many new sessions, none of which fails."""
        answer = self.drive(client, "probe", address=vip, port=PORT, count=count, source_port=source_port)
        assert answer["failed"] == []
        members: list[str] = answer["members"]
        return members

    def wait_no_sessions(self) -> None:
        """Wait until the switch has no entry of a session any more."""
        wait_until(lambda: not self.tables()["connection_table"], 20.0, "connection_table is empty", every=0.3)

    def expect_entries_of_sessions(self) -> None:
        """For each session that is held the switch has one entry, which names the session's member."""
        wait_until(lambda: not self.wrong_entries(), 5.0, "every session has its entry")

    def wrong_entries(self) -> list[str]:
        """What is wrong with the entries of the sessions that are held."""
        tables = self.tables()
        member_of = {}
        for entry in tables["member_table"]:
            address = entry["params"]["address"]
            member_of[entry["key"]["member_id"]] = next(
                m.name for m in ALL_MEMBERS if address in (as_number(m.ipv4), as_number(m.ipv6))
            )
        actual = {}
        for entry in tables["connection_table"]:
            key, params = entry["key"], entry["params"]
            if entry["action"] == "forward_to_member" and key["protocol"] == 6:
                client, service = ("hi", "lo") if params["client_is_hi"] else ("lo", "hi")
                ends = (key[f"addr_{client}"], key[f"port_{client}"], key[f"addr_{service}"])
                actual[ends] = member_of.get(params["member_id"])
        wrong = []
        for sessions in self.held.values():
            for name, member in sessions.items():
                address, port, vip = name.split()
                found = actual.get((as_number(address), int(port), as_number(vip)))
                if found != member:
                    wrong.append(f"{name}: is on {member}, entry says {found}")
        return wrong


def as_number(address: str) -> int:
    """An address as the tables hold it: IPv4 mapped into IPv6."""
    parsed = ipaddress.ip_address(address)
    return 0xFFFF << 32 | int(parsed) if parsed.version == 4 else int(parsed)


def lab_of(target: Target, engine: Engine = Engine.AUTO) -> Iterator[SystemLab]:
    """A lab while a fixture lasts, where this machine has such a switch."""
    if target is Target.BMV2 and missing_programs([target.program]):  # softswitch is installed with us
        pytest.skip(f"{target.program} is not on the PATH")
    with Lab() as lab:
        yield SystemLab.build(lab, target, engine)


EVERY_TARGET = pytest.mark.parametrize("system", list(Target), ids=lambda target: target.value, indirect=True)
"""For a test whose outcome depends on the switch: `make test` has it on the reference switch too."""


@pytest.fixture(
    scope="module",
    params=[Target.SOFTSWITCH, pytest.param(Target.BMV2, marks=pytest.mark.matrix)],
    ids=lambda target: target.value,
)
def system(request: pytest.FixtureRequest) -> Iterator[SystemLab]:
    """One lab for a module's tests, on the software switch as it chooses its engine, then on the reference switch."""
    yield from lab_of(request.param)


@pytest.fixture(
    scope="module", params=["auto", *(pytest.param(name, marks=pytest.mark.matrix) for name in ("python", "bmv2"))]
)
def every_engine(request: pytest.FixtureRequest) -> Iterator[SystemLab]:
    """As `system`, on each engine of the software switch: for the tests that stand for the others."""
    if request.param == Target.BMV2.value:
        yield from lab_of(Target.BMV2)
    else:
        yield from lab_of(Target.SOFTSWITCH, Engine(request.param))
