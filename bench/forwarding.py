"""Packets per second of an established session through the depot's program: the python engine as a library, and the
software switch and BMv2 behind the same veth ports.

Behind ports the load is paced by what comes back: at most 32 packets are on their way, so nothing is lost to a full
queue and the rate is what the switch sustains. Sender and receiver are one process, the switch is another.
"""

from __future__ import annotations

import argparse
import itertools
import json
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ptf_tests.case import Step
from ptf_tests.library_target import LibraryTarget
from ptf_tests.network import CLIENT, MEMBER_1, NETWORK
from ptf_tests.p4runtime_client import P4RuntimeClient
from ptf_tests.run import GRPC_ADDRESS, ROOT, inside_namespace, make_ports, missing, running_target, test_end
from ptf_tests.services import Service, Session

from bench.harness import AtLeast, Reference, Row, publish
from depot.program import find_compiled_program

COMMAND = "make bench NAME=forwarding"
WINDOWS = 5
WINDOW_SECONDS = 1.0
UNDER_WAY = 32
"""Packets on their way at a time, over ports."""
PAYLOAD = b"0123456789"
"""With it, the frame is one of 64 bytes on a real Ethernet, checksum not counted."""


def established(family: int, mode: str = "nat") -> Session:
    """A TCP session of a two-member service, to be known to the switch."""
    return Service(family, "tcp", mode).session()


def per_second(work: Callable[[], int]) -> float:
    """Packets that `work` reports per second: the best of `WINDOWS` windows, as the machine may be busy."""
    return max(_one_window(work) for _ in range(WINDOWS))


def _one_window(work: Callable[[], int]) -> float:
    done, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < WINDOW_SECONDS:
        done += work()
    return done / passed


def library_rate(family: int, mode: str, *, back: bool = False) -> float:
    """`Switch.process` alone, one core."""
    session = established(family, mode)
    target = LibraryTarget(find_compiled_program())
    target.load((*NETWORK, *session.service.entries(), session.known(0)))
    port = MEMBER_1.port if back else CLIENT.port

    def arriving(number: int) -> bytes:
        return session.reply(0, seq=number, payload=PAYLOAD) if back else session.request(seq=number, payload=PAYLOAD)

    expected = session.returned(payload=PAYLOAD) if back else session.delivered(0, payload=PAYLOAD)
    if target.run(Step(arriving(1000), port)).outputs != {expected: 1}:
        raise SystemExit("the session's packet does not arrive: nothing to measure")
    process, packets = target.switch.process, [arriving(number) for number in range(256)]

    def some() -> int:
        for packet in packets:
            process(port, packet)
        return len(packets)

    return per_second(some)


def library_new_sessions() -> float:
    """`Switch.process` of SYNs, each a new session: schedule, flow cache, digest."""
    service = Service(4, "tcp", "nat")
    target = LibraryTarget(find_compiled_program())
    target.load((*NETWORK, *service.entries()))
    packets = [service.session(number).request("S") for number in range(4096)]
    if target.run(Step(packets[0], CLIENT.port)).outputs != {service.session(0).delivered(0, "S"): 1}:
        raise SystemExit("the first SYN does not arrive: nothing to measure")
    switch, position = target.switch, itertools.cycle(range(0, len(packets), 128))

    def some() -> int:
        first = next(position)
        for packet in packets[first : first + 128]:
            switch.process(CLIENT.port, packet)
        target.now_ns += 2_000_000_000  # a turn takes 64 s, and the flow cache forgets after 61.4 s
        if len(switch.take_digests()) < 128:
            raise SystemExit("a SYN was no new session: nothing to measure")
        return 128

    return per_second(some)


def test_port(port: int) -> socket.socket:
    """The test's end of a port, as a raw socket that does not wait."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    made.bind((test_end(port), 0))
    made.setblocking(False)
    return made


def wire_rate(target: str) -> float:
    """One established IPv4 NAT session over veth, `UNDER_WAY` packets on their way. Run inside the namespace."""
    session = established(4)
    program = find_compiled_program()
    make_ports()
    with tempfile.TemporaryDirectory(prefix="depot-bench-") as scratch, running_target(target, program, Path(scratch)):
        client = P4RuntimeClient(GRPC_ADDRESS, program.p4info, program.json)
        client.start()
        client.change([], (*NETWORK, *session.service.entries(), session.known(0)))
        sender, receiver = test_port(CLIENT.port), test_port(MEMBER_1.port)
        rate = paced_rate(sender, receiver, session.request(payload=PAYLOAD), session.delivered(0, payload=PAYLOAD)[1])
        client.stop()
    return rate


def paced_rate(sender: socket.socket, receiver: socket.socket, packet: bytes, expected: bytes) -> float:
    """Packets per second from `sender` to `receiver`. Exits when a packet is lost: the rate would not be sustained."""
    state = {"under_way": 0}

    def some() -> int:
        while state["under_way"] < UNDER_WAY:
            sender.send(packet)
            state["under_way"] += 1
        if not select.select([receiver], [], [], 2.0)[0]:
            raise SystemExit(f"{state['under_way']} packets did not come back within 2 s")
        arrived = 0
        try:
            while True:
                arrived += receiver.recv(2048) == expected
        except BlockingIOError:
            state["under_way"] -= arrived
            return arrived

    return per_second(some)


def wire_rate_in_namespace(target: str) -> float | None:
    """`wire_rate` in a namespace of its own; None, with the reason printed, where the target cannot run here."""
    reason = missing(target)
    if reason is not None:
        print(f"{target} over veth not measured: {reason}")
        return None
    command = inside_namespace("bench.forwarding", "--wire", target)
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise SystemExit(f"{target} over veth: {finished.stdout}{finished.stderr}")
    rate: float = json.loads(finished.stdout.splitlines()[-1])
    return rate


def measure() -> list[Row]:
    """All rows; BMv2's only where it is."""
    bmv2, softswitch = wire_rate_in_namespace("bmv2"), wire_rate_in_namespace("softswitch")
    reference = None if bmv2 is None else Reference("BMv2 over veth", bmv2)
    unit, engine = "packets/s", "python engine"
    rows = [
        Row(f"{engine}, established, NAT, IPv4", library_rate(4, "nat"), unit, COMMAND, reference, AtLeast(10_000)),
        Row(f"{engine}, established, NAT, IPv6", library_rate(6, "nat"), unit, COMMAND, reference),
        Row(f"{engine}, way back, NAT, IPv4", library_rate(4, "nat", back=True), unit, COMMAND, reference),
        Row(f"{engine}, established, DSR, IPv4", library_rate(4, "dsr"), unit, COMMAND, reference),
        Row(f"{engine}, established, IP-in-IP, IPv6", library_rate(6, "ipip6"), unit, COMMAND, reference),
        Row(f"{engine}, new sessions (SYN)", library_new_sessions(), unit, COMMAND, reference),
    ]
    if softswitch is not None:
        target = AtLeast(1 / 3, of_reference=True)
        rows.append(Row("softswitch over veth, NAT, IPv4", softswitch, unit, COMMAND, reference, target))
    if bmv2 is not None:
        rows.append(Row("BMv2 over veth, NAT, IPv4", bmv2, unit, COMMAND))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wire", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.wire is not None:
        print(json.dumps(wire_rate(options.wire)))
        return
    publish(__file__, "Packets per second through the depot's program", measure())


if __name__ == "__main__":
    main()
