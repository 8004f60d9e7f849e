"""Random packets: the switch behind the ports does what `softswitch.Switch.process` does with the same ones."""

from __future__ import annotations

import time

from ptf import testutils
from ptf.base_tests import BaseTest
from ptf_tests.case import Outcome, Step
from ptf_tests.changing_entries import ChangingEntries
from ptf_tests.library_target import LibraryTarget
from ptf_tests.network import NETWORK
from ptf_tests.ptf_session import wire_target
from ptf_tests.random_packets import RandomPackets
from ptf_tests.target import CaseFailed, difference

from depot.program import find_compiled_program

BATCH = 32
REANNOUNCE_SECONDS = 1.0  # FLOW_CACHE_REANNOUNCE: only the real clock would get there within a batch


class RandomPacketsTest(BaseTest):
    """As many batches as the run asks for."""

    def runTest(self) -> None:  # noqa: N802 - unittest names it
        params = testutils.test_params_get()
        seed, batches = params["seed"], params["batches"]
        packets = RandomPackets(seed)
        wire, library = wire_target(), LibraryTarget(find_compiled_program(), params["against"])
        judge = LibraryTarget(find_compiled_program())
        entries = ChangingEntries(judge.switch, judge.names, packets, (*NETWORK, *packets.entries()))
        compared = 0
        for number in range(batches):
            if number:
                entries.change()
            for target in (wire, library):
                target.load(entries.now())
            port, batch = packets.batch(BATCH)
            steps = [Step(packet, port) for packet in batch]
            library.now_ns = max(library.now_ns, time.monotonic_ns())  # a case's packet may come again much later
            outcomes = [library.run(step) for step in steps]
            expected = once_each(sum(outcomes, start=Outcome()))
            started = time.monotonic()
            outcome = once_each(wire.run_all(steps, expected.count()))
            if time.monotonic() - started > REANNOUNCE_SECONDS and outcome != expected:
                continue
            compared += 1
            if outcome != expected:
                where = f"seed {seed}, batch {number}, port {port}"
                raise CaseFailed(f"{where}\n{difference(expected, outcome)}")
        print(f"{compared * BATCH} packets compared, seed {seed}")
        assert compared > batches * 0.9, "the machine is too slow to compare"


def once_each(outcome: Outcome) -> Outcome:
    """Equal digest samples count once: a target may hold back what is not acknowledged yet."""
    for digest in outcome.digests:
        outcome.digests[digest] = 1
    return outcome
