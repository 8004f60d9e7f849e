"""Random packets between random writes, on the python engine and the XDP engine at once: nothing may differ.

    python -m ptf_tests.differential --packets 100000 --seed 1

Root needed. hypothesis draws what happens and, when the engines differ, makes the shortest story of it that still shows
the difference; the same seed tells the same stories. At the end it prints what became of the packets. Exit status: 0
equal, 1 they differ, 77 this machine has no XDP engine (the reason is on the screen).
"""

from __future__ import annotations

import argparse
import sys

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from sw_fallback.tests.engine_pair import EnginePair, EnginesDiffer, Stage

from depot.program import find_compiled_program
from ptf_tests.case import CPU_PORT
from ptf_tests.differential_moves import (
    Count,
    Depot,
    Learn,
    Move,
    PacketOuts,
    Release,
    Remember,
    Sessions,
    Skip,
    Traffic,
    Write,
)
from softswitch.engine.xdp.availability import why_not

__all__ = ["compare", "main"]

SKIPPED = 77
STORIES = 20
"""Between two looks at whether there were packets enough."""
ACCEPTABLE = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)
_SEEDS = st.integers(0, (1 << 32) - 1)

_MOVES: st.SearchStrategy[Move] = st.one_of(
    st.builds(Traffic, _SEEDS, flows=st.integers(0, 1), count=st.integers(1, 40)),
    st.builds(Traffic, _SEEDS, flows=st.integers(0, 1), count=st.integers(1, 40)),
    st.builds(Write, _SEEDS, kind=st.sampled_from(("insert", "modify", "delete")), count=st.integers(1, 30)),
    st.builds(Learn, _SEEDS),
    st.builds(Learn, _SEEDS),
    st.builds(Sessions, _SEEDS, count=st.integers(1, 30)),
    st.builds(Sessions, _SEEDS, count=st.integers(1, 30)),
    st.builds(PacketOuts, _SEEDS, count=st.integers(1, 8)),
    st.builds(Release, _SEEDS),
    st.builds(Count, _SEEDS),
    st.builds(Remember, _SEEDS),
    st.builds(Skip, st.sampled_from((0.2, 1.1, 61.0))),
)
MOVES = st.lists(_MOVES, min_size=8, max_size=40)


def load_pair() -> EnginePair:
    """The depot's program on both engines. Raises `EngineUnavailable`."""
    program = find_compiled_program()
    return EnginePair(program.p4info, program.json, cpu_port=CPU_PORT)


def compare(packets: int, first_seed: int) -> str:
    """Play stories until so many packets were compared; what became of them. Raises `EnginesDiffer`."""
    stage = Stage(load_pair)
    try:
        depot, number = Depot(stage.pair), first_seed << 16
        while stage.pair.seen.packets < packets:
            _stories(stage, depot, number)
            number += 1
        return f"{depot.summary()}\nseed {first_seed}: the engines are equal"
    finally:
        stage.close()


def _stories(stage: Stage, depot: Depot, number: int) -> None:
    limits = settings(
        max_examples=STORIES,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=ACCEPTABLE,
    )

    @seed(number)
    @limits
    @given(moves=MOVES)
    def story(moves: list[Move]) -> None:
        with stage.scene() as pair:
            depot.pair = pair
            depot.play(moves)

    story()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packets", type=int, default=100_000, help="at least so many, default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of everything random, default: %(default)s")
    options = parser.parse_args(arguments)
    reason = why_not()
    if reason is not None:
        print(f"skipped: {reason}")
        return SKIPPED
    try:
        print(compare(options.packets, options.seed))
    except EnginesDiffer as difference:
        print(f"seed {options.seed}: {difference}", *getattr(difference, "__notes__", ()), sep="\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
