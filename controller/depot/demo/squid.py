"""The proxies: real Squid, transparent towards clients and servers (TPROXY), each with files of its own.

Packets for foreign addresses come to Squid's host by MAC. Its kernel takes them for its own (`divert`), so they find
Squid's transparent socket at port 80; what Squid opens itself carries the client's address, and the answers come back
the same way.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from depot.demo.kernel import listens
from depot.demo.lab import Lab, LabError, Process, wait_until
from depot.demo.topology import FAMILIES

__all__ = ["HTTP", "Request", "Squid", "divert", "parse_requests"]

HTTP = 80
"""The port that is intercepted; Squid listens there, since a diverted packet keeps its port."""
_USER = "proxy"
"""Whom Debian's Squid becomes."""
_TABLE = 100
"""Routing table in which every address is local."""
_START_SECONDS = 10.0
_LOG_FIELDS = 5
_NOTHING_ASKED = "error:"

_CONFIGURATION = """\
http_port {port} tproxy
http_port 127.0.0.1:3128
visible_hostname {name}
http_access allow all
cache deny all
cache_mem 8 MB
memory_cache_shared off
digest_generation off
server_persistent_connections off
client_persistent_connections off
connect_timeout {patience} seconds
connect_retries 0
forward_max_tries 1
shutdown_lifetime 0 seconds
logformat visit %ts.%03tu %>a %<a %>Hs %ru
access_log stdio:{folder}/access.log visit
cache_log {folder}/cache.log
pid_filename {folder}/squid.pid
coredump_dir {folder}
cache_effective_user {user}
dns_nameservers 127.0.0.1
hosts_file none
pinger_enable off
netdb_filename none
"""
_START = "mount -t tmpfs -o mode=1777 depot /dev/shm && exec squid -N -f {folder}/squid.conf"
"""Squid's shared memory has names that another Squid has too, and stays after a kill: it gets a place of its own."""


class Request(NamedTuple):
    """One line of Squid's access log: a request that was answered, well or not."""

    time: float
    """Seconds since the epoch, when the answer was complete."""
    client: str
    """The client's address."""
    server: str
    """The server's address that Squid connected to; "-" if it did not come to that."""
    status: int
    """HTTP status that the client got."""
    url: str
    """What was asked for."""


def divert(lab: Lab, node: str, *which: str) -> None:
    """Let a node's kernel deliver to itself whatever packets a selector of `ip rule` names, in both families."""
    for family in FAMILIES:
        everywhere = "0.0.0.0/0" if family == 4 else "::/0"
        rules = [f"rule add {selector} lookup {_TABLE}" for selector in which]
        lab.ip(node, f"route add local {everywhere} dev lo table {_TABLE}", *rules, family=family)


@dataclass(slots=True)
class Squid:
    """One Squid on a host of its own, or on the router that clients' packets pass."""

    lab: Lab
    """Where it runs."""
    node: str
    """Its namespace, and its name in `Via`."""
    ports: tuple[int, int]
    """First and last port of its own connections: apart from the client's own and other proxies', since with the
    client's address on them nothing else tells them apart."""
    patience: int = 2
    """Seconds until it gives up a connection to a server."""
    process: Process | None = None
    """Squid, while it should be running."""
    starts: int = 0
    """How often it was started."""

    @property
    def folder(self) -> Path:
        """Its configuration, logs and pid file."""
        return self.lab.folder / self.node

    def prepare(self, diverted: Sequence[str]) -> None:
        """Write its configuration; `diverted` are selectors of `ip rule` for packets that are to reach it."""
        self.folder.mkdir()
        shutil.chown(self.folder, _USER, _USER)
        text = _CONFIGURATION.format(port=HTTP, name=self.node, patience=self.patience, folder=self.folder, user=_USER)
        (self.folder / "squid.conf").write_text(text)
        self.lab.set(self.node, {"ipv4/ip_local_port_range": f"{self.ports[0]} {self.ports[1]}"})
        divert(self.lab, self.node, *diverted)

    def start(self) -> None:
        """Start it; returns when it listens. Raises LabError."""
        self.starts += 1
        script = _START.format(folder=self.folder)
        name = f"squid-{self.node}-{self.starts}"
        # Asked to end, Squid takes two seconds; killed, it leaves nothing outside the lab's folder.
        self.process = process = self.lab.start(self.node, name, "sh", "-c", script, ending=signal.SIGKILL)

        def ready() -> bool:
            self.lab.expect_running(process)
            return listens(process.pid, HTTP, 6)  # one socket for both families

        wait_until(ready, _START_SECONDS, f"Squid of {self.node} listens")

    def kill(self) -> None:
        """kill -9."""
        if self.process is None:
            raise LabError(f"Squid of {self.node} does not run")
        self.process.kill()
        self.process = None

    def requests(self, since: float = 0.0) -> list[Request]:
        """What it has answered since a time, in order."""
        log = self.folder / "access.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [request for request in parse_requests(lines) if request.time >= since]


def parse_requests(lines: Iterable[str]) -> Iterator[Request]:
    """Read an access log, without what was no request and without a line that is not yet whole."""
    for line in lines:
        words = line.split(" ", _LOG_FIELDS - 1)
        # The last line may be half written, and health checks leave lines without a URL.
        if len(words) == _LOG_FIELDS and not words[-1].startswith(_NOTHING_ASKED):
            time, client, server, status, url = words
            yield Request(float(time), client, server, int(status), url)
