"""The packet cases as PTF tests, one for each case (see ptf_tests/run.py)."""

from __future__ import annotations

from typing import ClassVar

import ptf
from ptf.base_tests import BaseTest
from ptf_tests.all_cases import CASES
from ptf_tests.case import Case
from ptf_tests.ptf_session import wire_target
from ptf_tests.target import run_case


class CaseTest(BaseTest):
    """Plays one case; the subclasses below name it."""

    case: ClassVar[Case]

    def setUp(self) -> None:
        super().setUp()
        ptf.dataplane_instance.flush()

    def play(self) -> None:
        run_case(wire_target(), self.case)


def _test_of(case: Case) -> type[CaseTest]:
    return type(case.name, (CaseTest,), {"case": case, "runTest": CaseTest.play, "__doc__": case.name})


globals().update({case.name: _test_of(case) for case in CASES.values() if case.wire})
