"""Batches: every update's own outcome, all-or-none batches, the status that carries the errors."""

from __future__ import annotations

import pytest
from finsy.proto import p4r
from sw_fallback.tests.entities_program import DELETE, INSERT, MODIFY, config, entity, mac_entry, update
from sw_fallback.tests.fake_switch import FakeSwitch, load

from softswitch.server.batch import Batch, Outcome
from softswitch.server.batch_status import batch_status
from softswitch.server.pipeline import Pipeline
from softswitch.server.status import Code, Refusal

CONTINUE, ROLLBACK, ATOMIC = (
    p4r.WriteRequest.CONTINUE_ON_ERROR,
    p4r.WriteRequest.ROLLBACK_ON_ERROR,
    p4r.WriteRequest.DATAPLANE_ATOMIC,
)
EVERYTHING = [
    "table_entry { counter_data { } meter_config { } }",
    "table_entry { is_default_action: true }",
    "action_profile_member { }",
    "action_profile_group { }",
    "packet_replication_engine_entry { multicast_group_entry { } }",
    "packet_replication_engine_entry { clone_session_entry { } }",
    "counter_entry { }",
    "meter_entry { }",
    "register_entry { }",
    "digest_entry { }",
]


@pytest.fixture(params=["fake", "python"])
def pipeline(request: pytest.FixtureRequest) -> Pipeline:
    return Pipeline(config(), lambda _: load(request.param))


def run(pipeline: Pipeline, atomicity: int, *updates: p4r.Update) -> list[Outcome]:
    batch = Batch(pipeline.writer, pipeline.reader, pipeline.schema, updates)
    for _ in batch.run(atomicity):
        pass
    return batch.outcomes


def codes(outcomes: list[Outcome]) -> list[Code]:
    return [Code.OK if outcome is None else outcome.code for outcome in outcomes]


def state(pipeline: Pipeline) -> list[list[str]]:
    return [sorted(str(one) for one in pipeline.reader.read(entity(text))) for text in EVERYTHING]


MEMBER = "action_profile_member { action_profile_id: $UPLINKS member_id: 1 action { action_id: $DROP } }"
GROUP = "action_profile_group { action_profile_id: $UPLINKS group_id: 1 members { member_id: 1 weight: 1 } }"
ACL = (
    "table_entry { table_id: $ACL priority: 10 match { field_id: 1 ternary { value: '\\001' mask: '\\003' } } "
    "action { action { action_id: $MARK } } meter_config { cir: 1 cburst: 1 pir: 1 pburst: 1 } }"
)
MULTICAST = (
    "packet_replication_engine_entry { multicast_group_entry { multicast_group_id: 1 replicas { port: '\\001' } } }"
)
CLONE = "packet_replication_engine_entry { clone_session_entry { session_id: 1 replicas { port: '\\001' } } }"
DIGEST = "digest_entry { digest_id: $DIGEST config { max_list_size: 1 } }"

FIRST = [
    update(INSERT, mac_entry(1, extra="counter_data { packet_count: 4 byte_count: 5 }")),
    update(INSERT, mac_entry(2)),
    update(INSERT, entity(ACL)),
    update(INSERT, entity(MEMBER)),
    update(INSERT, entity(GROUP)),
    update(INSERT, entity(MULTICAST)),
    update(INSERT, entity(CLONE)),
    update(INSERT, entity(DIGEST)),
    update(MODIFY, entity("counter_entry { counter_id: $PORT_COUNTER index { index: 1 } data { packet_count: 3 } }")),
    update(MODIFY, entity("register_entry { register_id: $SEEN index { index: 1 } data { bitstring: '7' } }")),
]
SECOND = [
    update(DELETE, mac_entry(1)),
    update(INSERT, mac_entry(1, port=9)),
    update(INSERT, mac_entry(3)),
    update(MODIFY, mac_entry(2, port=5, extra="counter_data { packet_count: 1 }")),
    update(DELETE, entity(ACL)),
    update(DELETE, entity(GROUP)),
    update(MODIFY, entity(MEMBER.replace("$DROP", "$FORWARD params { param_id: 1 value: '1' }"))),
    update(DELETE, entity(MULTICAST)),
    update(MODIFY, entity(CLONE.replace("\\001", "\\002"))),
    update(MODIFY, entity(DIGEST.replace("max_list_size: 1", "max_list_size: 2"))),
    update(DELETE, entity(DIGEST)),
    update(MODIFY, entity("counter_entry { counter_id: $PORT_COUNTER data { packet_count: 8 } }")),
    update(MODIFY, entity("register_entry { register_id: $SEEN data { bitstring: '\\001' } }")),
    update(MODIFY, entity("meter_entry { meter_id: $PORT_METER config { cir: 1 pir: 1 } }")),
    update(
        MODIFY,
        entity("table_entry { table_id: $MAC is_default_action: true action { action { action_id: $DROP } } }"),
    ),
]


def test_continue_on_error_attempts_everything(pipeline: Pipeline) -> None:
    outcomes = run(
        pipeline,
        CONTINUE,
        update(INSERT, mac_entry(1)),
        update(INSERT, mac_entry(1)),
        update(DELETE, mac_entry(2)),
        update(INSERT, mac_entry(3)),
    )
    assert codes(outcomes) == [Code.OK, Code.ALREADY_EXISTS, Code.NOT_FOUND, Code.OK]
    assert len(list(pipeline.reader.read(entity("table_entry { table_id: $MAC }")))) == 2


def test_a_long_batch_gives_way_to_packets_unless_it_is_atomic(pipeline: Pipeline) -> None:
    updates = [update(INSERT, mac_entry(number)) for number in range(200)]
    turns = list(Batch(pipeline.writer, pipeline.reader, pipeline.schema, updates).run(CONTINUE))
    assert len(turns) == 3
    updates = [update(DELETE, mac_entry(number)) for number in range(200)]
    assert list(Batch(pipeline.writer, pipeline.reader, pipeline.schema, updates).run(ATOMIC)) == []


@pytest.mark.parametrize("atomicity", [ROLLBACK, ATOMIC])
def test_all_or_none_does_all(pipeline: Pipeline, atomicity: int) -> None:
    assert codes(run(pipeline, atomicity, *FIRST)) == [Code.OK] * len(FIRST)
    twin = Pipeline(config(), lambda _: FakeSwitch().as_switch())
    assert codes(run(twin, CONTINUE, *FIRST)) == [Code.OK] * len(FIRST)
    assert codes(run(pipeline, atomicity, *SECOND)) == [Code.OK] * len(SECOND)
    assert codes(run(twin, CONTINUE, *SECOND)) == [Code.OK] * len(SECOND)
    assert state(pipeline) == state(twin)


@pytest.mark.parametrize("atomicity", [ROLLBACK, ATOMIC])
@pytest.mark.parametrize("failing", range(len(SECOND) + 1))
def test_all_or_none_does_none(pipeline: Pipeline, atomicity: int, failing: int) -> None:
    run(pipeline, CONTINUE, *FIRST)
    before = state(pipeline)
    updates = [*SECOND[:failing], update(DELETE, mac_entry(99)), *SECOND[failing:]]
    expected = [Code.ABORTED] * len(updates)
    expected[failing] = Code.NOT_FOUND
    assert codes(run(pipeline, atomicity, *updates)) == expected
    assert state(pipeline) == before


def test_unknown_atomicity_is_refused(pipeline: Pipeline) -> None:
    with pytest.raises(Refusal, check=lambda one: one.code == Code.INVALID_ARGUMENT):
        run(pipeline, 7, update(INSERT, mac_entry(1)))


def test_status_has_one_error_for_each_update_in_order() -> None:
    status = batch_status([None, Refusal(Code.NOT_FOUND, "gone"), None], "Write failure.")
    assert status is not None
    assert status.code == Code.UNKNOWN
    errors = []
    for detail in status.details:
        error = p4r.Error()
        assert detail.Unpack(error)
        errors.append((error.canonical_code, error.message))
    assert errors == [(0, ""), (Code.NOT_FOUND, "gone"), (0, "")]
    assert batch_status([None, None], "Write failure.") is None


@pytest.mark.parametrize(
    ("updates", "limit"), [(1, 16_384), (300, 16_384), (500, 8192 + 50_000), (5000, 8192 + 500_000)]
)
def test_status_stays_within_what_clients_take(updates: int, limit: int) -> None:
    status = batch_status([Refusal(Code.NOT_FOUND, "ü" * 100)] * updates, "Write failure.")
    assert status is not None
    assert len(status.details) == updates
    assert status.ByteSize() < limit
    first, last = p4r.Error(), p4r.Error()
    status.details[0].Unpack(first)
    status.details[-1].Unpack(last)
    assert (first.canonical_code, first.message) == (Code.NOT_FOUND, "ü" * 100)
    assert last.canonical_code == Code.NOT_FOUND
