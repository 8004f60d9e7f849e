"""Run in a client's namespace: `stopwatch.py ADDRESS SESSIONS` opens one session after another to port 80, asks, reads
to the end, closes, and prints how many microseconds each took, as one line of JSON.
"""

import json
import socket
import sys
import time

_REQUEST = b"GET / HTTP/1.1\r\nHost: depot\r\nConnection: close\r\n\r\n"
_TIMEOUT = 5.0


def session(address: str) -> float:
    """Microseconds from the SYN to the end of the answer."""
    started = time.perf_counter_ns()
    with socket.create_connection((address, 80), _TIMEOUT) as opened:
        opened.sendall(_REQUEST)
        answer = b""
        while received := opened.recv(4096):
            answer += received
        taken = time.perf_counter_ns() - started
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise ValueError(f"no page: {answer!r}")
    return taken / 1000


def main() -> None:
    address, sessions = sys.argv[1], int(sys.argv[2])
    for _ in range(sessions // 20):
        session(address)
    print(json.dumps([session(address) for _ in range(sessions)]))


if __name__ == "__main__":
    main()
