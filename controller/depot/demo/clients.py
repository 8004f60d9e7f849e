"""Real clients: curl for single sessions and downloads, wrk for load, and a client with a stopwatch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from depot.demo.lab import Lab, LabError, Process

__all__ = ["Attempt", "Download", "Load", "LoadReport", "Visitor", "fetch_members", "spread", "url"]

_CURL_SECONDS = 5
_SOCKET_ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
_WRK_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def url(address: str, path: str = "/") -> str:
    """The URL of a path at an IPv4 or IPv6 address."""
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}{path}"


def spread(counts: Counter[str], names: Sequence[str]) -> int:
    """By how much the largest share exceeds the smallest, over all of `names`."""
    shares = [counts[name] for name in names]
    return max(shares) - min(shares)


def fetch_members(lab: Lab, client: str, address: str, sessions: int) -> Counter[str]:
    """Visit a VIP with curl, each request in a TCP session of its own; how many sessions each member served.

    A session that failed counts under the reason that curl gives.
    """
    marks = "\\n%{http_code} %{errormsg}\\n"
    argv = ["curl", "-sg", "-m", str(_CURL_SECONDS), "-H", "Connection: close", "-w", marks]
    for _ in range(sessions):
        argv += ["-o", "-", url(address)]
    done = subprocess.run(
        ["ip", "netns", "exec", lab.full_name(client), *argv], capture_output=True, text=True, check=False
    )
    counts: Counter[str] = Counter()
    body = ""
    for line in done.stdout.splitlines():
        status, _, error = line.partition(" ")
        if status.isdigit() and len(status) == 3:
            counts[body if status == "200" else error.strip() or f"HTTP {status}"] += 1
            body = ""
        elif line:
            body = line
    if sum(counts.values()) != sessions:
        raise LabError(f"curl in {client}: {sum(counts.values())} of {sessions} answers: {done.stderr.strip()}")
    return counts


@dataclass(slots=True)
class Download:
    """One long transfer with curl, its contents kept to be compared."""

    process: Process
    """curl."""
    file: Path
    """What has arrived."""
    headers: Path
    """The answer's headers; they name the member."""

    @classmethod
    def start(cls, lab: Lab, client: str, address: str, path: str, number: int) -> Download:
        """Start to fetch a page into a file of the lab."""
        file, headers = (lab.folder / f"download-{number}{end}" for end in ("", ".headers"))
        argv = ["curl", "-sSg", "-m", "120", "-D", str(headers), "-o", str(file), url(address, path)]
        return cls(lab.start(client, f"curl-{number}", *argv), file, headers)

    @property
    def member(self) -> str | None:
        """The member that serves it, as soon as it has said so."""
        text = self.headers.read_text() if self.headers.exists() else ""
        found = re.search(r"^X-Member: (\S+)", text, re.MULTILINE)
        return found.group(1) if found else None

    @property
    def received(self) -> int:
        """Bytes that have arrived."""
        return self.file.stat().st_size if self.file.exists() else 0

    def complete(self, digest: str) -> bool:
        """Whether it has ended well with the contents of this SHA-256."""
        ended_well = self.process.popen.poll() == 0
        return ended_well and sha256(self.file.read_bytes()).hexdigest() == digest


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What wrk says at its end."""

    requests: int
    """Answered requests."""
    seconds: float
    """How long it ran."""
    failed_connects: int
    """Sessions that were refused or not answered."""
    failed_transfers: int
    """Errors while reading or writing."""
    timeouts: int
    """Requests unanswered after wrk's timeout."""
    bad_statuses: int
    """Answers that were no success."""

    @property
    def failures(self) -> int:
        """Everything a client saw go wrong."""
        return self.failed_connects + self.failed_transfers + self.timeouts + self.bad_statuses


@dataclass(slots=True)
class Load:
    """wrk in the background."""

    process: Process
    """wrk."""

    @classmethod
    def start(cls, lab: Lab, client: str, address: str, seconds: int, connections: int = 8, name: str = "wrk") -> Load:
        """Every request in a session of its own, for some seconds."""
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "2s", "-H", "Connection: close"]
        return cls(lab.start(client, name, *argv, url(address)))

    def report(self, seconds: float = 60.0) -> LoadReport:
        """Wait for the end. Raises LabError if wrk fails or its report cannot be read."""
        try:
            self.process.popen.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{self.process.name} does not end") from error
        return parse_wrk(self.process.log.read_text())


def parse_wrk(text: str) -> LoadReport:
    """Read wrk's report. Raises LabError."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m),", text)
    if total is None:
        raise LabError(f"cannot read what wrk says:\n{text.strip()}")
    errors = _SOCKET_ERRORS.search(text)
    connect, read, write, timeout = (int(number) for number in errors.groups()) if errors else (0, 0, 0, 0)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    seconds = float(total[2]) * _WRK_UNITS[total[3]]
    return LoadReport(int(total[1]), seconds, connect, read + write, timeout, int(bad[1]) if bad else 0)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One session of the visitor."""

    start: float
    """Seconds since the epoch, when its SYN went out."""
    seconds: float
    """How long it took, to the page's end or to the failure."""
    member: str | None
    """Who answered; None: it failed."""
    error: str | None
    """Why it failed."""


@dataclass(slots=True)
class Visitor:
    """A client that opens a new session every few milliseconds and writes down what became of each."""

    process: Process
    """`python -m depot.demo.visitor`."""

    @classmethod
    def start(cls, lab: Lab, client: str, address: str, interval: float = 0.02, name: str = "visitor") -> Visitor:
        """Start it; its log fills while it runs."""
        argv = [sys.executable, "-m", "depot.demo.visitor", address, str(interval)]
        return cls(lab.start(client, name, *argv))

    def attempts(self) -> list[Attempt]:
        """All sessions so far that have come to an end, by their start."""
        lines = self.process.log.read_text().splitlines(keepends=True)
        fields = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}\n")]
        return sorted((Attempt(**values) for values in fields), key=lambda attempt: attempt.start)

    def stop(self) -> list[Attempt]:
        """End it, sessions on their way first; everything it has seen."""
        self.process.stop()
        return self.attempts()
