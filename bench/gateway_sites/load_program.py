"""A gateway's load: python bench/gateway_sites/load_program.py SECONDS RATE INTERFACE...

Prints, each so many seconds, the packets that came by the interfaces against what the gateway can do in that time. The
depot takes its word instead of the CPU's, which all gateways on one machine, and whatever else runs there, share.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from pathlib import Path

__all__ = ["main", "received"]

_RECEIVED_PACKETS = 1
"""Which number of an interface."""


def received(listed: str, interfaces: Collection[str]) -> int:
    """Packets that came by these interfaces, as /proc/net/dev lists them."""
    lines = (line.partition(":") for line in listed.splitlines())
    return sum(int(numbers.split()[_RECEIVED_PACKETS]) for name, _, numbers in lines if name.strip() in interfaces)


def main() -> None:
    """Print until nobody reads."""
    seconds, rate, interfaces = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    then, before = time.monotonic(), received(Path("/proc/net/dev").read_text(), interfaces)
    while True:
        time.sleep(seconds)
        now, after = time.monotonic(), received(Path("/proc/net/dev").read_text(), interfaces)
        print((after - before) / (now - then) / rate, flush=True)
        then, before = now, after


if __name__ == "__main__":
    main()
