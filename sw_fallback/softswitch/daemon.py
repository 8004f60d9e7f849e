"""The switch as a running program: ports, P4Runtime server and timers on one asyncio loop."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import grpc.aio
from finsy.proto import p4r
from google.protobuf import text_format

from softswitch.dataplane import DataPlane
from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.engine import XdpEngine
from softswitch.engine.xdp.legacy import Legacy
from softswitch.errors import EngineUnavailable, UnsupportedConstruct
from softswitch.kernel_ports import KernelPorts
from softswitch.pinned import Keeper
from softswitch.ports import Port, PortError
from softswitch.ports.interface import KernelCounts
from softswitch.server.device import Device
from softswitch.server.introspection import Introspection, Surroundings
from softswitch.server.listener import TlsFiles, start_server
from softswitch.server.pipeline import Pipeline
from softswitch.server.service import P4RuntimeService
from softswitch.server.stats_document import program_counts
from softswitch.server.status import Refusal
from softswitch.server.stream import Stream
from softswitch.switch import Switch

__all__ = ["Daemon", "EngineChoice", "Options", "read_program", "run"]

_LOG = logging.getLogger("softswitch")

_IDLE_SCAN_S = 0.25
"""How often entries are looked at for their idle timeout."""
_GRACE_S = 1.0
"""How long calls in progress may take when the switch goes down."""


EngineChoice = Literal["auto", "python", "xdp"]


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
    engine: EngineChoice = "auto"
    """What switches packets; `auto` is XDP where this machine and the program allow it, else python."""
    pin: Path | None = None
    """A folder of a BPF file system where a process leaves the switch to the next one; None: it ends with it."""


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
            activate=self._activate,
            rename=self._rename,
        )
        self._engine: Literal["python", "xdp"] = "python"
        self._why_python: str | None = None
        """Why the XDP engine was wanted and does not run."""
        self._kernel_ports: KernelPorts | None = None
        self._keeper: Keeper | None = None
        self._legacy: Legacy | None = None
        """What a process before left, while a pipeline takes it up."""
        self._listening: int | None = None
        self._counted = KernelCounts()
        """What the kernel did at the ports, once stopped."""
        self._statistics: dict[str, int] = {}
        """What the program counted, once stopped."""
        self.data_plane = DataPlane(options.ports, self.device.process, self._after_bunch)
        self.address = ""
        """Where the server listens, once started."""
        self._service: P4RuntimeService | None = None
        self._server: grpc.aio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns: int | None = None
        self._idle_timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Load the program, open the ports and listen. Raises `Refusal`, `PortError`, `ListenError`, `PinError` or
        `EngineUnavailable`."""
        self._choose_engine()
        is_restored = False
        try:
            self.data_plane.open()
            is_restored = self._restore()
            if not is_restored and self._options.program is not None:
                self.device.pipelines.preload(self._options.program)
            self._service = P4RuntimeService(self.device, after_write=self._arm)
            self._server, self.address = await start_server(
                self._service, self._options.address, self._options.tls, [self._introspection().handler()]
            )
        except BaseException:
            self._release(leave=is_restored)
            raise
        self._idle_timer = asyncio.get_running_loop().call_later(_IDLE_SCAN_S, self._scan_idle)

    def _introspection(self) -> Introspection:
        return Introspection(
            self.device,
            Surroundings(
                ports=self._options.ports,
                cpu_port=self._options.cpu_port,
                unknown_port=lambda: self.data_plane.unknown_port,
                kernel_counts=self._count,
                engine=lambda: "python" if self._listening is None else "xdp",
                why_python=lambda: self._why_python,
            ),
        )

    async def stop(self) -> None:
        """Tell the clients, stop serving, close the ports."""
        for timer in (self._timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        if self._service is not None:
            self._service.close()
        if self._server is not None:
            await self._server.stop(_GRACE_S)
        self._release(leave=True)

    def _release(self, *, leave: bool) -> None:
        """Leave the ports and give back what the kernel holds; or leave it to the next process, if it is pinned."""
        self._counted = self._count()
        running = self.device.pipelines.committed
        self._statistics = {} if running is None else program_counts(running.switch)
        self._listen(None)
        if self._keeper is not None and running is not None and isinstance(running.switch.kernel, XdpEngine):
            running.switch.kernel.keep()
        if self._kernel_ports is not None and self._keeper is not None and leave:
            self._kernel_ports.release()
        elif self._kernel_ports is not None:
            self._kernel_ports.close()
        self.data_plane.close()
        self.device.pipelines.close()
        if self._keeper is not None:
            self._keeper.close()

    # What one process leaves to the next

    def _restore(self) -> bool:
        """Go on with what a process before left pinned; whether there was anything."""
        keeper = self._keeper
        found = None if keeper is None else keeper.found()
        if keeper is None or found is None:
            return False
        config = keeper.wanted(found, self._options.program)
        self._legacy = found.legacy
        try:
            keeper.restore(found, lambda: Pipeline(config, self._load), self.device.pipelines.start_with)
        finally:
            self._legacy = None
            found.close()
        return True

    def _rename(self, pipeline: Pipeline) -> None:
        if self._keeper is not None and isinstance(pipeline.switch.kernel, XdpEngine):
            self._keeper.rename(pipeline, pipeline.switch.kernel)

    def log_counters(self) -> None:
        """Write what was counted to the log."""
        self.data_plane.log_counters(self._counted)
        counted = ", ".join(f"{name} {value}" for name, value in self._statistics.items() if value)
        if counted:
            _LOG.info("the program: %s", counted)
        counted = ", ".join(f"{name} {value}" for name, value in asdict(self.device.stats).items() if value)
        if counted:
            _LOG.info("device %d: %s", self.device.device_id, counted)

    def _count(self) -> KernelCounts:
        """What the kernel does at the ports now."""
        return KernelCounts() if self._kernel_ports is None else self._kernel_ports.counts()

    # Engines

    def _choose_engine(self) -> None:
        """Decide once what this machine can run. Raises `EngineUnavailable`."""
        if self._options.engine == "python":
            return
        reason = why_not()
        if reason is None:
            self._engine = "xdp"
            if self._options.pin is not None:
                self._keeper = Keeper(self._options.pin, self._options.program)
            self._kernel_ports = KernelPorts(self._options.ports, None if self._keeper is None else self._keeper.folder)
        elif self._options.engine == "xdp" or self._options.pin is not None:
            raise EngineUnavailable(f"the XDP engine cannot run here: {reason}")
        else:
            self._why_python = f"the XDP engine cannot run here: {reason}"
            _LOG.warning("python engine: %s", self._why_python)

    def _load(self, config: p4r.ForwardingPipelineConfig) -> Switch:
        try:
            return self._load_with(self._engine, config)
        except (EngineUnavailable, UnsupportedConstruct) as error:
            if self._engine == "python":
                raise
            if self._options.engine == "xdp":
                raise EngineUnavailable(f"the XDP engine does not run this program: {error}") from error
            switch = self._load_with("python", config)  # which refuses what is wrong with the program itself
            self._why_python = f"the XDP engine does not run this program: {error}"
            _LOG.warning("python engine: %s", self._why_python)
            return switch

    def _load_with(self, engine: Literal["python", "xdp"], config: p4r.ForwardingPipelineConfig) -> Switch:
        return Switch.load(
            config.p4info,
            config.p4_device_config,
            cpu_port=self._options.cpu_port,
            drop_port=self._options.drop_port,
            clock=time.monotonic_ns,
            kernel=partial(XdpEngine, legacy=self._legacy, keeps=self._keeper is not None) if engine == "xdp" else None,
        )

    def _activate(self, pipeline: Pipeline) -> Pipeline:
        """Let this switch have the packets of the ports, or one of the python engine where the kernel cannot."""
        if self._kernel_ports is None:
            _LOG.info("the python engine switches packets")
            return pipeline
        kernel = pipeline.switch.kernel if isinstance(pipeline.switch.kernel, XdpEngine) else None
        if self._keeper is not None and kernel is not None:
            self._keeper.publish(pipeline, kernel)
        try:
            self._kernel_ports.activate(kernel)
        except PortError as error:
            if self._keeper is not None:
                self._keeper.withdraw()
            if self._options.engine == "xdp" or self._keeper is not None:
                raise EngineUnavailable(str(error)) from error
            pipeline = self._without_kernel(pipeline)
            self._why_python = str(error)
            _LOG.warning("python engine: %s", error)
            self._kernel_ports.activate(None)
            kernel = None
        if self._keeper is not None and kernel is not None:
            self._keeper.confirm()
        elif self._keeper is not None:
            self._keeper.clear()
        self._listen(kernel)
        _LOG.info("the %s engine switches packets", "python" if kernel is None else "XDP")
        return pipeline

    def _without_kernel(self, pipeline: Pipeline) -> Pipeline:
        """The same program and state without a mirror in the kernel: a kernel's engine cannot be taken off."""
        other = Pipeline(pipeline.config, partial(self._load_with, "python"))
        try:
            other.take_over(pipeline)
        except Refusal:
            other.switch.close()
            raise
        return other

    def _listen(self, kernel: XdpEngine | None) -> None:
        """Take what the kernel's engine has for this process as it comes."""
        loop = asyncio.get_running_loop()
        if self._listening is not None:
            loop.remove_reader(self._listening)
            self._listening = None
        if kernel is not None:
            self._listening = kernel.fileno()
            loop.add_reader(self._listening, self._poll)

    def _poll(self) -> None:
        self.device.poll()
        self._after_bunch()

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
        if self._kernel_ports is not None:
            self._kernel_ports.look_after()
        if self._listening is not None:
            self._poll()  # a full ring cannot wake us
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
