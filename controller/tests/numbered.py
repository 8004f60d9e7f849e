"""Numbered datagrams: `numbered.py serve PORT` answers one with as many as it says, all at once;
`numbered.py ask SOURCE PORT SERVER PORT COUNT` asks from somebody else's address and prints the numbers that come."""

from __future__ import annotations

import json
import socket
import sys
import time

_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75
PATIENCE = 1.5
"""Seconds without a datagram after which no more is expected."""


def serve(port: int) -> None:
    """Until it is killed; both families."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as plug:
        plug.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        plug.bind(("::", port))
        while True:
            count, sender = plug.recvfrom(100)
            for number in range(int(count)):
                plug.sendto(b"%d" % number, sender)


def ask(source: str, source_port: int, server: str, port: int, count: int) -> list[int]:
    """The numbers in the order in which they came."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as plug:
        if family == socket.AF_INET6:
            plug.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
        else:
            plug.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
        plug.bind((source, source_port))
        plug.connect((server, port))
        plug.send(b"%d" % count)
        plug.settimeout(PATIENCE)
        numbers: list[int] = []
        begun = time.monotonic()
        while time.monotonic() < begun + 10:
            try:
                numbers.append(int(plug.recv(100)))
            except TimeoutError:
                break
        return numbers


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        print(json.dumps(ask(sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]), int(sys.argv[6]))))
