"""Forwarding pipeline configs: every action of SetForwardingPipelineConfig, every answer of Get…."""

from __future__ import annotations

import pytest
from finsy.proto import p4r
from sw_fallback.tests.entities_program import INSERT, MODIFY, config, entity, mac_entry
from sw_fallback.tests.fake_switch import FakeSwitch

from softswitch.errors import EngineUnavailable, PipelineMismatch, UnsupportedConstruct
from softswitch.server.pipeline import Pipeline, PipelineStore
from softswitch.server.status import Code, Refusal
from softswitch.switch import Switch

SetRequest = p4r.SetForwardingPipelineConfigRequest
GetRequest = p4r.GetForwardingPipelineConfigRequest


def load(asked: p4r.ForwardingPipelineConfig) -> Switch:
    if asked.p4_device_config == b"other":
        raise PipelineMismatch("P4Info and JSON are not of one program")
    if asked.p4_device_config == b"odd":
        raise UnsupportedConstruct("extern frobnicate")
    return FakeSwitch().as_switch()


@pytest.fixture
def store() -> PipelineStore:
    return PipelineStore(load, lambda pipeline: None)


def change(
    store: PipelineStore, action: SetRequest.Action.ValueType, asked: p4r.ForwardingPipelineConfig | None = None
) -> None:
    request = SetRequest(action=action, config=asked)
    store.finish(request.action, store.prepare(request))


def code_of(
    store: PipelineStore, action: SetRequest.Action.ValueType, asked: p4r.ForwardingPipelineConfig | None = None
) -> Code:
    with pytest.raises(Refusal) as refused:
        change(store, action, asked)
    return refused.value.code


def answer(
    store: PipelineStore, kind: GetRequest.ResponseType.ValueType = GetRequest.ALL
) -> p4r.ForwardingPipelineConfig:
    return store.answer(kind).config


def entries(store: PipelineStore) -> int:
    return len(list(store.current().reader.read(entity("table_entry { table_id: $MAC }"))))


def test_before_a_config_is_set(store: PipelineStore) -> None:
    with pytest.raises(Refusal, match="No forwarding pipeline config") as refused:
        store.current()
    assert refused.value.code == Code.FAILED_PRECONDITION
    assert not store.answer(GetRequest.ALL).HasField("config")


def test_verify_changes_nothing(store: PipelineStore) -> None:
    change(store, SetRequest.VERIFY, config())
    assert store.committed is None
    assert not store.answer(GetRequest.ALL).HasField("config")


def test_commit_sets_and_clears(store: PipelineStore) -> None:
    change(store, SetRequest.VERIFY_AND_COMMIT, config(cookie=1))
    store.current().writer.apply(INSERT, mac_entry(1))
    assert answer(store) == config(cookie=1)
    change(store, SetRequest.VERIFY_AND_COMMIT, config(cookie=2))
    assert entries(store) == 0
    assert answer(store).cookie.cookie == 2


def test_a_switch_is_closed_when_nobody_can_reach_it_any_more() -> None:
    made: list[FakeSwitch] = []
    active: list[Pipeline] = []

    def remember(asked: p4r.ForwardingPipelineConfig) -> Switch:
        made.append(FakeSwitch())
        return made[-1].as_switch()

    store = PipelineStore(remember, active.append)
    change(store, SetRequest.VERIFY, config(cookie=1))
    change(store, SetRequest.VERIFY_AND_COMMIT, config(cookie=2))
    change(store, SetRequest.VERIFY_AND_SAVE, config(cookie=3))
    change(store, SetRequest.VERIFY_AND_SAVE, config(cookie=4))
    assert [switch.closed for switch in made] == [True, False, True, False]
    change(store, SetRequest.COMMIT)
    assert [switch.closed for switch in made] == [True, True, True, False]
    change(store, SetRequest.RECONCILE_AND_COMMIT, config(cookie=5))
    assert [switch.closed for switch in made] == [True, True, True, False, True]
    assert [pipeline.switch for pipeline in active] == [made[1].as_switch(), made[3].as_switch()]
    store.close()
    assert made[3].closed


def test_a_switch_that_cannot_have_the_packets_is_refused_and_the_old_one_stays() -> None:
    refuse = False

    def activate(pipeline: Pipeline) -> None:
        if refuse:
            raise EngineUnavailable("the interface has no native XDP")

    store = PipelineStore(load, activate)
    change(store, SetRequest.VERIFY_AND_COMMIT, config(cookie=1))
    refuse = True
    assert code_of(store, SetRequest.VERIFY_AND_COMMIT, config(cookie=2)) == Code.INTERNAL
    assert answer(store).cookie.cookie == 1
    change(store, SetRequest.VERIFY_AND_SAVE, config(cookie=3))
    assert code_of(store, SetRequest.COMMIT) == Code.INTERNAL
    assert code_of(store, SetRequest.COMMIT) == Code.NOT_FOUND
    assert answer(store).cookie.cookie == 1


def test_another_pipeline_may_take_the_packets_in_its_place() -> None:
    made: list[FakeSwitch] = []

    def remember(asked: p4r.ForwardingPipelineConfig) -> Switch:
        made.append(FakeSwitch())
        return made[-1].as_switch()

    store = PipelineStore(remember, lambda pipeline: Pipeline(pipeline.config, remember))
    change(store, SetRequest.VERIFY_AND_SAVE, config(cookie=1))
    change(store, SetRequest.COMMIT)
    assert [switch.closed for switch in made] == [True, False]
    assert store.current().switch is made[1].as_switch()
    change(store, SetRequest.VERIFY_AND_COMMIT, config(cookie=2))
    assert [switch.closed for switch in made] == [True, True, True, False]


def test_save_then_commit(store: PipelineStore) -> None:
    change(store, SetRequest.VERIFY_AND_COMMIT, config(cookie=1))
    running = store.committed
    change(store, SetRequest.VERIFY_AND_SAVE, config(cookie=2))
    assert store.committed is running
    assert store.current() is not running
    store.current().writer.apply(INSERT, mac_entry(1))
    change(store, SetRequest.COMMIT)
    assert store.committed is store.current() is not running
    assert entries(store) == 1
    assert code_of(store, SetRequest.COMMIT) == Code.NOT_FOUND


def test_reconcile_of_the_same_program_keeps_the_switch(store: PipelineStore) -> None:
    change(store, SetRequest.RECONCILE_AND_COMMIT, config(cookie=1))
    store.current().writer.apply(INSERT, mac_entry(1))
    running = store.committed
    change(store, SetRequest.RECONCILE_AND_COMMIT, config(cookie=2))
    assert store.committed is running
    assert (entries(store), answer(store).cookie.cookie) == (1, 2)


STATE = [
    (INSERT, "action_profile_member { action_profile_id: $UPLINKS member_id: 1 action { action_id: $DROP } }"),
    (INSERT, "action_profile_group { action_profile_id: $UPLINKS group_id: 1 members { member_id: 1 weight: 2 } }"),
    (
        INSERT,
        "table_entry { table_id: $UPLINK match { field_id: 1 exact { value: '1' } } "
        "action { action_profile_group_id: 1 } }",
    ),
    (INSERT, "packet_replication_engine_entry { multicast_group_entry { multicast_group_id: 1 } }"),
    (INSERT, "packet_replication_engine_entry { clone_session_entry { session_id: 1 } }"),
    (INSERT, "digest_entry { digest_id: $DIGEST config { max_list_size: 3 } }"),
    (MODIFY, "counter_entry { counter_id: $PORT_COUNTER index { index: 1 } data { packet_count: 3 } }"),
    (MODIFY, "register_entry { register_id: $SEEN index { index: 1 } data { bitstring: '7' } }"),
    (MODIFY, "meter_entry { meter_id: $PORT_METER index { index: 1 } config { cir: 1 pir: 1 } }"),
    (MODIFY, "table_entry { table_id: $MAC is_default_action: true action { action { action_id: $DROP } } }"),
]


def everything(store: PipelineStore) -> list[str]:
    kinds = ["table_entry { counter_data { } }", "table_entry { is_default_action: true }", "action_profile_member { }"]
    kinds += [
        "action_profile_group { }",
        "counter_entry { }",
        "register_entry { }",
        "meter_entry { }",
        "digest_entry { }",
    ]
    kinds += [
        f"packet_replication_engine_entry {{ {kind} {{ }} }}"
        for kind in ("multicast_group_entry", "clone_session_entry")
    ]
    return sorted(str(one) for kind in kinds for one in store.current().reader.read(entity(kind)))


def test_reconcile_with_another_program_takes_the_state_over(store: PipelineStore) -> None:
    change(store, SetRequest.RECONCILE_AND_COMMIT, config())
    store.current().writer.apply(INSERT, mac_entry(1, extra="counter_data { packet_count: 4 } idle_timeout_ns: 5"))
    for kind, text in STATE:
        store.current().writer.apply(kind, entity(text))
    before, running = everything(store), store.committed
    other = config()
    other.p4_device_config += b"\n"
    change(store, SetRequest.RECONCILE_AND_COMMIT, other)
    assert store.committed is not running
    assert everything(store) == before


def test_reconcile_that_cannot_keep_the_state_changes_nothing(store: PipelineStore) -> None:
    change(store, SetRequest.RECONCILE_AND_COMMIT, config())
    store.current().writer.apply(INSERT, mac_entry(1))
    running = store.committed
    narrower = config()
    narrower.p4_device_config += b"\n"
    del narrower.p4info.tables[0]
    assert code_of(store, SetRequest.RECONCILE_AND_COMMIT, narrower) == Code.INVALID_ARGUMENT
    assert store.committed is running
    assert entries(store) == 1


@pytest.mark.parametrize(
    "action",
    [SetRequest.VERIFY, SetRequest.VERIFY_AND_SAVE, SetRequest.VERIFY_AND_COMMIT, SetRequest.RECONCILE_AND_COMMIT],
)
def test_configs_that_cannot_be_realized(store: PipelineStore, action: SetRequest.Action.ValueType) -> None:
    assert code_of(store, action) == Code.INVALID_ARGUMENT
    for device_config in (b"", b"other", b"odd"):
        bad = config()
        bad.p4_device_config = device_config
        assert code_of(store, action, bad) == Code.INVALID_ARGUMENT
    assert code_of(store, action, p4r.ForwardingPipelineConfig(p4_device_config=b"x")) == Code.INVALID_ARGUMENT
    translated = config()
    translated.p4info.tables[0].match_fields[0].bitwidth = 0
    assert code_of(store, action, translated) == Code.INVALID_ARGUMENT
    dangling = config()
    dangling.p4info.tables[0].action_refs[0].id = 5
    assert code_of(store, action, dangling) == Code.INVALID_ARGUMENT
    assert store.committed is None


def test_commit_with_a_config_and_unknown_actions(store: PipelineStore) -> None:
    assert code_of(store, SetRequest.COMMIT, config()) == Code.INVALID_ARGUMENT
    assert code_of(store, SetRequest.UNSPECIFIED, config()) == Code.INVALID_ARGUMENT


def test_answers_carry_what_was_asked_for(store: PipelineStore) -> None:
    change(store, SetRequest.VERIFY_AND_COMMIT, config(cookie=9))
    shown = {
        kind: [field.name for field, _ in answer(store, kind).ListFields()] for kind in GetRequest.ResponseType.values()
    }
    assert shown == {
        GetRequest.ALL: ["p4info", "p4_device_config", "cookie"],
        GetRequest.COOKIE_ONLY: ["cookie"],
        GetRequest.P4INFO_AND_COOKIE: ["p4info", "cookie"],
        GetRequest.DEVICE_CONFIG_AND_COOKIE: ["p4_device_config", "cookie"],
    }


def test_cookie_zero_is_not_no_cookie(store: PipelineStore) -> None:
    change(store, SetRequest.VERIFY_AND_COMMIT, config())
    assert not answer(store).HasField("cookie")
    change(store, SetRequest.VERIFY_AND_COMMIT, config(cookie=0))
    assert answer(store).HasField("cookie")
