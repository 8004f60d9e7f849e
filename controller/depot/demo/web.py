"""The members: real nginx, each with its own configuration, pages, logs and temporary folders."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from depot.demo.kernel import listens
from depot.demo.lab import Lab, LabError, Process, wait_until
from depot.demo.network import Host

__all__ = ["PAGES", "Visit", "WebMember", "page_digest", "slowly"]

PAGES = {"small": 1_000, "medium": 600_000, "large": 1_200_000}
"""Size of each page, the same on every member."""
_SLOW_RATE = "100k"
_START_SECONDS = 5.0

_LISTEN = """\
        listen {port} backlog=1024;
        listen [::]:{port} backlog=1024;"""
_CONFIGURATION = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 2048; }}
http {{
    log_format visit '$msec $remote_addr $server_addr $status $body_bytes_sent $uri';
    access_log {folder}/access.log visit;
    client_body_temp_path {folder}/tmp-body;
    proxy_temp_path {folder}/tmp-proxy;
    fastcgi_temp_path {folder}/tmp-fastcgi;
    uwsgi_temp_path {folder}/tmp-uwsgi;
    scgi_temp_path {folder}/tmp-scgi;
    default_type text/plain;
    sendfile on;
    tcp_nodelay on;
    server {{
{listen}
        root {folder}/pages;
        add_header X-Member {name};
        location /slow/ {{
            alias {folder}/pages/;
            limit_rate {slow_rate};
        }}
        location = /health {{
            access_log off;
            return 200 "ok\\n";
        }}
    }}
}}
"""


class Visit(NamedTuple):
    """One line of a member's access log: a request that was answered."""

    time: float
    """Seconds since the epoch, when the answer was complete."""
    client: str
    """The client's address as the member sees it."""
    server: str
    """The address the member was asked at: its own behind NAT, the VIP with direct server return."""
    status: int
    """HTTP status."""
    size: int
    """Bytes of the page that were sent."""
    path: str
    """What was asked for, without query."""


def _page(name: str) -> bytes:
    return random.Random(name).randbytes(PAGES[name])


def page_digest(name: str) -> str:
    """SHA-256 of a page, in hexadecimal."""
    return sha256(_page(name)).hexdigest()


def slowly(name: str) -> str:
    """Path of a page that is sent at a hundred kilobytes a second."""
    return f"/slow/{name}"


@dataclass(slots=True)
class WebMember:
    """One nginx in one member's namespace."""

    lab: Lab
    """Where it runs."""
    host: Host
    """Its namespace and addresses."""
    ports: Sequence[int] = (80,)
    """Where it listens, in both families."""
    process: Process | None = None
    """nginx, while it should be running."""
    starts: int = 0
    """How often it was started."""

    @property
    def name(self) -> str:
        """The member's name, which its page `/` says."""
        return self.host.name

    @property
    def folder(self) -> Path:
        """Its configuration, logs and pages."""
        return self.lab.folder / self.name

    def prepare(self) -> None:
        """Write configuration and pages."""
        pages = self.folder / "pages"
        pages.mkdir(parents=True)
        (pages / "index.html").write_text(f"{self.name}\n")
        for name in PAGES:
            (pages / name).write_bytes(_page(name))
        listen = "\n".join(_LISTEN.format(port=port) for port in self.ports)
        text = _CONFIGURATION.format(folder=self.folder, name=self.name, slow_rate=_SLOW_RATE, listen=listen)
        (self.folder / "nginx.conf").write_text(text)

    def start(self) -> None:
        """Start nginx; returns when it listens. Raises LabError."""
        self.starts += 1
        folder = str(self.folder)
        argv = ["nginx", "-e", f"{folder}/error.log", "-p", folder, "-c", f"{folder}/nginx.conf"]
        self.process = process = self.lab.start(self.name, f"nginx-{self.name}-{self.starts}", *argv)

        def ready() -> bool:
            self.lab.expect_running(process)
            return all(listens(process.pid, port, family) for port in self.ports for family in (4, 6))

        wait_until(ready, _START_SECONDS, f"nginx of {self.name} listens")

    def kill(self) -> None:
        """kill -9, master and workers."""
        if self.process is None:
            raise LabError(f"nginx of {self.name} does not run")
        self.process.kill()
        self.process = None

    def visits(self) -> list[Visit]:
        """Everything it has answered so far, in order."""
        log = self.folder / "access.log"
        return list(_parse_visits(log.read_text().splitlines())) if log.exists() else []


def _parse_visits(lines: Iterable[str]) -> Iterable[Visit]:
    for line in lines:
        words = line.split(" ", 5)
        if len(words) == 6:  # the last line may be half written
            time, client, server, status, size, path = words
            yield Visit(float(time), client, server, int(status), int(size), path)
