"""Throughput, loss and load over time, runs side by side: the seed's Fig. 5."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.gateway_sites.timeline import Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]

_BARS = 10
"""Snapshots of a run: of 300 s one each 30 s, as in the seed."""


def draw(path: Path, timelines: Sequence[Timeline]) -> None:
    """Write a picture, and its numbers beside it in a folder `series`."""
    import matplotlib  # it takes its time: only a finished benchmark needs it

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = path.stem
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(timelines), figsize=(5 * len(timelines), 4.2), squeeze=False, sharey=True, layout="constrained"
    )
    for line, left in zip(timelines, axes[0], strict=True):
        every = line.seconds / _BARS
        bars = line.throughput(every)
        middles, rates = [at + every / 2 for at, _, _ in bars], [rate for _, rate, _ in bars]
        left.bar(middles, rates, every * 0.7, color="lightsteelblue")
        left.axhline(line.offered, color="grey", linestyle=":")
        outcome = "loss to the end" if line.loses_to_the_end else f"no loss after {line.no_loss_after:.0f} s"
        left.set(title=f"{line.name}\n{line.moves} moves, {outcome}", xlabel="s")
        right = left.twinx()
        _draw_lines(right, line, every / 3)
    axes[0, 0].set_ylabel("packets/s that came, both directions (dotted: offered)")
    right.set_ylabel("loss, load")
    right.legend(loc="center right")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    series = path.parent / "series" / f"{path.stem}.json"
    series.parent.mkdir(exist_ok=True)
    series.write_text(json.dumps([line.as_json(line.seconds / _BARS) for line in timelines], indent=1) + "\n")


def _draw_lines(axis: Axes, line: Timeline, every: float) -> None:
    losses = line.throughput(every)
    axis.plot([at + every / 2 for at, _, _ in losses], [loss for _, _, loss in losses], color="tab:red", label="loss")
    times = [at for at, _ in line.loads()]
    for number in range(len(line.samples[0].loads)):
        loads = [loads[number] for _, loads in line.loads()]
        axis.plot(times, loads, linewidth=1, label=f"load of gateway {number + 1}")
    axis.set_ylim(0, 1.05)
