"""What the kernel says of a network namespace: of a process's, read from /proc without entering it, or of a lab's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from depot.demo.lab import Lab

__all__ = ["count_tunnels", "counter", "counter_in", "established", "listens", "received_bytes", "tunnelled"]

_LISTEN = "0A"
_ESTABLISHED = "01"


def listens(pid: int, port: int, family: int) -> bool:
    """Whether something listens at a TCP port in the namespace of a process, for IP `family` 4 or 6."""
    return any(state == _LISTEN and local == port for local, state in _tcp_sockets(pid, family))


def established(pid: int, port: int, family: int) -> int:
    """How many established TCP connections have this local port in the namespace of a process."""
    return sum(state == _ESTABLISHED and local == port for local, state in _tcp_sockets(pid, family))


def counter(pid: int, protocol: str, name: str) -> int:
    """A counter of the namespace's IP stack as /proc/net/snmp and netstat name it, like "Tcp", "OutRsts"."""
    for file in ("snmp", "netstat"):
        value = _find_counter(Path(f"/proc/{pid}/net/{file}").read_text().splitlines(), protocol, name)
        if value is not None:
            return value
    raise KeyError(f"{protocol} {name}")


def counter_in(lab: Lab, namespace: str, protocol: str, name: str) -> int:
    """The same counter of a namespace in which nothing needs to run."""
    value = _find_counter(lab.run(namespace, "cat", "/proc/net/snmp").splitlines(), protocol, name)
    if value is None:
        raise KeyError(f"{protocol} {name}")
    return value


def count_tunnels(lab: Lab, router: str) -> None:
    """Let a router's kernel count the IP-in-IP packets that it forwards."""
    lab.run(router, "nft", "add table inet tunnels")
    lab.run(router, "nft", "add chain inet tunnels passing { type filter hook forward priority 0 ; }")
    lab.run(router, "nft", "add rule inet tunnels passing meta l4proto { 4, 41 } counter")


def tunnelled(lab: Lab, router: str) -> int:
    """How many it has counted."""
    listed = json.loads(lab.run(router, "nft", "-j", "list", "chain", "inet", "tunnels", "passing"))
    rules = [item["rule"] for item in listed["nftables"] if "rule" in item]
    return sum(part["counter"]["packets"] for rule in rules for part in rule["expr"] if "counter" in part)


def received_bytes(pid: int, interface: str) -> int:
    """Bytes that have come in by an interface of the namespace. Raises KeyError if there is no such interface."""
    for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines():
        name, colon, numbers = line.partition(":")
        if colon and name.strip() == interface:
            return int(numbers.split()[0])
    raise KeyError(interface)


def _find_counter(lines: Sequence[str], protocol: str, name: str) -> int | None:
    """Look a counter up in pairs of lines, names and values."""
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        if names.startswith(f"{protocol}:") and name in names.split():
            return int(values.split()[names.split().index(name)])
    return None


def _tcp_sockets(pid: int, family: int) -> list[tuple[int, str]]:
    """Local port and state of every TCP socket; none if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/net/tcp{'6' if family == 6 else ''}").read_text().splitlines()[1:]
    except (FileNotFoundError, ProcessLookupError):
        return []
    fields = [line.split() for line in lines]
    return [(int(words[1].rpartition(":")[2], 16), words[3]) for words in fields]
