"""Client arbitration: the rules of P4Runtime 1.4 section 5, one test for each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softswitch.server.arbitration import Arbitration, Notice
from softswitch.server.status import Code, Refusal

DEVICE = 7
BIG = (1 << 127) + 5


def made() -> Arbitration:
    return Arbitration(DEVICE)


def said(notices: list[Notice]) -> dict[object, tuple[Code, int | None]]:
    return {notice.stream: (notice.code, notice.election_id) for notice in notices}


def join(arbitration: Arbitration, stream: str, election_id: int | None, role: str = "") -> list[Notice]:
    return arbitration.update(stream, device_id=DEVICE, election_id=election_id, role=role)


def refused(code: Code) -> object:
    return pytest.raises(Refusal, check=lambda refusal: refusal.code == code)


def test_first_client_with_an_election_id_becomes_primary() -> None:
    arbitration = made()
    assert said(join(arbitration, "a", BIG)) == {"a": (Code.OK, BIG)}
    arbitration.check_write("", BIG)


def test_a_higher_id_takes_over_and_the_old_primary_is_told_first() -> None:
    arbitration = made()
    join(arbitration, "a", 1)
    notices = join(arbitration, "b", 2)
    assert [(notice.stream, notice.code) for notice in notices] == [("a", Code.ALREADY_EXISTS), ("b", Code.OK)]
    with refused(Code.PERMISSION_DENIED):
        arbitration.check_write("", 1)
    arbitration.check_write("", 2)


def test_a_backup_is_told_alone() -> None:
    arbitration = made()
    join(arbitration, "a", 5)
    assert said(join(arbitration, "b", 3)) == {"b": (Code.ALREADY_EXISTS, 5)}
    assert arbitration.primaries() == ["a"]


def test_no_primary_after_the_primary_leaves_until_an_id_at_least_as_high_comes() -> None:
    arbitration = made()
    join(arbitration, "a", 5)
    join(arbitration, "b", 3)
    assert said(arbitration.disconnect("a")) == {"b": (Code.NOT_FOUND, 5)}
    with refused(Code.PERMISSION_DENIED):
        arbitration.check_write("", 3)
    assert said(join(arbitration, "b", 4)) == {"b": (Code.NOT_FOUND, 5)}
    assert said(join(arbitration, "b", 5)) == {"b": (Code.OK, 5)}


def test_a_backup_leaves_unnoticed() -> None:
    arbitration = made()
    join(arbitration, "a", 5)
    join(arbitration, "b", 3)
    assert arbitration.disconnect("b") == []
    assert arbitration.disconnect("never seen") == []


def test_primary_steps_down_by_a_lower_id() -> None:
    arbitration = made()
    join(arbitration, "a", 5)
    join(arbitration, "b", 3)
    assert said(join(arbitration, "a", 2)) == {"a": (Code.NOT_FOUND, 5), "b": (Code.NOT_FOUND, 5)}
    assert arbitration.primaries() == []


def test_primary_that_says_the_same_again_stays_and_all_are_told() -> None:
    arbitration = made()
    join(arbitration, "a", 5)
    join(arbitration, "b", 3)
    assert said(join(arbitration, "a", 5)) == {"a": (Code.OK, 5), "b": (Code.ALREADY_EXISTS, 5)}


def test_unset_election_id_never_becomes_primary_but_zero_may() -> None:
    arbitration = made()
    assert said(join(arbitration, "a", None)) == {"a": (Code.NOT_FOUND, None)}
    with refused(Code.PERMISSION_DENIED):
        arbitration.check_write("", None)
    assert said(join(arbitration, "b", 0)) == {"a": (Code.ALREADY_EXISTS, 0), "b": (Code.OK, 0)}
    with refused(Code.PERMISSION_DENIED):
        arbitration.check_write("", None)


def test_an_id_in_use_is_refused_and_changes_nothing() -> None:
    arbitration = made()
    join(arbitration, "a", 5)
    with refused(Code.INVALID_ARGUMENT):
        join(arbitration, "b", 5)
    assert arbitration.disconnect("b") == []
    assert arbitration.primaries() == ["a"]


def test_wrong_device_and_changed_device_or_role() -> None:
    arbitration = made()
    with refused(Code.NOT_FOUND):
        arbitration.update("a", device_id=8, election_id=1)
    join(arbitration, "a", 1)
    with refused(Code.FAILED_PRECONDITION):
        arbitration.update("a", device_id=8, election_id=1)
    with refused(Code.FAILED_PRECONDITION):
        join(arbitration, "a", 1, role="other")


def test_roles_elect_separately_and_share_ids() -> None:
    arbitration = made()
    join(arbitration, "a", 5)
    assert said(join(arbitration, "b", 5, role="reader")) == {"b": (Code.OK, 5)}
    arbitration.check_write("reader", 5)
    with refused(Code.NOT_FOUND):
        arbitration.check_write("unknown", 5)
    assert set(arbitration.primaries()) == {"a", "b"}


def test_role_config_is_refused() -> None:
    with refused(Code.INVALID_ARGUMENT):
        made().update("a", device_id=DEVICE, election_id=1, has_role_config=True)


def test_streams_of_a_role_are_limited() -> None:
    arbitration = Arbitration(DEVICE, max_streams_per_role=2)
    join(arbitration, "a", 1)
    join(arbitration, "b", 2)
    with refused(Code.RESOURCE_EXHAUSTED):
        join(arbitration, "c", 3)
    join(arbitration, "b", 4)
    arbitration.disconnect("a")
    join(arbitration, "c", 3)


STEPS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(0, 6), st.just("leave"))), max_size=40
)


@given(STEPS)
def test_whatever_happens_the_primary_has_the_highest_id_ever_seen(steps: list[tuple[str, int | str | None]]) -> None:
    arbitration = made()
    live: dict[str, int | None] = {}
    highest: int | None = None
    told: dict[object, Code] = {}
    for stream, step in steps:
        if step == "leave":
            live.pop(stream, None)
            told.pop(stream, None)
            notices = arbitration.disconnect(stream)
        else:
            assert not isinstance(step, str)
            taken = step is not None and step in [one for other, one in live.items() if other != stream]
            if taken:
                with refused(Code.INVALID_ARGUMENT):
                    join(arbitration, stream, step)
                continue
            notices = join(arbitration, stream, step)
            live[stream] = step
            if step is not None and (highest is None or step > highest):
                highest = step
        told |= {notice.stream: notice.code for notice in notices}
        primaries = arbitration.primaries()
        assert len(primaries) <= 1
        assert all(live[str(one)] == highest for one in primaries)
        # what each client was told last is how things are
        assert [one for one, code in told.items() if code == Code.OK] == primaries
        others = Code.ALREADY_EXISTS if primaries else Code.NOT_FOUND
        assert all(code == others for one, code in told.items() if one not in primaries)
