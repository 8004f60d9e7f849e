"""What the PTF suites share: PTF's data plane as ports, and the one switch of a run."""

from __future__ import annotations

import atexit
import functools
from pathlib import Path

import ptf
from ptf import testutils
from ptf.dataplane import DataPlane

from ptf_tests.p4runtime_client import P4RuntimeClient
from ptf_tests.wire_target import WireTarget

__all__ = ["wire_target"]


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
def wire_target() -> WireTarget:
    """The switch that run.py has started, connected when the first test needs it."""
    params = testutils.test_params_get()
    client = P4RuntimeClient(params["grpc"], Path(params["p4info"]), Path(params["json"]))
    client.start()
    atexit.register(client.stop)
    return WireTarget(PtfPorts(ptf.dataplane_instance), client)
