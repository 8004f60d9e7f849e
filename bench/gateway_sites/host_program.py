"""The hosts of a site at one port of its LAN: python -m bench.gateway_sites.host_program INTERFACE SITE

SITE is left or right. Commands are lines of JSON on standard input, each answered by a line: `series` (step), `ask`,
`send` (run, size, rate: packets per second of all hosts together; 0: only count), `count`.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from dataclasses import asdict
from typing import Any

from bench.gateway_sites.hosts import HOSTS, Hosts, Series
from bench.gateway_sites.places import SITES

__all__ = ["HostProgram", "main"]

_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
"""linux/socket.h, linux/if_packet.h: Python has no names for them."""
_BATCH = 16
"""Frames sent or received before the other gets its turn."""
_ASKS = 8
"""Asks at once: 224 broadcasts in a row are more than a LAN of hosts would send."""
_ANSWER_SECONDS = 0.05
_TRIES = 60


class HostProgram:
    """All hosts of a site, at one interface."""

    def __init__(self, interface: str, site: str) -> None:
        self._own, self._other = SITES[site], SITES["right" if site == "left" else "left"]
        self._hosts = Hosts(self._own, self._other, Series(1))
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self._socket.bind((interface, 0))
        self._socket.setblocking(False)
        self._rate = 0.0
        self._begun = 0.0
        self._number = 0

    def run(self) -> None:
        """Send, receive and answer until standard input ends."""
        while True:
            self._send()
            readable, _, _ = select.select([self._socket, sys.stdin], [], [], self._pause())
            if self._socket in readable:
                self._receive()
            if sys.stdin in readable:
                line = sys.stdin.readline()
                if not line:
                    return
                print(json.dumps(self._obey(json.loads(line))), flush=True)

    def _pause(self) -> float | None:
        if not self._rate:
            return None
        return max(0.0, self._begun + self._number / self._rate - time.monotonic())

    def _send(self) -> None:
        if not self._rate:
            return
        due = int((time.monotonic() - self._begun) * self._rate) + 1
        for number in range(self._number, min(due, self._number + _BATCH)):
            self._socket.send(self._hosts.packet(number))
            self._number = number + 1

    def _receive(self) -> None:
        for _ in range(_BATCH):
            try:
                frame = self._socket.recv(2048)
            except BlockingIOError:
                return
            answer = self._hosts.receive(frame)
            if answer is not None:
                self._socket.send(answer)

    def _obey(self, command: dict[str, Any]) -> dict[str, Any]:
        match command["do"]:
            case "series":
                self._hosts = Hosts(self._own, self._other, Series(command["step"]))
            case "ask":
                return self._ask()
            case "send":
                self._rate = float(command["rate"])
                if command.get("run"):
                    self._hosts.begin(command["run"], command["size"])
                self._begun, self._number = time.monotonic(), 0
            case "count":
                return asdict(self._hosts.counts) | {"at": time.monotonic()}
        return {}

    def _ask(self) -> dict[str, Any]:
        """Let all hosts ask until all are answered, or for three seconds."""
        self._hosts.gateways.clear()
        self._hosts.counts.asks = self._hosts.counts.answers = 0
        for _ in range(_TRIES):
            for number, ask in enumerate(self._hosts.asks()):
                self._socket.send(ask)
                if number % _ASKS == 0:
                    self._wait(0.002)
            self._wait(_ANSWER_SECONDS)
            if len(self._hosts.gateways) == HOSTS:
                break
        found = self._hosts.gateways
        counts = self._hosts.counts
        return {
            "known": len(found), "macs": len(set(found.values())), "asks": counts.asks, "answers": counts.answers,
        }  # fmt: skip

    def _wait(self, seconds: float) -> None:
        """Receive meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([self._socket], [], [], left)[0]:
                self._receive()


def main() -> None:
    """Run as the command line says."""
    HostProgram(sys.argv[1], sys.argv[2]).run()


if __name__ == "__main__":
    main()
