"""The switch as a running program: ports, P4Runtime server and timers on one asyncio loop."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc.aio
from finsy.proto import p4r
from google.protobuf import text_format

from softswitch.dataplane import DataPlane
from softswitch.ports import Port
from softswitch.server.device import Device
from softswitch.server.listener import TlsFiles, start_server
from softswitch.server.service import P4RuntimeService
from softswitch.server.stream import Stream
from softswitch.switch import Switch

__all__ = ["Daemon", "Options", "read_program", "run"]

_LOG = logging.getLogger("softswitch")

_IDLE_SCAN_S = 0.25
"""How often entries are looked at for their idle timeout."""
_GRACE_S = 1.0
"""How long calls in progress may take when the switch goes down."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a switch is started with."""

    device_id: int
    address: str
    """Where the P4Runtime server listens, host:port; port 0 takes a free one."""
    ports: Sequence[Port] = ()
    cpu_port: int | None = None
    """The port of packet-in and packet-out; None: the switch has neither."""
    drop_port: int = 511
    tls: TlsFiles | None = None
    program: p4r.ForwardingPipelineConfig | None = None
    """A program to start with; None: wait for a controller."""


class Daemon:
    """One running switch."""

    def __init__(self, options: Options) -> None:
        """Raises ValueError for two ports with one number or interface."""
        self._options = options
        self.device = Device(
            options.device_id,
            self._load,
            cpu_port=options.cpu_port,
            transmit=self._transmit,
            deliver=_deliver,
            epoch_ns=time.time_ns,
        )
        self.data_plane = DataPlane(options.ports, self.device.process, self._after_bunch)
        self.address = ""
        """Where the server listens, once started."""
        self._service: P4RuntimeService | None = None
        self._server: grpc.aio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns: int | None = None
        self._idle_timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Load the program, open the ports and listen. Raises `Refusal`, `PortError` or `ListenError`."""
        if self._options.program is not None:
            self.device.pipelines.preload(self._options.program)
        self.data_plane.open()
        try:
            self._service = P4RuntimeService(self.device, after_write=self._arm)
            self._server, self.address = await start_server(self._service, self._options.address, self._options.tls)
        except BaseException:
            self.data_plane.close()
            raise
        self._idle_timer = asyncio.get_running_loop().call_later(_IDLE_SCAN_S, self._scan_idle)

    async def stop(self) -> None:
        """Tell the clients, stop serving, close the ports."""
        for timer in (self._timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        self.data_plane.close()
        if self._service is not None:
            self._service.close()
        if self._server is not None:
            await self._server.stop(_GRACE_S)

    def log_counters(self) -> None:
        """Write what was counted to the log."""
        self.data_plane.log_counters()
        counted = ", ".join(f"{name} {value}" for name, value in asdict(self.device.stats).items() if value)
        if counted:
            _LOG.info("device %d: %s", self.device.device_id, counted)

    def _load(self, config: p4r.ForwardingPipelineConfig) -> Switch:
        return Switch.load(
            config.p4info,
            config.p4_device_config,
            cpu_port=self._options.cpu_port,
            drop_port=self._options.drop_port,
            clock=time.monotonic_ns,
        )

    def _transmit(self, port: int, frame: bytes) -> None:
        self.data_plane.transmit(port, frame)

    def _after_bunch(self) -> None:
        self.device.collect_digests(time.monotonic_ns())
        self._arm()

    def _arm(self) -> None:
        """Set the one timer to the device's next deadline."""
        deadline = self.device.next_deadline()
        if deadline is None or (self._timer_ns is not None and self._timer_ns <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = deadline
        delay = max(0, deadline - time.monotonic_ns()) / 1e9
        self._timer = asyncio.get_running_loop().call_later(delay, self._expire)

    def _expire(self) -> None:
        self._timer = self._timer_ns = None
        self.device.handle_timer(time.monotonic_ns())
        self._arm()

    def _scan_idle(self) -> None:
        self.device.report_idle(time.monotonic_ns())
        self._idle_timer = asyncio.get_running_loop().call_later(_IDLE_SCAN_S, self._scan_idle)


def _deliver(stream: Hashable, message: p4r.StreamMessageResponse) -> None:
    if isinstance(stream, Stream):
        stream.put(message)


async def run(options: Options, started: Callable[[str], None]) -> None:
    """Run a switch until SIGTERM or SIGINT; `started` is told the address once it serves.

    Raises what `Daemon.start` raises.
    """
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    daemon = Daemon(options)
    await daemon.start()
    started(daemon.address)
    try:
        await ended.wait()
        _LOG.info("shutting down")
    finally:
        await daemon.stop()
        daemon.log_counters()


def read_program(p4info: Path, device_config: Path) -> p4r.ForwardingPipelineConfig:
    """A program from the files that p4c writes: P4Info in text format, and BMv2 JSON.

    Raises OSError, ValueError.
    """
    config = p4r.ForwardingPipelineConfig(p4_device_config=device_config.read_bytes())
    try:
        text_format.Parse(p4info.read_text("utf-8"), config.p4info)
    except (UnicodeDecodeError, text_format.ParseError) as error:
        raise ValueError(f"{p4info}: no P4Info in text format: {error}") from error
    return config
