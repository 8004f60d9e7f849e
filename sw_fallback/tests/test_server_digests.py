"""Digest lists under a virtual clock: P4Runtime 1.4 section 9.10."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softswitch.server import digests
from softswitch.server.digests import DigestConfig, DigestLists
from softswitch.server.status import Code, Refusal

MS = 1_000_000
ID = 0x180


def lists(max_timeout_ns: int = 0, max_list_size: int = 0, ack_timeout_ns: int = 0) -> DigestLists:
    made = DigestLists()
    made.insert(ID, DigestConfig(max_timeout_ns, max_list_size, ack_timeout_ns))
    return made


def test_what_is_not_enabled_is_not_sent() -> None:
    made = DigestLists()
    assert made.learn(ID, (1,), 0) is None
    assert made.next_deadline() is None


def test_zero_timeout_sends_each_sample_at_once() -> None:
    made = lists(max_timeout_ns=0, max_list_size=10)
    first, second = made.learn(ID, (1,), 0), made.learn(ID, (2,), 0)
    assert first is not None
    assert second is not None
    assert (first.samples, second.samples) == (((1,),), ((2,),))
    assert first.list_id != second.list_id


def test_a_full_list_is_sent_and_a_partial_one_after_its_timeout() -> None:
    made = lists(max_timeout_ns=5 * MS, max_list_size=2)
    assert made.learn(ID, (1,), 0) is None
    full = made.learn(ID, (2,), MS)
    assert full is not None
    assert full.samples == ((1,), (2,))
    assert made.next_deadline() is None
    made.learn(ID, (3,), 2 * MS)
    assert made.next_deadline() == 7 * MS
    assert made.handle_timer(7 * MS - 1) == []
    (partial,) = made.handle_timer(7 * MS)
    assert partial.samples == ((3,),)


def test_duplicates_in_a_list_and_before_the_acknowledgement_are_left_out() -> None:
    made = lists(max_timeout_ns=5 * MS, max_list_size=2, ack_timeout_ns=100 * MS)
    made.learn(ID, (1,), 0)
    assert made.learn(ID, (1,), 0) is None
    sent = made.learn(ID, (2,), 0)
    assert sent is not None
    assert sent.samples == ((1,), (2,))
    made.learn(ID, (1,), MS)
    assert made.handle_timer(50 * MS) == []
    made.acknowledge(ID, sent.list_id)
    made.learn(ID, (1,), 51 * MS)
    (again,) = made.handle_timer(56 * MS)
    assert again.samples == ((1,),)


def test_without_acknowledgement_a_sample_is_sent_again_after_its_timeout() -> None:
    made = lists(max_timeout_ns=0, ack_timeout_ns=100 * MS)
    assert made.learn(ID, (1,), 0) is not None
    assert made.learn(ID, (1,), 99 * MS) is None
    assert made.next_deadline() == 100 * MS
    assert made.handle_timer(100 * MS) == []
    assert made.learn(ID, (1,), 101 * MS) is not None


def test_zero_acknowledgement_timeout_holds_nothing_back() -> None:
    made = lists(max_timeout_ns=0, ack_timeout_ns=0)
    assert made.learn(ID, (1,), 0) is not None
    assert made.learn(ID, (1,), 0) is not None


def test_acknowledgements_of_unknown_lists_are_ignored() -> None:
    made = lists(ack_timeout_ns=MS)
    made.acknowledge(ID, 99)
    made.acknowledge(ID + 1, 1)


def test_a_new_primary_hears_everything_again() -> None:
    made = lists(max_timeout_ns=0, ack_timeout_ns=100 * MS)
    made.learn(ID, (1,), 0)
    made.forget_clients()
    assert made.learn(ID, (1,), 1) is not None


def test_enable_twice_change_and_disable() -> None:
    made = lists(max_timeout_ns=MS)
    with pytest.raises(Refusal, check=lambda one: one.code == Code.ALREADY_EXISTS):
        made.insert(ID, DigestConfig(0, 0, 0))
    made.modify(ID, DigestConfig(0, 0, 0))
    assert made.learn(ID, (1,), 0) is not None
    made.delete(ID)
    assert made.learn(ID, (2,), 0) is None
    for change in (lambda: made.delete(ID), lambda: made.modify(ID, DigestConfig(0, 0, 0))):
        with pytest.raises(Refusal, check=lambda one: one.code == Code.NOT_FOUND):
            change()


@pytest.mark.parametrize("config", [DigestConfig(-1, 0, 0), DigestConfig(0, -1, 0), DigestConfig(0, 0, -1)])
def test_negative_values_are_refused(config: DigestConfig) -> None:
    with pytest.raises(Refusal, match="negative"):
        DigestLists().insert(ID, config)


def test_a_client_that_never_acknowledges_does_not_eat_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "MAX_UNACKNOWLEDGED", 3)
    made = lists(max_timeout_ns=0, ack_timeout_ns=10**18)
    for sample in range(10):
        made.learn(ID, (sample,), sample)
    assert made.learn(ID, (9,), 10) is None
    assert made.learn(ID, (0,), 10) is not None


STEPS = st.lists(st.tuples(st.sampled_from(["learn", "time", "ack"]), st.integers(0, 5)), max_size=60)


@given(STEPS, st.integers(0, 3), st.integers(0, 4), st.integers(0, 5))
def test_no_sample_waits_longer_than_its_timeout_and_none_comes_twice_unacknowledged(
    steps: list[tuple[str, int]], max_timeout: int, max_size: int, ack_timeout: int
) -> None:
    made = lists(max_timeout, max_size, ack_timeout)
    now = 0
    waiting: dict[int, int] = {}
    open_lists: dict[int, tuple[int, tuple[digests.Sample, ...]]] = {}

    def take(ready: digests.ReadyList) -> None:
        assert len(set(ready.samples)) == len(ready.samples) <= (max_size or digests.DEFAULT_LIST_SIZE)
        for sample in ready.samples:
            waiting.pop(sample[0])
            assert not any(sample in samples for at, samples in open_lists.values() if now - at < ack_timeout)
        open_lists[ready.list_id] = (now, ready.samples)

    for step, number in steps:
        if step == "learn":
            held = any((number,) in samples for at, samples in open_lists.values() if now - at < ack_timeout)
            if not held:
                waiting.setdefault(number, now)
            ready = made.learn(ID, (number,), now)
            if ready is not None:
                take(ready)
        elif step == "time":
            now += number
            for ready in made.handle_timer(now):
                take(ready)
            assert all(now - since < max(1, max_timeout) for since in waiting.values())
        elif open_lists:
            list_id = sorted(open_lists)[number % len(open_lists)]
            made.acknowledge(ID, list_id)
            del open_lists[list_id]
