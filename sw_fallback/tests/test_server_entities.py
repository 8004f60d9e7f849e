"""Writes and reads of every entity against a switch without an engine: the rules of P4Runtime 1.4 section 9."""

from __future__ import annotations

import pytest
from finsy.proto import p4r
from sw_fallback.tests.entities_program import DELETE, INSERT, MODIFY, config, entity, mac_entry
from sw_fallback.tests.fake_switch import load

from softswitch.errors import EntityError
from softswitch.server.pipeline import Pipeline
from softswitch.server.status import Code, Refusal

ACL_MATCH = 'match { field_id: 1 ternary { value: "\\001" mask: "\\003" } }'
ACL = f"table_id: $ACL priority: 10 {ACL_MATCH} action {{ action {{ action_id: $MARK }} }}"


@pytest.fixture(params=["fake", "python"])
def pipeline(request: pytest.FixtureRequest) -> Pipeline:
    return Pipeline(config(), lambda _: load(request.param))


def table(text: str) -> p4r.Entity:
    return entity(f"table_entry {{ {text} }}")


def read(pipeline: Pipeline, text: str) -> list[p4r.Entity]:
    """What a read selects, without the constant entries of the program."""
    return [one for one in pipeline.reader.read(entity(text)) if not one.table_entry.is_const]


def code_of(pipeline: Pipeline, kind: p4r.Update.Type.ValueType, what: p4r.Entity) -> Code:
    with pytest.raises((Refusal, EntityError)) as refused:
        pipeline.writer.apply(kind, what)
    assert str(refused.value), "an error without words"
    return Code(getattr(refused.value, "code"))  # noqa: B009 - of one of two types


# what is written is read back as it was written

ROUND_TRIPS = {
    "exact": "table_id: $MAC match { field_id: 1 exact { value: '\\001' } } "
    "action { action { action_id: $COUNT_AND_FORWARD params { param_id: 1 value: '\\001\\377' } } } "
    "idle_timeout_ns: 5 metadata: 'mine'",
    "two exact fields": "table_id: $SOURCE match { field_id: 1 exact { value: '\\377\\377' } } "
    "match { field_id: 2 exact { value: '\\000' } } action { action { action_id: $IGNORE_SOURCE } }",
    "lpm": "table_id: $ROUTE match { field_id: 1 lpm { value: '\\200\\000\\000\\000\\000\\000' prefix_len: 1 } } "
    "action { action { action_id: $DROP } }",
    "lpm without its field": "table_id: $ROUTE action { action { action_id: $DROP } }",
    "ternary, range, optional": "table_id: $ACL priority: 1 match { field_id: 1 ternary { value: '\\000' mask: "
    "'\\001' } } "
    "match { field_id: 2 range { low: '\\001' high: '\\002' } } match { field_id: 3 optional { value: '\\007' } } "
    "action { action { action_id: $MARK } }",
    "all fields left out": "table_id: $ACL priority: 2147483647 action { action { action_id: $MARK } }",
    "one shot": "table_id: $UPLINK match { field_id: 1 exact { value: '\\010\\000' } } action { "
    "action_profile_action_set { "
    "action_profile_actions { action { action_id: $FORWARD params { param_id: 1 value: '\\001' } } weight: 2 } "
    "action_profile_actions { action { action_id: $DROP } weight: 1 } } }",
}


@pytest.mark.parametrize("text", ROUND_TRIPS.values(), ids=ROUND_TRIPS.keys())
def test_table_entries_come_back_as_written(pipeline: Pipeline, text: str) -> None:
    written = table(text)
    pipeline.writer.apply(INSERT, written)
    assert read(pipeline, f"table_entry {{ table_id: {written.table_entry.table_id} }}") == [written]
    assert code_of(pipeline, INSERT, written) == Code.ALREADY_EXISTS
    pipeline.writer.apply(DELETE, written)
    assert read(pipeline, "table_entry {}") == []
    assert code_of(pipeline, DELETE, written) == Code.NOT_FOUND
    assert code_of(pipeline, MODIFY, written) == Code.NOT_FOUND


OTHER_ROUND_TRIPS = {
    "member": "action_profile_member { action_profile_id: $UPLINKS member_id: 3 action { action_id: $DROP } }",
    "multicast group": "packet_replication_engine_entry { multicast_group_entry { multicast_group_id: 7 "
    "metadata: 'mine' "
    "replicas { port: '\\001' instance: 1 } replicas { port: '\\001' instance: 2 } } }",
    "multicast group of an older client": "packet_replication_engine_entry { multicast_group_entry { "
    "multicast_group_id: 8 replicas { egress_port: 1 instance: 1 } } }",
    "clone session of an older client": "packet_replication_engine_entry { clone_session_entry { session_id: 9 "
    "replicas { egress_port: 255 instance: 1 } } }",
    "clone session": "packet_replication_engine_entry { clone_session_entry { session_id: 100 packet_length_bytes: 64 "
    "replicas { port: '\\377' instance: 0 } } }",
    "digest": "digest_entry { digest_id: $DIGEST config { max_timeout_ns: 1 max_list_size: 2 ack_timeout_ns: 3 } }",
}
WILDCARDS = {
    "member": "action_profile_member {}",
    "multicast group": "packet_replication_engine_entry { multicast_group_entry {} }",
    "clone session": "packet_replication_engine_entry { clone_session_entry {} }",
    "digest": "digest_entry {}",
}


@pytest.mark.parametrize("kind", OTHER_ROUND_TRIPS)
def test_other_entities_come_back_as_written(pipeline: Pipeline, kind: str) -> None:
    written = entity(OTHER_ROUND_TRIPS[kind])
    wildcard = WILDCARDS[kind.partition(" of ")[0]]
    assert code_of(pipeline, MODIFY, written) == Code.NOT_FOUND
    pipeline.writer.apply(INSERT, written)
    assert read(pipeline, wildcard) == [written]
    assert list(pipeline.reader.read(written)) == [written]
    assert code_of(pipeline, INSERT, written) == Code.ALREADY_EXISTS
    pipeline.writer.apply(MODIFY, written)
    pipeline.writer.apply(DELETE, written)
    assert read(pipeline, wildcard) == []
    assert code_of(pipeline, DELETE, written) == Code.NOT_FOUND


def test_groups_point_at_members_and_entries_at_both(pipeline: Pipeline) -> None:
    for member in (1, 2):
        pipeline.writer.apply(
            INSERT,
            entity(
                f"action_profile_member {{ action_profile_id: $UPLINKS member_id: {member} action "
                f"{{ action_id: $DROP }} }}"
            ),
        )
    group = entity(
        "action_profile_group { action_profile_id: $UPLINKS group_id: 1 max_size: 5 "
        "members { member_id: 1 weight: 1 } members { member_id: 2 weight: 4 } }"
    )
    pipeline.writer.apply(INSERT, group)
    assert read(pipeline, "action_profile_group { action_profile_id: $UPLINKS }") == [group]
    for number, reference in enumerate(("action_profile_member_id: 2", "action_profile_group_id: 1")):
        written = table(
            f"table_id: $UPLINK match {{ field_id: 1 exact {{ value: '\\00{number}' }} }} action {{ {reference} }}"
        )
        pipeline.writer.apply(INSERT, written)
        assert list(pipeline.reader.read(written)) == [written]
    bigger = entity(
        "action_profile_group { action_profile_id: $UPLINKS group_id: 1 max_size: 6 "
        "members { member_id: 1 weight: 1 } }"
    )
    assert code_of(pipeline, MODIFY, bigger) == Code.INVALID_ARGUMENT


def test_one_shots_and_members_are_not_mixed(pipeline: Pipeline) -> None:
    one_shot, member = table(ROUND_TRIPS["one shot"]), entity(OTHER_ROUND_TRIPS["member"])
    pipeline.writer.apply(INSERT, one_shot)
    assert code_of(pipeline, INSERT, member) == Code.INVALID_ARGUMENT
    pipeline.writer.apply(DELETE, one_shot)
    pipeline.writer.apply(INSERT, member)
    assert code_of(pipeline, INSERT, one_shot) == Code.INVALID_ARGUMENT


def test_byte_strings_are_read_back_canonical(pipeline: Pipeline) -> None:
    long = mac_entry(1)
    long.table_entry.match[0].exact.value = bytes(9) + b"\x01"
    long.table_entry.action.action.params[0].value = b"\0\0\x01"
    pipeline.writer.apply(INSERT, long)
    assert read(pipeline, "table_entry { table_id: $MAC }") == [mac_entry(1)]


# table entries that break a rule

EXACT_ONE = "match { field_id: 1 exact { value: '\\001' } }"
ACTION = "action { action { action_id: $FLOOD params { param_id: 1 value: '\\001' } } }"
MARK_ACTION = "action { action { action_id: $MARK } }"
BAD_ENTRIES = {
    "unknown table": (f"table_id: 1 {EXACT_ONE} {ACTION}", Code.INVALID_ARGUMENT),
    "table id zero": (f"{EXACT_ONE} {ACTION}", Code.INVALID_ARGUMENT),
    "id of an action": (f"table_id: $DROP {EXACT_ONE} {ACTION}", Code.INVALID_ARGUMENT),
    "exact field missing": (f"table_id: $MAC {ACTION}", Code.INVALID_ARGUMENT),
    "unknown field": (
        f"table_id: $MAC {EXACT_ONE} match {{ field_id: 9 exact {{ value: '1' }} }} {ACTION}",
        Code.INVALID_ARGUMENT,
    ),
    "field twice": (f"table_id: $MAC {EXACT_ONE} {EXACT_ONE} {ACTION}", Code.INVALID_ARGUMENT),
    "wrong match kind": (
        f"table_id: $MAC match {{ field_id: 1 ternary {{ value: '1' mask: '1' }} }} {ACTION}",
        Code.INVALID_ARGUMENT,
    ),
    "match kind unset": (f"table_id: $MAC match {{ field_id: 1 }} {ACTION}", Code.INVALID_ARGUMENT),
    "value too wide": (
        f"table_id: $MAC match {{ field_id: 1 exact {{ value: '1234567' }} }} {ACTION}",
        Code.OUT_OF_RANGE,
    ),
    "value empty": (f"table_id: $MAC match {{ field_id: 1 exact {{ }} }} {ACTION}", Code.OUT_OF_RANGE),
    "priority without need": (f"table_id: $MAC {EXACT_ONE} {ACTION} priority: 1", Code.INVALID_ARGUMENT),
    "no action": (f"table_id: $MAC {EXACT_ONE}", Code.INVALID_ARGUMENT),
    "empty action": (f"table_id: $MAC {EXACT_ONE} action {{ }}", Code.INVALID_ARGUMENT),
    "unknown action": (f"table_id: $MAC {EXACT_ONE} action {{ action {{ action_id: 5 }} }}", Code.INVALID_ARGUMENT),
    "other table's action": (f"table_id: $MAC {EXACT_ONE} {MARK_ACTION}", Code.INVALID_ARGUMENT),
    "action only for default": (
        f"table_id: $MAC {EXACT_ONE} action {{ action {{ action_id: $DROP }} }}",
        Code.PERMISSION_DENIED,
    ),
    "parameter missing": (
        f"table_id: $MAC {EXACT_ONE} action {{ action {{ action_id: $FLOOD }} }}",
        Code.INVALID_ARGUMENT,
    ),
    "parameter unknown": (
        f"table_id: $MAC {EXACT_ONE} action {{ action {{ action_id: $FLOOD params {{ param_id: 2 value: '1' }} }} }}",
        Code.INVALID_ARGUMENT,
    ),
    "parameter twice": (
        f"table_id: $MAC {EXACT_ONE} action {{ action {{ action_id: $FLOOD params {{ param_id: 1 value: '1' }} "
        "params { param_id: 1 value: '1' } } }",
        Code.INVALID_ARGUMENT,
    ),
    "parameter too wide": (
        f"table_id: $MAC {EXACT_ONE} action {{ action {{ action_id: $FLOOD params {{ param_id: 1 value: '123' }} }} }}",
        Code.OUT_OF_RANGE,
    ),
    "parameter empty": (
        f"table_id: $MAC {EXACT_ONE} action {{ action {{ action_id: $FLOOD params {{ param_id: 1 }} }} }}",
        Code.OUT_OF_RANGE,
    ),
    "member for a direct table": (
        f"table_id: $MAC {EXACT_ONE} action {{ action_profile_member_id: 1 }}",
        Code.INVALID_ARGUMENT,
    ),
    "negative idle timeout": (f"table_id: $MAC {EXACT_ONE} {ACTION} idle_timeout_ns: -1", Code.INVALID_ARGUMENT),
    "time since last hit": (f"table_id: $MAC {EXACT_ONE} {ACTION} time_since_last_hit {{ }}", Code.INVALID_ARGUMENT),
    "is_const": (f"table_id: $MAC {EXACT_ONE} {ACTION} is_const: true", Code.INVALID_ARGUMENT),
    "meter for a table without": (f"table_id: $MAC {EXACT_ONE} {ACTION} meter_config {{ }}", Code.INVALID_ARGUMENT),
    "negative count": (
        f"table_id: $MAC {EXACT_ONE} {ACTION} counter_data {{ packet_count: -1 }}",
        Code.INVALID_ARGUMENT,
    ),
    "deprecated metadata": (f"table_id: $MAC {EXACT_ONE} {ACTION} controller_metadata: 1", Code.UNIMPLEMENTED),
    "idle timeout without support": (
        "table_id: $ROUTE action { action { action_id: $DROP } } idle_timeout_ns: 1",
        Code.INVALID_ARGUMENT,
    ),
    "counter for a table without": (
        "table_id: $ROUTE action { action { action_id: $DROP } } counter_data { }",
        Code.INVALID_ARGUMENT,
    ),
    "prefix of length zero": (
        "table_id: $ROUTE match { field_id: 1 lpm { value: '\\000' } } action { action { action_id: $DROP } }",
        Code.INVALID_ARGUMENT,
    ),
    "prefix too long": (
        "table_id: $ROUTE match { field_id: 1 lpm { value: '\\001' prefix_len: 49 } } "
        "action { action { action_id: $DROP } }",
        Code.INVALID_ARGUMENT,
    ),
    "bits past the prefix": (
        "table_id: $ROUTE match { field_id: 1 lpm { value: '\\001' prefix_len: 47 } } "
        "action { action { action_id: $DROP } }",
        Code.INVALID_ARGUMENT,
    ),
    "no priority": (f"table_id: $ACL {MARK_ACTION}", Code.INVALID_ARGUMENT),
    "negative priority": (f"table_id: $ACL priority: -1 {MARK_ACTION}", Code.INVALID_ARGUMENT),
    "mask of zero": (
        f"table_id: $ACL priority: 1 match {{ field_id: 1 ternary {{ value: '\\000' mask: '\\000' }} }} {MARK_ACTION}",
        Code.INVALID_ARGUMENT,
    ),
    "bits outside the mask": (
        f"table_id: $ACL priority: 1 match {{ field_id: 1 ternary {{ value: '\\002' mask: '\\001' }} }} {MARK_ACTION}",
        Code.INVALID_ARGUMENT,
    ),
    "mask too wide": (
        f"table_id: $ACL priority: 1 match {{ field_id: 1 ternary {{ value: '\\001' mask: "
        f"'1234567' }} }} {MARK_ACTION}",
        Code.OUT_OF_RANGE,
    ),
    "range upside down": (
        f"table_id: $ACL priority: 1 match {{ field_id: 2 range {{ low: '\\002' high: '\\001' }} }} {MARK_ACTION}",
        Code.INVALID_ARGUMENT,
    ),
    "range of everything": (
        f"table_id: $ACL priority: 1 match {{ field_id: 2 range {{ low: '\\000' high: '\\377\\377' }} }} {MARK_ACTION}",
        Code.INVALID_ARGUMENT,
    ),
    "optional too wide": (
        f"table_id: $ACL priority: 1 match {{ field_id: 3 optional {{ value: '\\002\\000' }} }} {MARK_ACTION}",
        Code.OUT_OF_RANGE,
    ),
    "colour counters": (f"table_id: $ACL priority: 1 {MARK_ACTION} meter_counter_data {{ }}", Code.UNIMPLEMENTED),
    "single rate burst": (
        f"table_id: $ACL priority: 1 {MARK_ACTION} meter_config {{ eburst: 1 }}",
        Code.INVALID_ARGUMENT,
    ),
    "action for an indirect table": (
        "table_id: $UPLINK match { field_id: 1 exact { value: '1' } } action { action { action_id: $DROP } }",
        Code.INVALID_ARGUMENT,
    ),
    "member that does not exist": (
        "table_id: $UPLINK match { field_id: 1 exact { value: '1' } } action { action_profile_member_id: 9 }",
        Code.NOT_FOUND,
    ),
    "group zero": (
        "table_id: $UPLINK match { field_id: 1 exact { value: '1' } } action { action_profile_group_id: 0 }",
        Code.INVALID_ARGUMENT,
    ),
    "weight zero": (
        "table_id: $UPLINK match { field_id: 1 exact { value: '1' } } action { action_profile_action_set { "
        "action_profile_actions { action { action_id: $DROP } } } }",
        Code.INVALID_ARGUMENT,
    ),
    "watch port": (
        "table_id: $UPLINK match { field_id: 1 exact { value: '1' } } action { action_profile_action_set { "
        "action_profile_actions { action { action_id: $DROP } weight: 1 watch_port: '\\001' } } }",
        Code.UNIMPLEMENTED,
    ),
    "entry of a constant table": (
        "table_id: $CONST match { field_id: 1 exact { value: '1' } } action { action { action_id: $DROP } }",
        Code.PERMISSION_DENIED,
    ),
    "entry of a table without key": (
        "table_id: $KEYLESS action { action { action_id: $DROP } }",
        Code.INVALID_ARGUMENT,
    ),
    "default inserted": ("table_id: $MAC is_default_action: true", Code.INVALID_ARGUMENT),
}


@pytest.mark.parametrize(("text", "code"), BAD_ENTRIES.values(), ids=BAD_ENTRIES.keys())
def test_a_bad_entry_is_refused_and_nothing_changes(pipeline: Pipeline, text: str, code: Code) -> None:
    assert code_of(pipeline, INSERT, table(text)) == code
    assert read(pipeline, "table_entry {}") == []


def test_a_full_table_refuses(pipeline: Pipeline) -> None:
    for number in range(5):
        written = table(
            f"table_id: $SOURCE match {{ field_id: 1 exact {{ value: '\\00{number}' }} }} "
            "match { field_id: 2 exact { value: '\\001' } } action { action { action_id: $IGNORE_SOURCE } }"
        )
        if number < 4:
            pipeline.writer.apply(INSERT, written)
    assert code_of(pipeline, INSERT, written) == Code.RESOURCE_EXHAUSTED


def test_delete_looks_at_nothing_but_the_key(pipeline: Pipeline) -> None:
    pipeline.writer.apply(INSERT, mac_entry(1))
    odd = mac_entry(1, extra="idle_timeout_ns: -5")
    odd.table_entry.action.action.action_id = 99
    pipeline.writer.apply(DELETE, odd)
    assert read(pipeline, "table_entry {}") == []


def test_modify_without_action_keeps_it(pipeline: Pipeline) -> None:
    pipeline.writer.apply(INSERT, mac_entry(1, port=3))
    change = mac_entry(1, extra="metadata: 'new'")
    change.table_entry.ClearField("action")
    pipeline.writer.apply(MODIFY, change)
    assert read(pipeline, "table_entry {}") == [mac_entry(1, port=3, extra="metadata: 'new'")]


# constant entries


def test_constant_entries_are_read_as_such_and_never_changed(pipeline: Pipeline) -> None:
    constants = list(pipeline.reader.read(entity("table_entry { table_id: $CONST }")))
    assert [one.table_entry.match[0].exact.value for one in constants] == [b"\x88\xcc", b"\x88\xf7"]
    for one in constants:
        assert one.table_entry.is_const
        one.table_entry.is_const = False
        assert code_of(pipeline, DELETE, one) == Code.PERMISSION_DENIED
        assert code_of(pipeline, MODIFY, one) == Code.PERMISSION_DENIED
        one.table_entry.ClearField("action")
        pipeline.writer.apply(MODIFY, one)


# default entries

DEFAULT_DROP = "table_id: $MAC is_default_action: true action { action { action_id: $DROP } }"


def test_default_action_is_changed_read_and_reset(pipeline: Pipeline) -> None:
    first = read(pipeline, "table_entry { table_id: $MAC is_default_action: true }")
    pipeline.writer.apply(MODIFY, table(DEFAULT_DROP))
    assert read(pipeline, "table_entry { table_id: $MAC is_default_action: true }") == [table(DEFAULT_DROP)]
    pipeline.writer.apply(MODIFY, table("table_id: $MAC is_default_action: true"))
    assert read(pipeline, "table_entry { table_id: $MAC is_default_action: true }") == first
    assert first[0].table_entry.action.action.params[0].value == b"\x01"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (f"{DEFAULT_DROP} priority: 1", Code.INVALID_ARGUMENT),
        (f"{DEFAULT_DROP} {EXACT_ONE}", Code.INVALID_ARGUMENT),
        (f"{DEFAULT_DROP} idle_timeout_ns: 1", Code.INVALID_ARGUMENT),
        (f"{DEFAULT_DROP} counter_data {{ }}", Code.UNIMPLEMENTED),
        ("table_id: $SOURCE is_default_action: true", Code.PERMISSION_DENIED),
        ("table_id: $UPLINK is_default_action: true", Code.PERMISSION_DENIED),
        ("table_id: $ROUTE is_default_action: true action { action { action_id: $DROP } }", Code.PERMISSION_DENIED),
        ("table_id: $MAC is_default_action: true action { action_profile_member_id: 1 }", Code.INVALID_ARGUMENT),
    ],
)
def test_a_bad_default_entry_is_refused(pipeline: Pipeline, text: str, code: Code) -> None:
    assert code_of(pipeline, MODIFY, table(text)) == code


@pytest.mark.parametrize("kind", [INSERT, DELETE])
def test_default_entries_are_neither_inserted_nor_deleted(pipeline: Pipeline, kind: p4r.Update.Type.ValueType) -> None:
    assert code_of(pipeline, kind, table(DEFAULT_DROP)) == Code.INVALID_ARGUMENT


# reads


def test_wildcard_and_filtered_reads(pipeline: Pipeline) -> None:
    for number in range(3):
        pipeline.writer.apply(INSERT, mac_entry(number, extra=f"metadata: 'm{number}'"))
    acl = table(ACL)
    other = table(ACL.replace("priority: 10", "priority: 11"))
    for written in (acl, other):
        pipeline.writer.apply(INSERT, written)
    assert len(read(pipeline, "table_entry {}")) == 5
    assert len(read(pipeline, "table_entry { table_id: $MAC }")) == 3
    assert read(pipeline, "table_entry { table_id: $ACL priority: 11 }") == [other]
    assert read(pipeline, f"table_entry {{ table_id: $ACL {ACL_MATCH} priority: 10 }}") == [acl]
    assert read(pipeline, f"table_entry {{ table_id: $ACL {ACL_MATCH} }}") == [acl, other]
    assert read(pipeline, f"table_entry {{ table_id: $ACL {ACL_MATCH} priority: 12 }}") == []
    assert read(pipeline, "table_entry { table_id: $MAC metadata: 'm1' }") == [mac_entry(1, extra="metadata: 'm1'")]
    assert read(pipeline, "table_entry { metadata: 'm1' }") == [mac_entry(1, extra="metadata: 'm1'")]
    assert (
        len(read(pipeline, "table_entry { table_id: $MAC action { action { action_id: $COUNT_AND_FORWARD } } }")) == 3
    )
    assert read(pipeline, "table_entry { table_id: $MAC action { action { action_id: $FLOOD } } }") == []
    assert len(read(pipeline, "table_entry { is_default_action: true }")) == 7


def test_a_read_shows_the_state_at_its_call(pipeline: Pipeline) -> None:
    pipeline.writer.apply(INSERT, mac_entry(1))
    answer = pipeline.reader.read(entity("table_entry { table_id: $MAC counter_data { } time_since_last_hit { } }"))
    plain = pipeline.reader.read(entity("table_entry { table_id: $MAC }"))
    pipeline.writer.apply(DELETE, mac_entry(1))
    (seen,) = list(answer)
    assert seen.table_entry.HasField("time_since_last_hit")
    assert list(plain) == [mac_entry(1)]


BAD_READS = {
    "nothing": ("", Code.INVALID_ARGUMENT),
    "unknown table": ("table_entry { table_id: 5 }", Code.INVALID_ARGUMENT),
    "match of all tables": (f"table_entry {{ {EXACT_ONE} }}", Code.INVALID_ARGUMENT),
    "idle time of a table without": ("table_entry { table_id: $ROUTE time_since_last_hit { } }", Code.INVALID_ARGUMENT),
    "match too wide": (
        "table_entry { table_id: $MAC match { field_id: 1 exact { value: '1234567' } } }",
        Code.OUT_OF_RANGE,
    ),
    "unknown counter": ("counter_entry { counter_id: 5 }", Code.INVALID_ARGUMENT),
    "counter past its end": ("counter_entry { counter_id: $PORT_COUNTER index { index: 8 } }", Code.OUT_OF_RANGE),
    "negative index": ("counter_entry { counter_id: $PORT_COUNTER index { index: -1 } }", Code.INVALID_ARGUMENT),
    "unknown meter": ("meter_entry { meter_id: 5 }", Code.INVALID_ARGUMENT),
    "colour counters": ("meter_entry { counter_data { } }", Code.UNIMPLEMENTED),
    "unknown register": ("register_entry { register_id: 5 }", Code.INVALID_ARGUMENT),
    "unknown digest": ("digest_entry { digest_id: 5 }", Code.INVALID_ARGUMENT),
    "unknown profile": ("action_profile_member { action_profile_id: 5 }", Code.INVALID_ARGUMENT),
    "direct counter of a table without": (
        "direct_counter_entry { table_entry { table_id: $ROUTE } }",
        Code.INVALID_ARGUMENT,
    ),
    "direct counter of no entry": (
        f"direct_counter_entry {{ table_entry {{ table_id: $MAC {EXACT_ONE} }} }}",
        Code.NOT_FOUND,
    ),
    "replication of no kind": ("packet_replication_engine_entry { }", Code.INVALID_ARGUMENT),
    "value set": ("value_set_entry { value_set_id: 1 }", Code.UNIMPLEMENTED),
    "extern": ("extern_entry { extern_type_id: 1 }", Code.UNIMPLEMENTED),
}


@pytest.mark.parametrize(("text", "code"), BAD_READS.values(), ids=BAD_READS.keys())
def test_a_bad_read_is_refused_at_once(pipeline: Pipeline, text: str, code: Code) -> None:
    with pytest.raises(Refusal) as refused:
        pipeline.reader.read(entity(text))
    assert refused.value.code == code


def test_wildcards_of_what_the_switch_has_none_are_empty(pipeline: Pipeline) -> None:
    assert read(pipeline, "value_set_entry { }") == read(pipeline, "extern_entry { }") == []


# counters, meters, registers


def test_indirect_counters_one_and_all(pipeline: Pipeline) -> None:
    one = entity(
        "counter_entry { counter_id: $PORT_COUNTER index { index: 3 } data { packet_count: 2 byte_count: 99 } }"
    )
    pipeline.writer.apply(MODIFY, one)
    assert list(pipeline.reader.read(one)) == [one]
    cells = read(pipeline, "counter_entry { counter_id: $PORT_COUNTER }")
    assert [cell.counter_entry.index.index for cell in cells] == list(range(8))
    assert [cell.counter_entry.data.packet_count for cell in cells] == [0, 0, 0, 2, 0, 0, 0, 0]
    assert read(pipeline, "counter_entry { }") == cells
    pipeline.writer.apply(MODIFY, entity("counter_entry { counter_id: $PORT_COUNTER data { } }"))
    assert not any(cell.counter_entry.data.packet_count for cell in read(pipeline, "counter_entry { }"))
    pipeline.writer.apply(MODIFY, one)
    pipeline.writer.apply(MODIFY, entity("counter_entry { counter_id: $PORT_COUNTER index { index: 3 } }"))
    assert list(pipeline.reader.read(one)) == [one]


def test_direct_counters_in_the_entry_and_by_themselves(pipeline: Pipeline) -> None:
    pipeline.writer.apply(INSERT, mac_entry(1, extra="counter_data { packet_count: 5 byte_count: 6 }"))
    pipeline.writer.apply(INSERT, mac_entry(2))
    by_key = entity(f"direct_counter_entry {{ table_entry {{ table_id: $MAC {EXACT_ONE} }} }}")
    (direct,) = list(pipeline.reader.read(by_key))
    assert (direct.direct_counter_entry.data.packet_count, direct.direct_counter_entry.data.byte_count) == (5, 6)
    assert direct.direct_counter_entry.table_entry.match == mac_entry(1).table_entry.match
    by_key.direct_counter_entry.data.packet_count = 7
    pipeline.writer.apply(MODIFY, by_key)
    pipeline.writer.apply(MODIFY, mac_entry(1))
    with_counter = read(pipeline, "table_entry { table_id: $MAC counter_data { } }")
    assert [one.table_entry.counter_data.packet_count for one in with_counter] == [7, 0]
    assert all(one.table_entry.HasField("counter_data") for one in with_counter)
    assert not any(one.table_entry.HasField("counter_data") for one in read(pipeline, "table_entry { }"))
    assert len(read(pipeline, "direct_counter_entry { table_entry { table_id: $MAC } }")) == 2
    assert len(read(pipeline, "direct_counter_entry { }")) == 2


def test_meters_indirect_and_direct(pipeline: Pipeline) -> None:
    rates = "config { cir: 1 cburst: 2 pir: 3 pburst: 4 }"
    one = entity(f"meter_entry {{ meter_id: $PORT_METER index {{ index: 1 }} {rates} }}")
    pipeline.writer.apply(MODIFY, one)
    cells = read(pipeline, "meter_entry { meter_id: $PORT_METER }")
    assert cells[1] == one
    assert [cell.meter_entry.HasField("config") for cell in cells] == [False, True, False, False]
    pipeline.writer.apply(MODIFY, entity("meter_entry { meter_id: $PORT_METER }"))
    assert not any(cell.meter_entry.HasField("config") for cell in read(pipeline, "meter_entry { }"))

    acl = table(f"{ACL} meter_{rates}")
    pipeline.writer.apply(INSERT, acl)
    assert read(pipeline, "table_entry { table_id: $ACL meter_config { } }") == [acl]
    direct = entity(f"direct_meter_entry {{ table_entry {{ table_id: $ACL priority: 10 {ACL_MATCH} }} {rates} }}")
    assert list(pipeline.reader.read(direct)) == [direct]
    pipeline.writer.apply(MODIFY, table(ACL))
    assert read(pipeline, "table_entry { table_id: $ACL meter_config { } }") == [table(ACL)]
    pipeline.writer.apply(MODIFY, direct)
    assert read(pipeline, "direct_meter_entry { }") == [direct]


def test_registers_one_and_all(pipeline: Pipeline) -> None:
    one = entity("register_entry { register_id: $SEEN index { index: 15 } data { bitstring: '\\001\\002' } }")
    pipeline.writer.apply(MODIFY, one)
    assert list(pipeline.reader.read(one)) == [one]
    assert len(read(pipeline, "register_entry { }")) == 16
    pipeline.writer.apply(MODIFY, entity("register_entry { register_id: $SEEN data { bitstring: '\\007' } }"))
    assert {cell.register_entry.data.bitstring for cell in read(pipeline, "register_entry { }")} == {b"\x07"}


BAD_WRITES = {
    "no entity": (MODIFY, "", Code.INVALID_ARGUMENT),
    "value set": (MODIFY, "value_set_entry { value_set_id: 1 }", Code.UNIMPLEMENTED),
    "extern": (INSERT, "extern_entry { extern_type_id: 1 }", Code.UNIMPLEMENTED),
    "counter inserted": (
        INSERT,
        "counter_entry { counter_id: $PORT_COUNTER index { } data { } }",
        Code.INVALID_ARGUMENT,
    ),
    "counter deleted": (DELETE, "counter_entry { counter_id: $PORT_COUNTER index { } }", Code.INVALID_ARGUMENT),
    "counter unknown": (MODIFY, "counter_entry { counter_id: 1 index { } data { } }", Code.INVALID_ARGUMENT),
    "counter past its end": (
        MODIFY,
        "counter_entry { counter_id: $PORT_COUNTER index { index: 8 } data { } }",
        Code.OUT_OF_RANGE,
    ),
    "counter negative index": (
        MODIFY,
        "counter_entry { counter_id: $PORT_COUNTER index { index: -8 } data { } }",
        Code.INVALID_ARGUMENT,
    ),
    "meter inserted": (INSERT, "meter_entry { meter_id: $PORT_METER index { } }", Code.INVALID_ARGUMENT),
    "meter past its end": (MODIFY, "meter_entry { meter_id: $PORT_METER index { index: 4 } }", Code.OUT_OF_RANGE),
    "meter negative rate": (MODIFY, "meter_entry { meter_id: $PORT_METER config { cir: -1 } }", Code.INVALID_ARGUMENT),
    "meter upside down": (
        MODIFY,
        "meter_entry { meter_id: $PORT_METER config { cir: 2 pir: 1 } }",
        Code.INVALID_ARGUMENT,
    ),
    "register inserted": (
        INSERT,
        "register_entry { register_id: $SEEN data { bitstring: '1' } }",
        Code.INVALID_ARGUMENT,
    ),
    "register without data": (MODIFY, "register_entry { register_id: $SEEN index { } }", Code.INVALID_ARGUMENT),
    "register of another type": (
        MODIFY,
        "register_entry { register_id: $SEEN index { } data { bool: true } }",
        Code.INVALID_ARGUMENT,
    ),
    "register too wide": (
        MODIFY,
        "register_entry { register_id: $SEEN index { } data { bitstring: '12345' } }",
        Code.OUT_OF_RANGE,
    ),
    "register past its end": (
        MODIFY,
        "register_entry { register_id: $SEEN index { index: 16 } data { bitstring: '1' } }",
        Code.OUT_OF_RANGE,
    ),
    "direct counter inserted": (
        INSERT,
        f"direct_counter_entry {{ table_entry {{ table_id: $MAC {EXACT_ONE} }} }}",
        Code.INVALID_ARGUMENT,
    ),
    "direct counter of no entry": (
        MODIFY,
        f"direct_counter_entry {{ table_entry {{ table_id: $MAC {EXACT_ONE} }} data {{ }} }}",
        Code.NOT_FOUND,
    ),
    "direct counter of a table without": (
        MODIFY,
        "direct_counter_entry { table_entry { table_id: $ROUTE } data { } }",
        Code.INVALID_ARGUMENT,
    ),
    "direct meter of a table without": (
        MODIFY,
        f"direct_meter_entry {{ table_entry {{ table_id: $MAC {EXACT_ONE} }} }}",
        Code.INVALID_ARGUMENT,
    ),
    "digest unknown": (INSERT, "digest_entry { digest_id: 1 }", Code.INVALID_ARGUMENT),
    "digest negative": (
        INSERT,
        "digest_entry { digest_id: $DIGEST config { max_list_size: -1 } }",
        Code.INVALID_ARGUMENT,
    ),
    "multicast group zero": (
        INSERT,
        "packet_replication_engine_entry { multicast_group_entry { } }",
        Code.INVALID_ARGUMENT,
    ),
    "multicast pair twice": (
        INSERT,
        "packet_replication_engine_entry { multicast_group_entry { multicast_group_id: 1 "
        "replicas { port: '\\001' } replicas { egress_port: 1 } } }",
        Code.INVALID_ARGUMENT,
    ),
    "multicast instance": (
        INSERT,
        "packet_replication_engine_entry { multicast_group_entry { multicast_group_id: 1 "
        "replicas { port: '\\001' instance: 65536 } } }",
        Code.INVALID_ARGUMENT,
    ),
    "multicast port": (
        INSERT,
        "packet_replication_engine_entry { multicast_group_entry { multicast_group_id: 1 "
        "replicas { port: '\\002\\000' } } }",
        Code.OUT_OF_RANGE,
    ),
    "multicast without port": (
        INSERT,
        "packet_replication_engine_entry { multicast_group_entry { multicast_group_id: 1 replicas { } } }",
        Code.INVALID_ARGUMENT,
    ),
    "multicast backup": (
        INSERT,
        "packet_replication_engine_entry { multicast_group_entry { multicast_group_id: 1 "
        "replicas { port: '\\001' backup_replicas { port: '\\002' } } } }",
        Code.UNIMPLEMENTED,
    ),
    "clone session zero": (
        INSERT,
        "packet_replication_engine_entry { clone_session_entry { } }",
        Code.INVALID_ARGUMENT,
    ),
    "clone class of service": (
        INSERT,
        "packet_replication_engine_entry { clone_session_entry { session_id: 1 class_of_service: 1 } }",
        Code.INVALID_ARGUMENT,
    ),
    "member zero": (
        INSERT,
        "action_profile_member { action_profile_id: $UPLINKS action { action_id: $DROP } }",
        Code.INVALID_ARGUMENT,
    ),
    "member without action": (
        INSERT,
        "action_profile_member { action_profile_id: $UPLINKS member_id: 1 }",
        Code.INVALID_ARGUMENT,
    ),
    "member with another table's action": (
        INSERT,
        "action_profile_member { action_profile_id: $UPLINKS member_id: 1 action { action_id: $MARK } }",
        Code.INVALID_ARGUMENT,
    ),
    "member of no profile": (
        INSERT,
        "action_profile_member { action_profile_id: 3 member_id: 1 }",
        Code.INVALID_ARGUMENT,
    ),
    "group member twice": (
        INSERT,
        "action_profile_group { action_profile_id: $UPLINKS group_id: 1 members { member_id: 1 weight: 1 } "
        "members { member_id: 1 weight: 1 } }",
        Code.INVALID_ARGUMENT,
    ),
    "group above its size": (
        INSERT,
        "action_profile_group { action_profile_id: $UPLINKS group_id: 1 max_size: 1 "
        "members { member_id: 1 weight: 2 } }",
        Code.RESOURCE_EXHAUSTED,
    ),
    "group weight": (
        INSERT,
        "action_profile_group { action_profile_id: $UPLINKS group_id: 1 members { member_id: 1 } }",
        Code.INVALID_ARGUMENT,
    ),
}


@pytest.mark.parametrize(("kind", "text", "code"), BAD_WRITES.values(), ids=BAD_WRITES.keys())
def test_a_bad_write_is_refused(pipeline: Pipeline, kind: p4r.Update.Type.ValueType, text: str, code: Code) -> None:
    assert code_of(pipeline, kind, entity(text)) == code


def test_an_update_without_type_is_refused(pipeline: Pipeline) -> None:
    assert code_of(pipeline, p4r.Update.UNSPECIFIED, mac_entry(1)) == Code.INVALID_ARGUMENT
