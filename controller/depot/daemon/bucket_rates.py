"""What the hosts of each bucket bring, read from the switch's counters."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from depot.config.vmac_model import VmacConfig
from depot.daemon.switch_runner import SwitchRunner
from depot.p4runtime.codec import CodecError
from depot.p4runtime.entry import Table
from depot.p4runtime.rpc_shell import RpcError
from depot.vmac.smoothing import smoothed_rates

__all__ = ["BucketRates", "rates_between"]


class BucketRates:
    """The rates at one switch, smoothed."""

    def __init__(self, runner: SwitchRunner, config: VmacConfig) -> None:
        self._runner = runner
        self._config = config
        self._before: tuple[float, Mapping[int, int]] | None = None
        self._rates: dict[int, float] = {}
        self.took = 0.0
        """Seconds of the last reading."""

    async def read(self) -> dict[int, float] | None:
        """Return packets a second by bucket since the last reading; None: the first, or not to be read."""
        began = asyncio.get_running_loop().time()
        try:
            packets = await self._packets()
        except (RpcError, CodecError) as error:
            logging.getLogger("depot.wire").warning("vmac: counters cannot be read: %s", error)
            return None
        now = asyncio.get_running_loop().time()
        self.took = now - began
        before, self._before = self._before, (began, packets)
        if before is None:
            return None
        self._rates = smoothed_rates(self._rates, rates_between(before, self._before))
        return dict(self._rates)

    async def _packets(self) -> dict[int, int]:
        found: dict[int, int] = {}
        for key, count in (await self._runner.shell.read_counts([Table.VIRTUAL_MAC])).items():
            if (bucket := self._config.virtual_macs.bucket_of(key.values[1])) is not None:
                found[bucket] = found.get(bucket, 0) + count.packets
        return found


def rates_between(before: tuple[float, Mapping[int, int]], after: tuple[float, Mapping[int, int]]) -> dict[int, float]:
    """Return packets a second by bucket between two readings, each with its time; new entries count from zero."""
    span = max(after[0] - before[0], 1e-3)
    return {bucket: max(0, count - before[1].get(bucket, 0)) / span for bucket, count in after[1].items()}
