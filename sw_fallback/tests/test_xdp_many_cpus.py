"""A machine with more CPUs than a row has counters for: they share cells, and nothing is lost."""

from __future__ import annotations

import pytest
from ptf_tests.case import Step
from ptf_tests.library_target import LibraryTarget
from ptf_tests.network import CLIENT, NETWORK
from ptf_tests.services import Service

from depot.program import find_compiled_program
from softswitch.engine.xdp import engine
from softswitch.engine.xdp.availability import why_not


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_counters_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "possible_cpus", lambda: 48)
    session = Service(4, "tcp", "nat").session()
    entry = session.known(0)
    target = LibraryTarget(find_compiled_program(), "xdp")
    try:
        assert "#define CPUS 64" in target.switch.source
        assert "#define COUNTER_CELLS 8" in target.switch.source
        target.load((*NETWORK, *session.service.entries(), entry))
        packet = session.request()
        for _ in range(3):
            assert target.run(Step(packet, CLIENT.port)).outputs == {session.delivered(0): 1}
        assert target.counted(entry) == (3, 3 * len(packet))
    finally:
        target.close()
