"""The health of members under a virtual clock."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depot.address import Endpoint, parse_endpoint
from depot.config import HealthConfig, HealthType
from depot.health.core import HealthMonitor, MemberKey, ProbeRequest
from depot.health.states import TRANSITIONS, HealthInput, HealthState

A: MemberKey = ("web", "a")
B: MemberKey = ("web", "b")
PLACE = parse_endpoint("10.0.0.11:8080")
TCP = HealthConfig(interval=2.0, timeout=1.0, rise=2, fall=3, passive_fall=3)
PASSIVE = HealthConfig(type=HealthType.NONE, passive_fall=3, passive_retry=10.0)


class Ward:
    """A monitor, its clock, and members that are well or not."""

    def __init__(self) -> None:
        self.now = 100.0
        self.monitor = HealthMonitor(jitter=lambda: 0.5)
        self.well: dict[MemberKey, bool | None] = {}
        self.probes: list[tuple[float, ProbeRequest]] = []
        self.changes: list[tuple[MemberKey, HealthState, HealthInput, float]] = []

    def watch(self, key: MemberKey, health: HealthConfig, well: bool | None = True, place: Endpoint = PLACE) -> None:
        """Watch a member whose checks pass, fail, or (None) never come back."""
        self.well.setdefault(key, well)
        self.monitor.watch(key, health, place, self.now)

    def wait(self, seconds: float) -> None:
        """Let time pass; checks are answered 10 ms after they were asked for."""
        end = self.now + seconds
        while (deadline := self.monitor.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            for request in self.monitor.handle_timer(self.now):
                self.probes.append((self.now, request))
                self.answer(request)
            self.note()
        self.now = end

    def answer(self, request: ProbeRequest) -> None:
        well = self.well[request.key]
        if well is not None:
            detail = "fine" if well else "refused"
            time = 0.01 if well else None
            self.monitor.probe_result(request.key, request.serial, well, detail, time, self.now + 0.01)

    def unanswered(self, key: MemberKey, times: int = 1) -> None:
        for _ in range(times):
            self.monitor.syn_unanswered(key, self.now)
        self.note()

    def note(self) -> None:
        self.changes += [(c.key, c.state, c.cause, c.at) for c in self.monitor.take_changes()]

    def states(self) -> list[HealthState]:
        return [state for _, state, _, _ in self.changes]


@pytest.fixture
def ward() -> Ward:
    return Ward()


UP, DOWN, UNKNOWN = HealthState.UP, HealthState.DOWN, HealthState.UNKNOWN


class TestActive:
    def test_the_first_check_decides(self, ward: Ward) -> None:
        ward.watch(A, TCP, well=True)
        ward.watch(B, TCP, well=False)
        assert (ward.monitor.state(A), ward.monitor.state(B)) == (UNKNOWN, UNKNOWN)
        ward.wait(0.5)
        assert (ward.monitor.state(A), ward.monitor.state(B)) == (UP, DOWN)

    def test_checks_come_at_their_interval(self, ward: Ward) -> None:
        ward.watch(A, TCP)
        ward.wait(20)
        times = [at for at, _ in ward.probes]
        assert len(times) in (10, 11)
        assert all(late - early == pytest.approx(2.0, abs=0.13) for early, late in pairwise(times))

    def test_fall_failures_in_a_row_lead_down_and_rise_successes_up(self, ward: Ward) -> None:
        ward.watch(A, TCP)
        ward.wait(5)
        ward.well[A] = False
        ward.wait(4)
        assert ward.monitor.state(A) is UP
        ward.wait(2)
        assert ward.monitor.state(A) is DOWN
        ward.well[A] = True
        ward.wait(2)
        assert ward.monitor.state(A) is DOWN
        ward.wait(2)
        assert ward.monitor.state(A) is UP
        assert [cause for _, _, cause, _ in ward.changes] == [
            HealthInput.RISEN,
            HealthInput.FALLEN,
            HealthInput.RISEN,
        ]

    def test_failures_not_in_a_row_do_nothing(self, ward: Ward) -> None:
        ward.watch(A, TCP)
        ward.wait(1)
        for _ in range(10):
            ward.well[A] = False
            ward.wait(4)
            ward.well[A] = True
            ward.wait(2)
        assert ward.states() == [UP]

    def test_a_check_that_never_comes_back_has_failed(self, ward: Ward) -> None:
        ward.watch(A, TCP, well=None)
        ward.wait(2.5)
        assert ward.monitor.state(A) is DOWN
        (view,) = ward.monitor.members()
        assert view.detail == "the check did not come back"

    def test_results_that_come_too_late_are_ignored(self, ward: Ward) -> None:
        ward.watch(A, TCP, well=None)
        ward.wait(2.5)
        _, request = ward.probes[0]
        for _ in range(5):
            ward.monitor.probe_result(A, request.serial, True, "late", 2.0, ward.now)
        assert ward.monitor.state(A) is DOWN
        ward.monitor.probe_result(("web", "stranger"), 1, True, "", None, ward.now)

    def test_one_check_at_a_time_even_if_slower_than_the_interval(self, ward: Ward) -> None:
        ward.watch(A, replace(TCP, interval=0.5, timeout=3.0), well=None)
        ward.wait(3.9)
        assert len(ward.probes) == 1

    def test_the_checked_port_may_be_another(self, ward: Ward) -> None:
        ward.watch(A, replace(TCP, port=9000))
        ward.wait(1)
        assert ward.probes[0][1].endpoint == Endpoint(PLACE.address, 9000)

    def test_response_times_are_smoothed(self, ward: Ward) -> None:
        ward.watch(A, TCP)
        assert ward.monitor.response_time(A) is None
        ward.wait(1)
        assert ward.monitor.response_time(A) == pytest.approx(0.01)
        (request,) = [*ward.monitor.handle_timer(ward.now + 5)]
        ward.monitor.probe_result(A, request.serial, True, "", 0.11, ward.now + 5)
        assert ward.monitor.response_time(A) == pytest.approx(0.04)

    @given(st.floats(0, 1), st.floats(0, 1))
    def test_jitter_spreads_checks_by_a_tenth(self, first: float, second: float) -> None:
        drawn = iter([first, second])
        monitor = HealthMonitor(lambda: next(drawn, 0.5))
        monitor.watch(A, replace(TCP, interval=100.0), PLACE, 0.0)
        start = monitor.next_deadline()
        assert start is not None
        assert 0 <= start <= 10.1
        (request,) = monitor.handle_timer(start)
        monitor.probe_result(A, request.serial, True, "", 0.0, start)
        monitor.handle_timer(start + 3)  # where the check would have been given up
        again = monitor.next_deadline()
        assert again is not None
        assert 94.9 <= again - start <= 105.1


class TestPassive:
    def unheard(self, ward: Ward) -> None:
        """Clients find A dead, and so does the check that follows at once."""
        ward.well[A] = False
        ward.unanswered(A, 3)
        ward.wait(0.1)
        assert ward.monitor.state(A) is DOWN
        ward.well[A] = True

    def test_unanswered_clients_in_a_row_lead_down(self, ward: Ward) -> None:
        ward.watch(A, PASSIVE)
        ward.unanswered(A, 2)
        ward.monitor.syn_answered(A)
        ward.unanswered(A, 2)
        assert ward.monitor.state(A) is UP
        ward.unanswered(A)
        assert ward.monitor.state(A) is DOWN
        assert ward.changes[-1][2] is HealthInput.UNANSWERED

    @pytest.mark.parametrize("well", [False, None])
    def test_where_there_are_checks_one_decides_at_once(self, ward: Ward, well: bool | None) -> None:
        """Earlier than `fall` of them would; one that does not come back within its time has not passed either."""
        ward.watch(A, replace(TCP, interval=60.0))
        ward.wait(10)
        ward.well[A] = well
        checks = len(ward.probes)
        ward.unanswered(A, 3)
        assert ward.monitor.state(A) is UP
        ward.wait(0.1 if well is False else 2.1)
        assert len(ward.probes) == checks + 1
        assert ward.monitor.state(A) is DOWN
        assert ward.changes[-1][2] is HealthInput.UNANSWERED
        (view,) = ward.monitor.members()
        assert view.detail.startswith("3 client SYNs unanswered, and ")

    def test_a_check_under_way_decides(self, ward: Ward) -> None:
        ward.watch(A, TCP)
        ward.wait(1)
        ward.well[A] = None
        ward.wait(2)
        _, request = ward.probes[-1]
        ward.unanswered(A, 3)
        ward.wait(0.3)
        assert ward.probes[-1][1] is request, "one check at a time"
        ward.monitor.probe_result(A, request.serial, False, "refused", None, ward.now)
        ward.note()
        assert ward.monitor.state(A) is DOWN

    def test_forged_evidence_does_not_kill_a_member_that_passes_its_checks(self, ward: Ward) -> None:
        """Requests whose answers never arrive, a few each second for a minute."""
        ward.watch(A, TCP)
        ward.wait(1)
        for _ in range(600):
            ward.monitor.syn_unanswered(A, ward.now, ward.now - 3.0)
            ward.wait(0.1)
        assert ward.states() == [UP]
        times = [at for at, _ in ward.probes]
        assert min(late - early for early, late in pairwise(times)) >= 0.25, "nor does it make checks a flood"

    def test_a_passed_check_is_newer_than_what_was_asked_before(self, ward: Ward) -> None:
        """One unanswered request in 3 s with checks in between never adds up to three in a row."""
        ward.watch(A, TCP)
        ward.wait(1)
        checks = len(ward.probes)
        for _ in range(10):
            ward.wait(3)
            ward.monitor.syn_unanswered(A, ward.now, ward.now - 3.0)
        assert ward.states() == [UP]
        assert len(ward.probes) - checks in (15, 16), "only those of every 2 s"

    def test_active_checks_bring_it_back_on_probation(self, ward: Ward) -> None:
        ward.watch(A, TCP)
        ward.wait(1)
        self.unheard(ward)
        ward.wait(4.5)
        assert ward.monitor.state(A) is UP
        ward.well[A] = False
        ward.unanswered(A)
        ward.wait(0.3)
        assert ward.monitor.state(A) is DOWN

    def test_one_answer_ends_probation(self, ward: Ward) -> None:
        ward.watch(A, TCP)
        ward.wait(1)
        self.unheard(ward)
        ward.wait(4.5)
        ward.monitor.syn_answered(A)
        ward.well[A] = False
        ward.unanswered(A, 2)
        ward.wait(0.3)
        assert ward.monitor.state(A) is UP

    def test_without_active_checks_it_is_tried_again(self, ward: Ward) -> None:
        ward.watch(A, PASSIVE)
        assert ward.monitor.state(A) is UP
        assert ward.monitor.next_deadline() is None
        ward.unanswered(A, 3)
        ward.wait(9.9)
        assert ward.monitor.state(A) is DOWN
        ward.wait(0.2)
        assert ward.monitor.state(A) is UP
        ward.unanswered(A)
        ward.wait(10.1)
        assert [cause for _, _, cause, _ in ward.changes] == [HealthInput.UNANSWERED, HealthInput.RETRY] * 2
        assert ward.probes == []

    def test_it_can_be_turned_off(self, ward: Ward) -> None:
        ward.watch(A, replace(PASSIVE, passive=False))
        ward.watch(B, replace(TCP, passive=False, interval=60.0))
        ward.wait(10)
        ward.well[B] = False
        ward.unanswered(A, 100)
        ward.unanswered(B, 100)
        ward.wait(10)
        assert (ward.monitor.state(A), ward.monitor.state(B)) == (UP, UP)

    def test_evidence_about_strangers_and_the_dead_is_ignored(self, ward: Ward) -> None:
        ward.unanswered(A, 100)
        ward.monitor.syn_answered(A)
        ward.watch(A, PASSIVE)
        ward.unanswered(A, 3)
        ward.monitor.syn_answered(A)
        ward.unanswered(A, 100)
        assert ward.states() == [DOWN]


class TestReconfiguration:
    def test_the_same_again_changes_nothing(self, ward: Ward) -> None:
        ward.watch(A, TCP)
        ward.wait(3)
        before = ward.monitor.next_deadline()
        ward.watch(A, TCP)
        assert ward.monitor.next_deadline() == before

    def test_other_checks_keep_the_state(self, ward: Ward) -> None:
        ward.watch(A, TCP, well=False)
        ward.wait(3)
        ward.well[A] = True
        ward.watch(A, replace(TCP, rise=1, interval=60.0))
        assert ward.monitor.state(A) is DOWN
        ward.wait(10)
        assert ward.monitor.state(A) is UP

    def test_no_checks_any_more_means_a_new_try(self, ward: Ward) -> None:
        ward.watch(A, TCP, well=False)
        ward.wait(3)
        ward.watch(A, PASSIVE)
        ward.wait(10.1)
        assert ward.monitor.state(A) is UP

    def test_a_result_of_the_check_before_is_ignored(self, ward: Ward) -> None:
        ward.watch(A, TCP, well=None)
        ward.wait(0.3)
        _, request = ward.probes[0]
        ward.watch(A, replace(TCP, type=HealthType.HTTP))
        ward.monitor.probe_result(A, request.serial, False, "", None, ward.now)
        assert ward.monitor.state(A) is UNKNOWN

    def test_another_endpoint_is_another_member(self, ward: Ward) -> None:
        ward.watch(A, TCP, well=False)
        ward.wait(3)
        ward.watch(A, TCP, place=parse_endpoint("10.0.0.99:80"))
        assert ward.monitor.state(A) is UNKNOWN

    def test_who_is_forgotten_is_checked_no_more(self, ward: Ward) -> None:
        ward.watch(A, TCP)
        ward.wait(3)
        ward.monitor.forget(A)
        ward.monitor.forget(A)
        count = len(ward.probes)
        ward.wait(60)
        assert len(ward.probes) == count
        assert ward.monitor.next_deadline() is None
        assert list(ward.monitor.members()) == []


def test_the_transition_table_leads_from_every_state_to_every_serving_state_and_back() -> None:
    assert set(TRANSITIONS) == set(HealthState)
    assert HealthState.UNKNOWN not in {target for row in TRANSITIONS.values() for target in row.values()}
    assert HealthState.UP in TRANSITIONS[HealthState.DOWN].values()


steps = st.sampled_from(["wait", "well", "ill", "silent", "unanswered", "answered", "again", "none", "forget"])


@given(st.lists(steps, max_size=60))
def test_whatever_happens_changes_alternate_and_well_members_come_back(script: list[str]) -> None:
    ward = Ward()
    ward.watch(A, TCP)
    for step in script:
        if step == "wait":
            ward.wait(1.5)
        elif step in ("well", "ill", "silent"):
            ward.well[A] = {"well": True, "ill": False, "silent": None}[step]
        elif step == "unanswered":
            ward.unanswered(A)
        elif step == "answered":
            ward.monitor.syn_answered(A)
        elif step == "forget":
            ward.note()
            ward.monitor.forget(A)
            ward.changes.clear()
        else:
            ward.watch(A, TCP if step == "again" else PASSIVE)
        ward.note()
        assert all(one != next_one for one, next_one in pairwise(ward.states()))
    ward.watch(A, TCP)
    ward.well[A] = True
    ward.wait(15)
    assert ward.monitor.state(A) is UP
