"""Many hosts behind one interface that ask for their gateway, and count the answers: `ask_storm.py INTERFACE SECONDS
RATE IPV4 IPV6` asks RATE times a second, one in five by ARP and the others by neighbour solicitation (a /24 has no room
for more), each host once a second, and prints JSON: asks, how many had no answer, one, or more, and which hosts those
were."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections import Counter

from depot.address import parse_address
from depot.switching.frames import arp_request, neighbour_solicitation

_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_FIRST_MAC = 0x525400100000
_ALL_FRAMES, _SO_RCVBUFFORCE = 3, 33
SPAN = 1.0
"""Seconds between two asks of one host, as Linux has it."""


def ask(interface: str, seconds: float, rate: int, ipv4: str, ipv6: str) -> dict[str, object]:
    """Ask for so long; an answer counts for its host's latest ask."""
    hosts = [(_FIRST_MAC + number, number % 5 != 0) for number in range(rate)]
    gateways = {False: parse_address(ipv4), True: parse_address(ipv6)}
    networks = {v6: address - (address & 0xFF) for v6, address in gateways.items()}
    frames = []
    for number, (mac, v6) in enumerate(hosts):
        make = neighbour_solicitation if v6 else arp_request
        frames.append(make(mac, networks[v6] + (0x10000 + number if v6 else 30 + number // 5), gateways[v6]))
    answers: Counter[tuple[int, int]] = Counter()
    rounds = Counter[int]()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_FRAMES)) as wire:
        wire.bind((interface, 0))
        wire.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 25)
        wire.setblocking(False)
        begun, sent, total = time.monotonic(), 0, int(seconds * rate)
        while sent < total or time.monotonic() < begun + seconds + SPAN:
            due = min(total, int((time.monotonic() - begun) * rate))
            while sent < due:
                rounds[sent % rate] += 1
                wire.send(frames[sent % rate])
                sent += 1
            _listen(wire, answers, rounds, len(hosts))
            time.sleep(0.0005)
        lost = int.from_bytes(wire.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)[4:], sys.byteorder)
    if lost:
        raise SystemExit(f"{lost} frames came too fast for us to read: this machine is too busy")
    counts = Counter(answers[host, number] for host in rounds for number in range(1, rounds[host] + 1))
    wrong = [f"host {host} ask {number}: {answers[host, number]}"
             for host in rounds for number in range(1, rounds[host] + 1) if answers[host, number] != 1]  # fmt: skip
    return {"asks": total, "none": counts[0], "one": counts[1], "more": total - counts[0] - counts[1], "wrong": wrong}


def _listen(wire: socket.socket, answers: Counter[tuple[int, int]], rounds: Counter[int], hosts: int) -> None:
    while True:
        try:
            frame = wire.recv(2048)
        except BlockingIOError:
            return
        host = int.from_bytes(frame[:6], "big") - _FIRST_MAC
        is_reply = frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\2"
        is_advertisement = frame[12:14] == b"\x86\xdd" and frame[20] == 58 and frame[54] == 136
        if 0 <= host < hosts and (is_reply or is_advertisement):
            answers[host, rounds[host]] += 1


if __name__ == "__main__":
    given = sys.argv[1:]
    print(json.dumps(ask(given[0], float(given[1]), int(given[2]), given[3], given[4])))
