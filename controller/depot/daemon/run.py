"""`depot run`: the daemon from its start to a signal."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

from depot.config import Config, ConfigError
from depot.daemon.control_socket import ControlSocket, SocketInUseError
from depot.daemon.daemon import Daemon
from depot.daemon.gateway_member import KeyFileError
from depot.daemon.metrics_server import MetricsServer
from depot.p4runtime.codec import CodecError
from depot.p4runtime.switch_shell import Pipeline
from depot.program import ProgramMissingError, find_compiled_program

__all__ = ["run"]

events = logging.getLogger("depot.events")


def run(config: Config, config_file: Path) -> int:
    """Run until SIGTERM or SIGINT; SIGHUP reads the file again. Return the exit status."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    logging.getLogger("depot").setLevel(config.depot.log_level.value.upper())
    try:
        pipeline = Pipeline(find_compiled_program())
        asyncio.run(_run(config, config_file, pipeline))
    except (ProgramMissingError, CodecError, SocketInUseError, KeyFileError, OSError) as error:
        print(f"depot run: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(config: Config, config_file: Path, pipeline: Pipeline) -> None:
    daemon = Daemon(config, config_file, pipeline)
    control = ControlSocket(daemon, config.depot.socket)
    await control.start()
    metrics = MetricsServer(daemon)
    stopped = asyncio.Event()
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = asyncio.create_task(_reload(daemon))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        if config.depot.metrics is not None:
            await metrics.start(config.depot.metrics)
        await daemon.start()
        events.info("depot %s runs, socket %s", config.depot.name, config.depot.socket)
        await stopped.wait()
    finally:
        await control.stop()
        await metrics.stop()
        await daemon.stop()
        events.info("depot %s ends; the switches keep their tables", config.depot.name)


async def _reload(daemon: Daemon) -> None:
    try:
        await daemon.reload()
    except ConfigError as error:
        events.error("reload refused, the running configuration stays:\n%s", error)
