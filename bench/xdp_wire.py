"""Packets per second of established sessions through the XDP engine, over veth, beside a bare XDP redirect between such
interfaces, BMv2 and the python engine. Everything is in network namespaces on this machine.

Frames of 64 bytes are made by an XDP program in the kernel (live frames) and counted by one at the far end, so a core
sends, switches and receives. On both cores there are two senders, each with a session and a pair of ports of its own.
BMv2 and the python engine have their usual load from user space, see `forwarding`: they take both cores too. What is
sent and does not arrive is told as lost; the others' load is paced so that nothing is.

Where a multiple of another switch is missed, the bare redirect beside it says how much of that is left to win: of the
time of a frame, two thirds and more are its generator, two veth pairs, the redirect and the sink, which no program in
between can change. The program's own part is what `xdp` measures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ptf_tests.network import CLIENT, FAR, MEMBER_1, NETWORK, STRANGER
from ptf_tests.p4runtime_client import P4RuntimeClient
from ptf_tests.run import GRPC_ADDRESS, ROOT, inside_namespace, make_ports, missing, switch_command, test_end
from ptf_tests.services import Service

from bench.forwarding import PAYLOAD, wire_rate_in_namespace
from bench.harness import AtLeast, Reference, Row, publish
from bench.wire import Passed, Way, connect_bare, make_links, passed
from depot.program import find_compiled_program

COMMAND = "make bench NAME=xdp_wire"
UNIT = "packets/s"
ROUNDS = 7
FRAMES = 1_000_000
"""Of one sender in one round."""
BARE = "bare XDP redirect"
ENGINE = "XDP engine, NAT, IPv4"
TIMES = {"BMv2": 100, "the python engine": 200}
"""How much more than others it is to pass on."""
CORES = {1: "one core", 2: "both cores"}
_BARE_LINKS = {number: (f"bare{number}", f"far{number}") for number in (1, 2, 3, 4)}


@dataclass(frozen=True, slots=True)
class Flow:
    """An established session from one port to another."""

    enters: int
    leaves: int
    frame: bytes
    expected: bytes
    """What the switch makes of it."""


def flows(service: Service) -> tuple[Flow, Flow]:
    """Two sessions that have neither a port nor a member in common."""
    made = []
    for index, client in enumerate((CLIENT, STRANGER)):
        session = service.session(index, client)
        port, expected = session.delivered(index, payload=PAYLOAD)
        made.append(Flow(client.port, port, session.request(payload=PAYLOAD), expected))
    return made[0], made[1]


@contextmanager
def running_engine(service: Service) -> Iterator[None]:
    """A softswitch with the XDP engine at the ports of `make_ports`, which knows the sessions of `flows`."""
    program = find_compiled_program()
    with tempfile.TemporaryDirectory(prefix="depot-bench-") as folder:
        command = switch_command("xdp", program, Path(folder))
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
        try:
            client = P4RuntimeClient(GRPC_ADDRESS, program.p4info, program.json)
            client.start()
            known = (service.session(0, CLIENT).known(0), service.session(1, STRANGER).known(1))
            client.change([], (*NETWORK, *service.entries(), *known))
            yield
            client.stop()
        finally:
            process.terminate()
            process.wait()


def measure(rounds: int, frames: int) -> dict[str, list[Passed]]:
    """Rounds of the bare redirect and of the engine, in turns, by `what`. Run inside the namespace."""
    service = Service(4, "tcp", "nat", members=(MEMBER_1, FAR))
    make_ports()
    make_links(_BARE_LINKS.values())
    results: dict[str, list[Passed]] = {}
    with ExitStack() as held:
        held.enter_context(
            connect_bare([(_BARE_LINKS[1][0], _BARE_LINKS[2][0]), (_BARE_LINKS[3][0], _BARE_LINKS[4][0])])
        )
        held.enter_context(running_engine(service))
        ways: dict[str, list[Way]] = {BARE: [], ENGINE: []}
        for flow in flows(service):
            bare = Way(_BARE_LINKS[flow.enters][1], _BARE_LINKS[flow.leaves][1], flow.frame)
            switched = Way(test_end(flow.enters), test_end(flow.leaves), flow.frame)
            for title, way, expected in ((BARE, bare, flow.frame), (ENGINE, switched, flow.expected)):
                ways[title].append(held.enter_context(way))
                if (arrived := way.one()) != expected:
                    raise SystemExit(f"{title}: {arrived.hex()} arrives, not {expected.hex()}: nothing to measure")
        for number in range(rounds + 1):
            for title, both in ways.items():
                for cores, words in CORES.items():
                    took = passed(both[:cores], frames)
                    if number:  # the first round warms up
                        results.setdefault(f"{title}, {words}", []).append(took)
    return results


def measured_in_namespace(rounds: int, frames: int = FRAMES) -> dict[str, list[Passed]] | None:
    """`measure` in a namespace of its own; None, with the reason printed, where that cannot be."""
    reason = missing("xdp")
    if reason is not None:
        print(f"the XDP engine over veth not measured: {reason}")
        return None
    command = inside_namespace("bench.xdp_wire", "--inside", "--rounds", str(rounds), "--frames", str(frames))
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise SystemExit(f"XDP engine over veth: {finished.stdout}{finished.stderr}")
    found = json.loads(finished.stdout.splitlines()[-1])
    return {what: [Passed(*numbers) for numbers in rounds] for what, rounds in found.items()}


def rows_of(results: Mapping[str, Sequence[Passed]], others: Mapping[str, float]) -> list[Row]:
    """The engine beside the bare redirect, on one core and on both, then beside the other switches."""
    rates = {what: median(one.rate for one in rounds) for what, rounds in results.items()}
    spreads = {what: _half_range([one.rate for one in rounds]) for what, rounds in results.items()}
    made = []
    for words in CORES.values():
        ours, bare = f"{ENGINE}, {words}", f"{BARE}, {words}"
        reference, third = Reference(BARE, rates[bare]), AtLeast(1 / 3, of_reference=True)
        made.append(Row(ours, rates[ours], UNIT, COMMAND, reference, third, spreads[ours]))
        made.append(Row(bare, rates[bare], UNIT, COMMAND, spread=spreads[bare]))
    ours, bare = f"{ENGINE}, {CORES[2]}", f"{BARE}, {CORES[2]}"
    for title, rate in others.items():
        target = AtLeast(TIMES[title], of_reference=True)
        made.append(
            Row(f"{ours}, beside {title}", rates[ours], UNIT, COMMAND, Reference(title, rate), target, spreads[ours])
        )
        made.append(Row(f"{bare}, beside {title}", rates[bare], UNIT, COMMAND, Reference(title, rate)))
    for what, rounds in results.items():
        lost = 1e6 * sum(one.lost for one in rounds) / sum(one.sent for one in rounds)
        made.append(Row(f"{what}: lost", lost, "frames of a million", COMMAND))
    return made


def _half_range(values: Sequence[float]) -> float:
    return (max(values) - min(values)) / 2


def main() -> None:
    """Measure and publish; with `--inside`, measure in this namespace and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="default: %(default)s")
    parser.add_argument("--frames", type=int, default=FRAMES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        results = measure(given.rounds, given.frames)
        print(
            json.dumps({what: [(one.rate, one.lost, one.sent) for one in rounds] for what, rounds in results.items()})
        )
        return
    found = measured_in_namespace(given.rounds)
    if found is None:
        return
    others = {"BMv2": wire_rate_in_namespace("bmv2"), "the python engine": wire_rate_in_namespace("softswitch")}
    rows = rows_of(found, {title: rate for title, rate in others.items() if rate is not None})
    publish(__file__, "Packets per second through the XDP engine", rows)


if __name__ == "__main__":
    main()
