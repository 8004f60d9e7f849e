"""Numbered datagrams there and back: `datagram_stream.py echo PORT` sends back what comes; `datagram_stream.py send
ADDRESS PORT SECONDS RATE` sends, and prints JSON: how many were sent, came back, came back twice, and the longest
silence in seconds."""

from __future__ import annotations

import json
import socket
import sys
import time


def echo(port: int) -> None:
    """Until it is killed; both families."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as plug:
        plug.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        plug.bind(("::", port))
        print("listening", flush=True)
        while True:
            data, sender = plug.recvfrom(100)
            plug.sendto(data, sender)


def send(address: str, port: int, seconds: float, rate: int) -> dict[str, object]:
    """Send for so long."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as plug:
        plug.connect((address, port))
        plug.setblocking(False)
        begun, sent, total = time.monotonic(), 0, int(seconds * rate)
        came: list[int] = []
        last, silence = begun, 0.0
        while time.monotonic() < begun + seconds + 1.0:
            now = time.monotonic()
            while sent < min(total, int((now - begun) * rate)):
                plug.send(b"%d" % sent)
                sent += 1
            try:
                while True:
                    came.append(int(plug.recv(100)))
                    silence, last = max(silence, time.monotonic() - last), time.monotonic()
            except (BlockingIOError, ConnectionRefusedError):
                pass
            time.sleep(0.0005)
    return {"sent": sent, "came": len(set(came)), "twice": len(came) - len(set(came)), "silence": round(silence, 3)}


if __name__ == "__main__":
    if sys.argv[1] == "echo":
        echo(int(sys.argv[2]))
    else:
        print(json.dumps(send(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))))
