"""The packet cases as PTF tests, one for each case: `ptf --test-dir ptf_tests/suite` (see ptf_tests/run.py)."""

from __future__ import annotations

import atexit
import functools
from pathlib import Path
from typing import ClassVar

import ptf
from ptf import testutils
from ptf.base_tests import BaseTest
from ptf.dataplane import DataPlane
from ptf_tests.all_cases import CASES
from ptf_tests.case import Case
from ptf_tests.p4runtime_client import P4RuntimeClient
from ptf_tests.target import run_case
from ptf_tests.wire_target import WireTarget


class PtfPorts:
    """PTF's data plane as the ports of a wire target."""

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    def send(self, port: int, packet: bytes) -> None:
        self._dataplane.send(0, port, packet)

    def receive(self, timeout: float) -> tuple[int, bytes] | None:
        polled = self._dataplane.poll(device_number=0, timeout=timeout)
        return (polled.port, polled.packet) if isinstance(polled, DataPlane.PollSuccess) else None


@functools.cache
def target() -> WireTarget:
    """The one switch of this run, connected when the first test needs it."""
    params = testutils.test_params_get()
    client = P4RuntimeClient(params["grpc"], Path(params["p4info"]), Path(params["json"]))
    client.start()
    atexit.register(client.stop)
    return WireTarget(PtfPorts(ptf.dataplane_instance), client)


class CaseTest(BaseTest):
    """Plays one case; the subclasses below name it."""

    case: ClassVar[Case]

    def setUp(self) -> None:
        super().setUp()
        ptf.dataplane_instance.flush()

    def play(self) -> None:
        run_case(target(), self.case)


def _test_of(case: Case) -> type[CaseTest]:
    return type(case.name, (CaseTest,), {"case": case, "runTest": CaseTest.play, "__doc__": case.name})


globals().update({case.name: _test_of(case) for case in CASES.values() if case.wire})
