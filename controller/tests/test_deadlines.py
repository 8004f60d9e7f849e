"""Deadlines in buckets against the simplest model: a dictionary."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from depot.switching.deadlines import NEVER, DeadlineWheel


class Thing:
    def __init__(self) -> None:
        self.deadline = NEVER
        self.queued_tick = -1


steps = st.one_of(
    st.tuples(st.just("set"), st.integers(0, 4), st.floats(0.0, 30.0)),
    st.tuples(st.just("cancel"), st.integers(0, 4), st.just(0.0)),
    st.tuples(st.just("pass"), st.just(0), st.floats(0.0, 10.0)),
)


@given(st.lists(steps, max_size=60))
def test_all_that_is_due_comes_once_and_nothing_else(script: list[tuple[str, int, float]]) -> None:
    wheel: DeadlineWheel[Thing] = DeadlineWheel()
    things = [Thing() for _ in range(5)]
    model: dict[Thing, float] = {}
    now = 0.0
    for verb, number, amount in script:
        if verb == "set":
            model[things[number]] = now + amount
            wheel.set(things[number], now + amount)
        elif verb == "cancel":
            model.pop(things[number], None)
            things[number].deadline = NEVER
        else:
            now += amount
            came = list(wheel.due(now))
            assert len(set(came)) == len(came)
            assert all(model[thing] <= now for thing in came)
            assert {thing for thing, deadline in model.items() if deadline <= now - 1 / 16} <= set(came)
            for thing in came:
                del model[thing]
        if model:
            announced = wheel.next_deadline()
            assert announced is not None
            assert announced <= min(model.values()) + 1 / 16
    assert len(list(wheel.due(now + 100))) == len(model)
    assert wheel.next_deadline() is None


def test_a_thing_that_keeps_moving_has_one_place() -> None:
    wheel: DeadlineWheel[Thing] = DeadlineWheel()
    thing = Thing()
    for second in range(10000):
        wheel.set(thing, 10.0 + second)
    assert sum(len(bucket) for bucket in wheel._buckets.values()) == 1
    assert list(wheel.due(5000.0)) == []
    assert list(wheel.due(10009.0)) == [thing]


def test_what_is_due_may_be_set_again_while_it_is_told() -> None:
    wheel: DeadlineWheel[Thing] = DeadlineWheel()
    thing = Thing()
    wheel.set(thing, 1.0)
    for due in wheel.due(1.0):
        wheel.set(due, 2.0)
    assert list(wheel.due(1.9)) == []
    assert list(wheel.due(2.0)) == [thing]
