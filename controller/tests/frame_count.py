"""What a bridge hands to one of its ports: `frame_count.py INTERFACE FIRST COUNT` prints, until it is ended, each
half second the number of frames so far whose destination is one of COUNT MACs from FIRST on."""

from __future__ import annotations

import socket
import sys
import time

_ALL_FRAMES = 3


def count(interface: str, first: int, number: int) -> None:
    """Until it is killed."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_FRAMES)) as wire:
        wire.bind((interface, 0))
        wire.settimeout(0.1)
        found, told_at = 0, 0.0
        while True:
            try:
                frame, sender = wire.recvfrom(64)
                is_outgoing = sender[2] == socket.PACKET_OUTGOING
                found += is_outgoing and first <= int.from_bytes(frame[:6], "big") < first + number
            except TimeoutError:
                pass
            if time.monotonic() > told_at + 0.5:
                told_at = time.monotonic()
                print(found, flush=True)


if __name__ == "__main__":
    count(sys.argv[1], int(sys.argv[2], 16), int(sys.argv[3]))
