"""Keeps a running switch's pins: what was found at its start, and one whole program pinned at every moment."""

from __future__ import annotations

import gc
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

from finsy.proto import p4r

from softswitch.engine.xdp.description import is_durable
from softswitch.engine.xdp.engine import XdpEngine
from softswitch.engine.xdp.kernel import KernelError
from softswitch.errors import EngineUnavailable
from softswitch.pinned.folder import Generation, PinError, PinFolder
from softswitch.pinned.journal import Journal
from softswitch.pinned.log import Log
from softswitch.pinned.restore import Restoration
from softswitch.server.pipeline import Pipeline

__all__ = ["Keeper"]

_LOG = logging.getLogger("softswitch.pin")


class Keeper:
    """The pins of one switch."""

    def __init__(self, path: Path, given: p4r.ForwardingPipelineConfig | None) -> None:
        """`given`: the program that the switch is started with, if any. Raises `PinError`."""
        self.folder = PinFolder(path)
        self._given = "" if given is None else _name(given)
        self._number = 0
        """What the program at work is pinned under; zero: none is."""
        self._published = 0
        """The same of the one that was published last."""

    # At the start

    def found(self) -> Generation | None:
        """What a process before left. Raises `PinError` where it cannot be read."""
        numbers = self.folder.numbers()
        if not numbers:
            return None
        found = self.folder.open(numbers[-1])
        if not found.legacy.is_readable:
            raise PinError(f"{self.folder.path} was left by another version of softswitch: {self.advice}")
        return found

    @property
    def advice(self) -> str:
        """How to start without what was left."""
        return (
            f"its program goes on forwarding until `softswitch unpin {self.folder.path}` ends that, and then this one"
            " starts empty"
        )

    def wanted(self, found: Generation, given: p4r.ForwardingPipelineConfig | None) -> p4r.ForwardingPipelineConfig:
        """The program to go on with: what was at work, unless the switch is started with another one than before."""
        return found.config if given is None or found.given == self._given else given

    def restore(self, found: Generation, load: Callable[[], Pipeline], start: Callable[[Pipeline], None]) -> None:
        """Go on from there: `load` makes a pipeline with the legacy, `start` lets it have the packets.

        Raises what these two raise, and `PinError`.
        """
        gc.disable()  # it would look through a million rows again and again; none of them is garbage
        try:
            self._restore(found, load, start)
        finally:
            gc.enable()

    def _restore(self, found: Generation, load: Callable[[], Pipeline], start: Callable[[Pipeline], None]) -> None:
        pipeline = load()
        engine = pipeline.switch.kernel
        if not isinstance(engine, XdpEngine):
            pipeline.switch.close()
            raise PinError(f"the XDP engine does not run this program: {self.advice}")
        restoration = Restoration(found, pipeline, engine)
        try:
            restoration.run()
        except (LookupError, ValueError, KernelError) as error:
            pipeline.switch.close()
            raise PinError(f"what is in {self.folder.path} cannot be taken up: {error}; {self.advice}") from error
        start(pipeline)
        restoration.finish()

    # While it runs

    def publish(self, pipeline: Pipeline, engine: XdpEngine) -> None:
        """Pin a program that is about to have the packets. Raises `EngineUnavailable`."""
        legacy = engine.legacy()
        durable = {name for name, table in legacy.description["tables"].items() if is_durable(table)}
        in_memory = {table_id for table_id, table in pipeline.switch.p4info.tables.items() if table.name in durable}
        number = self.folder.next_number()

        def renew(log: Log) -> None:
            self.folder.write_journal(number, log)

        try:
            journal = Journal(pipeline, in_memory, renew)
            self.folder.write(number, legacy, journal.log, self._given, pipeline.config)
        except KernelError as error:
            raise EngineUnavailable(str(error)) from error
        self._published = number
        pipeline.writer.observer = journal.note

    def confirm(self) -> None:
        """What was published has the packets: what was before goes."""
        self._number = self._published
        self.folder.remove_others(self._number)

    def withdraw(self) -> None:
        """What was published does not get the packets."""
        self.folder.remove(self._published)

    def rename(self, pipeline: Pipeline, engine: XdpEngine) -> None:
        """The config of the program at work has another cookie."""
        try:
            self.folder.write_program(self._number, engine.legacy(), self._given, pipeline.config)
        except KernelError as error:
            _LOG.error("the new cookie is not kept for the next process: %s", error)

    def clear(self) -> None:
        """Leave nothing to the next process, unless something is published after this."""
        self.folder.clear()
        self._number = 0

    def close(self) -> None:
        """Leave it to the next process."""
        self.folder.close()


def _name(config: p4r.ForwardingPipelineConfig) -> str:
    digest = hashlib.sha256()
    for part in (config.p4info.SerializeToString(deterministic=True), config.p4_device_config):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
