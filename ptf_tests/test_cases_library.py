"""Every packet case through `softswitch.Switch.process`, on both engines."""

from collections.abc import Iterator

import pytest

from depot.program import find_compiled_program
from ptf_tests.all_cases import CASES
from ptf_tests.case import DropReason, PuntReason
from ptf_tests.library_target import Engine, LibraryTarget
from ptf_tests.target import run_case
from softswitch.engine.xdp.availability import why_not


@pytest.fixture(scope="module", params=["python", pytest.param("xdp", marks=pytest.mark.netns)])
def target(request: pytest.FixtureRequest) -> Iterator[LibraryTarget]:
    engine: Engine = request.param
    reason = why_not() if engine == "xdp" else None
    if reason is not None:
        pytest.skip(reason)
    target = LibraryTarget(find_compiled_program(), engine)
    yield target
    target.close()


@pytest.mark.parametrize("name", CASES)
def test_case(target: LibraryTarget, name: str) -> None:
    run_case(target, CASES[name])


def test_every_drop_reason_has_a_case() -> None:
    seen = {step.drop for case in CASES.values() for step in case.steps}
    assert seen >= set(DropReason)


def test_every_punt_reason_has_a_case() -> None:
    seen = {step.packet_in.reason for case in CASES.values() for step in case.steps if step.packet_in}
    assert seen == set(PuntReason)
