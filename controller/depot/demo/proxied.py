"""What clients see of servers that they reach through proxies: curl, and who says in `Via` to have been on the way."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from depot.demo.clients import url
from depot.demo.lab import Lab, LabError

__all__ = ["Answer", "fetch", "fetch_at_once", "parse_answer"]

_CURL_SECONDS = 8
_MARKS = "%{http_code}|%{time_total}|%header{via}|%header{x-member}|%{errormsg}\\n"
_PROXY = re.compile(r"\d\.\d (\S+)")


class Answer(NamedTuple):
    """What became of one request, in a TCP session of its own."""

    status: int
    """HTTP status; 0: there was none."""
    seconds: float
    """From its SYN to its end."""
    proxies: tuple[str, ...]
    """Who passed it on, the nearest to the server first."""
    server: str
    """The origin server, if it answered."""
    error: str
    """Why curl gave up, if it did."""

    @property
    def served(self) -> bool:
        """Whether the server's page came."""
        return self.status == 200 and bool(self.server)

    @property
    def outcome(self) -> str:
        """In a few words."""
        if self.served:
            return "200"
        by = f" by {self.proxies[0]}" if self.proxies else ""
        return f"HTTP {self.status}{by}" if self.status else self.error


def fetch(
    lab: Lab, client: str, address: str, count: int = 1, source: str | None = None, port: int | None = None
) -> list[Answer]:
    """Ask a server so often for its first page, one request after the other. `source`: which of the client's addresses.

    Raises LabError if curl does not tell what became of them.
    """
    place = url(address, "") + (f":{port}/" if port else "/")
    argv = ["curl", "-sg", "-m", str(_CURL_SECONDS), "-H", "Connection: close", "-w", _MARKS]
    argv += ["--interface", source] if source else []
    argv += ["-o", "/dev/null", place] * count
    done = subprocess.run(
        ["ip", "netns", "exec", lab.full_name(client), *argv], capture_output=True, text=True, check=False
    )
    answers = [parse_answer(line) for line in done.stdout.splitlines()]
    if len(answers) != count:
        raise LabError(f"curl in {client}: {len(answers)} of {count} answers: {done.stderr.strip()}")
    return answers


def fetch_at_once(lab: Lab, client: str, addresses: Sequence[str]) -> list[Answer]:
    """One request to each address, all at the same time."""
    with ThreadPoolExecutor(max_workers=len(addresses)) as pool:
        return [answer for answers in pool.map(lambda one: fetch(lab, client, one), addresses) for answer in answers]


def parse_answer(line: str) -> Answer:
    """Read what curl prints of one request."""
    status, seconds, via, server, error = line.split("|", 4)
    return Answer(int(status), float(seconds), tuple(_PROXY.findall(via)), server, error)
