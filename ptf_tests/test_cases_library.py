"""Every packet case through `softswitch.Switch.process`, on both engines."""

import pytest

from ptf_tests.all_cases import CASES
from ptf_tests.case import DropReason, PuntReason
from ptf_tests.library_target import LibraryTarget
from ptf_tests.target import run_case


@pytest.mark.parametrize("name", CASES)
def test_case(target: LibraryTarget, name: str) -> None:
    run_case(target, CASES[name])


def test_every_drop_reason_has_a_case() -> None:
    seen = {step.drop for case in CASES.values() for step in case.steps}
    assert seen >= set(DropReason)


def test_every_punt_reason_has_a_case() -> None:
    seen = {step.packet_in.reason for case in CASES.values() for step in case.steps if step.packet_in}
    assert seen == set(PuntReason)


def test_no_case_hears_the_same_digest_twice() -> None:
    """BMv2 holds back a sample that equals one which is not acknowledged yet."""
    for case in CASES.values():
        heard = [step.digest for step in case.steps if step.digest is not None]
        assert len(heard) == len(set(heard)), case.name
