"""One process after another with the same pins, played by one: it lets go of its lock and of nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from finsy.proto import p4r

from softswitch.engine.xdp.engine import XdpEngine
from softswitch.engine.xdp.legacy import Legacy
from softswitch.pinned import Keeper
from softswitch.server.pipeline import Pipeline, PipelineStore
from softswitch.switch import Switch

CPU_PORT = 255


@contextmanager
def bpffs(folder: Path) -> Iterator[Path]:
    """A BPF file system of a test's own."""
    place = folder / "bpffs"
    place.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # a test that failed holds its lock


class Life:
    """What the daemon does with pins, without interfaces: packets come by test runs."""

    def __init__(
        self,
        path: Path,
        given: p4r.ForwardingPipelineConfig | None = None,
        *,
        before_start: Callable[[], None] = lambda: None,
    ) -> None:
        """`given`: the program on the command line; `before_start` is called when all is restored and the old program
        still has the packets."""
        self._legacy: Legacy | None = None
        self._before_start = before_start
        self.keeper = Keeper(path, given)
        self.store = PipelineStore(
            self._load, self._activate, lambda pipeline: self.keeper.rename(pipeline, self.engine)
        )
        found = self.keeper.found()
        if found is None:
            if given is not None:
                self.store.preload(given)
            return
        config = self.keeper.wanted(found, given)
        self._legacy = found.legacy
        self.keeper.restore(found, lambda: Pipeline(config, self._load), self._start)
        self._legacy = None
        found.close()

    def _start(self, pipeline: Pipeline) -> None:
        self._before_start()
        self.store.start_with(pipeline)

    def _load(self, config: p4r.ForwardingPipelineConfig) -> Switch:
        kernel = partial(XdpEngine, legacy=self._legacy, keeps=True)
        return Switch.load(config.p4info, config.p4_device_config, cpu_port=CPU_PORT, kernel=kernel)

    def _activate(self, pipeline: Pipeline) -> None:
        engine = pipeline.switch.kernel
        assert isinstance(engine, XdpEngine)
        self.keeper.publish(pipeline, engine)
        self.keeper.confirm()

    @property
    def pipeline(self) -> Pipeline:
        assert self.store.committed is not None
        return self.store.committed

    @property
    def switch(self) -> Switch:
        return self.pipeline.switch

    @property
    def engine(self) -> XdpEngine:
        engine = self.switch.kernel
        assert isinstance(engine, XdpEngine)
        return engine

    def set_config(self, config: p4r.ForwardingPipelineConfig, action: int | None = None) -> None:
        """SetForwardingPipelineConfig, by default VERIFY_AND_COMMIT."""
        request = p4r.SetForwardingPipelineConfigRequest(
            action=action or p4r.SetForwardingPipelineConfigRequest.VERIFY_AND_COMMIT, config=config
        )
        self.store.finish(request.action, self.store.prepare(request))

    def write(self, kind: int, entity: p4r.Entity) -> None:
        """One update, effective at once."""
        self.pipeline.writer.apply(kind, entity)
        self.switch.flush()

    def state(self) -> list[str]:
        """All that P4Runtime reads, in no order: hash tables have none."""
        return sorted(map(str, self.pipeline.entities()))

    def die(self) -> None:
        """SIGKILL: nothing is tidied up."""
        self.keeper.close()

    def stop(self) -> None:
        """SIGTERM."""
        self.engine.keep()
        self.store.close()
        self.keeper.close()
