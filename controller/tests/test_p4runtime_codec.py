"""Entries, digests and packets as P4Runtime messages and back."""

from __future__ import annotations

import pytest
from controller.tests.p4runtime_values import ENTRIES, FLOW, codec, p4info_text
from finsy.proto import p4i, p4r
from hypothesis import given
from hypothesis import strategies as st

from depot.p4runtime.codec import (
    DIGEST_FIELDS,
    Codec,
    Count,
    ProgramMismatchError,
    RemoteEntryError,
    parse_p4info,
)
from depot.p4runtime.entry import Action, Entry, Table, connection_flow
from depot.p4runtime.packets import PacketIn, PacketOut, Submission
from depot.p4runtime.reconcile import Operation, Update


def encoded(entry: Entry) -> p4r.TableEntry:
    message = p4r.TableEntry()
    codec().encode_entry(entry, message)
    return message


def byte_strings(match: p4r.FieldMatch) -> list[tuple[object, str]]:
    """Where a match has its byte strings: message and field."""
    kind = match.WhichOneof("field_match_type")
    names = {"range": ("low", "high"), "ternary": ("value", "mask")}.get(kind, ("value",))
    return [(getattr(match, kind), name) for name in names]


def all_values(message: p4r.TableEntry) -> list[bytes]:
    values = [getattr(*one) for match in message.match for one in byte_strings(match)]
    return values + [one.value for one in message.action.action.params]


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
class TestEntries:
    def test_there_and_back(self, entry: Entry) -> None:
        assert codec().decode_entry(encoded(entry)) == entry

    def test_byte_strings_are_canonical(self, entry: Entry) -> None:
        for value in all_values(encoded(entry)):
            assert value == b"\0" or value[0] != 0

    def test_leading_zeros_are_read(self, entry: Entry) -> None:
        """BMv2 and others answer with byte strings as wide as the field."""
        message = encoded(entry)
        for match in message.match:
            for field, name in byte_strings(match):
                setattr(field, name, bytes(3) + getattr(field, name))
        for param in message.action.action.params:
            param.value = bytes(3) + param.value
        assert codec().decode_entry(message) == entry

    def test_the_order_of_fields_says_nothing(self, entry: Entry) -> None:
        message = encoded(entry)
        turned = p4r.TableEntry()
        turned.CopyFrom(message)
        del turned.match[:], turned.action.action.params[:]
        turned.match.extend(reversed(message.match))
        turned.action.action.params.extend(reversed(message.action.action.params))
        assert codec().decode_entry(turned) == entry

    def test_a_delete_carries_no_action(self, entry: Entry) -> None:
        request = p4r.WriteRequest()
        codec().encode_updates([Update(Operation.DELETE, entry)], request)
        message = request.updates[0].entity.table_entry
        assert request.updates[0].type == p4r.Update.DELETE
        assert not message.HasField("action")
        assert codec().decode_key(message) == entry.key


def test_every_table_and_action_is_among_the_cases() -> None:
    assert {entry.table for entry in ENTRIES.values()} == set(Table)
    assert {entry.action for entry in ENTRIES.values()} == set(Action)


def test_a_prefix_of_no_bits_is_left_out() -> None:
    assert not encoded(ENTRIES["IPv6 default route"]).match


def test_a_rule_for_everything_has_only_a_priority() -> None:
    message = encoded(ENTRIES["rule that intercepts everything"])
    assert not message.match
    assert message.priority == 1


def test_a_connection_names_its_flow() -> None:
    assert connection_flow(ENTRIES["connection"].values) == FLOW


def test_entries_read_well() -> None:
    text = str(ENTRIES["slot"])
    assert text == "schedule_table [vip_id=0x3, slot=0x3ff] -> assign_member(member_id=0x9)"
    assert str(ENTRIES["route by a gateway"].key) == "route_table [address=0xffff0a000000/104]"
    assert str(ENTRIES["rule that holds"]) == (
        "policy_table [port=0x0:0x0, src_addr=0x0:0x0, dst_addr=0x0:0x0, src_port=0x0:0xffff, dst_port=0x1:0xffff, "
        "protocol=0x11:0x1, opens=0x0:0x0, priority=5] -> hold()"
    )


class TestRefusals:
    @pytest.mark.parametrize(
        ("break_it", "complaint"),
        [
            (lambda m: setattr(m, "table_id", 1), "table id 0x1"),
            (lambda m: setattr(m.action.action, "action_id", 1), "action id 0x1"),
            (lambda m: m.ClearField("match"), "match fields"),
            (lambda m: m.match.add(field_id=9), "match fields"),
            (lambda m: m.action.action.ClearField("params"), "parameters"),
            (lambda m: m.ClearField("action"), "action id"),
        ],
    )
    def test_what_the_program_does_not_have(self, break_it: object, complaint: str) -> None:
        message = encoded(ENTRIES["connection"])
        break_it(message)  # type: ignore[operator]
        with pytest.raises(RemoteEntryError, match=complaint):
            codec().decode_entry(message)

    @pytest.mark.parametrize(
        ("break_it", "complaint"),
        [
            (lambda m: m.match.add(field_id=9), "match fields"),
            (lambda m: m.match[0].ClearField("optional"), "has no value"),
            (lambda m: setattr(m.match[1].exact, "value", b"1"), "has exact"),
        ],
    )
    def test_what_a_rule_cannot_match_on(self, break_it: object, complaint: str) -> None:
        message = encoded(ENTRIES["rule that intercepts"])
        break_it(message)  # type: ignore[operator]
        with pytest.raises(RemoteEntryError, match=complaint):
            codec().decode_entry(message)

    @given(st.data())
    def test_any_message_gives_an_entry_or_one_error(self, data: st.DataObject) -> None:
        samples = [encoded(entry) for entry in ENTRIES.values()]
        ids = st.sampled_from([0, 1, 2, 3, 9])
        message = p4r.TableEntry(table_id=data.draw(st.sampled_from([one.table_id for one in samples] + [5])))
        for field_id in data.draw(st.lists(ids, max_size=6)):
            match = message.match.add(field_id=field_id)
            first, second = (data.draw(st.binary(max_size=17)) for _ in range(2))
            match data.draw(st.sampled_from(("exact", "lpm", "ternary", "range", "optional", None))):
                case "lpm":
                    match.lpm.value, match.lpm.prefix_len = first, data.draw(st.integers(0, 200))
                case "ternary":
                    match.ternary.value, match.ternary.mask = first, second
                case "range":
                    match.range.low, match.range.high = first, second
                case "exact" | "optional" as kind:
                    getattr(match, kind).value = first
        actions = [one.action.action.action_id for one in samples]
        message.action.action.action_id = data.draw(st.sampled_from([*actions, 5]))
        for param_id in data.draw(st.lists(ids, max_size=4)):
            message.action.action.params.add(param_id=param_id, value=data.draw(st.binary(max_size=17)))
        try:
            entry = codec().decode_entry(message)
        except RemoteEntryError:
            return
        assert codec().decode_entry(encoded(entry)) == entry

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ('alias: "vip_table"', 'alias: "service_table"'),
            ('alias: "serve_vip"', 'alias: "serve"'),
            ('name: "schedule_size"', 'name: "size"'),
            ('name: "addr_lo"', 'name: "addr_low"'),
            ('name: "packet_in"', 'name: "packet_input"'),
            ('name: "submit_to_ingress"', 'name: "submit"'),
        ],
    )
    def test_another_program_is_refused(self, old: str, new: str) -> None:
        text = p4info_text()
        assert old in text
        with pytest.raises(ProgramMismatchError):
            Codec(parse_p4info(text.replace(old, new)))

    def test_what_is_no_p4info(self) -> None:
        with pytest.raises(ProgramMismatchError, match="no P4Info"):
            parse_p4info("tables { what }")

    def test_an_empty_p4info(self) -> None:
        with pytest.raises(ProgramMismatchError, match="no table"):
            Codec(p4i.P4Info())


class TestDigests:
    @pytest.mark.parametrize("name", DIGEST_FIELDS)
    def test_samples_are_numbers_in_order(self, name: str) -> None:
        digest_id = dict(zip(DIGEST_FIELDS, codec().digest_ids, strict=True))[name]
        samples = [tuple(range(first, first + len(DIGEST_FIELDS[name]))) for first in (0, 250, 70000)]
        message = p4r.DigestList(digest_id=digest_id, list_id=5)
        for sample in samples:
            struct = message.data.add().struct
            for value in sample:
                struct.members.add().bitstring = value.to_bytes(4, "big")
        decoded = codec().decode_digest(message)
        assert (decoded.name, decoded.digest_id, decoded.list_id) == (name, digest_id, 5)
        assert decoded.samples == samples

    def test_an_unknown_digest(self) -> None:
        with pytest.raises(RemoteEntryError, match="digest id"):
            codec().decode_digest(p4r.DigestList(digest_id=1))

    def test_a_sample_of_another_size(self) -> None:
        message = p4r.DigestList(digest_id=codec().digest_ids[0])
        message.data.add().struct.members.add().bitstring = b"\1"
        with pytest.raises(RemoteEntryError, match="members"):
            codec().decode_digest(message)


class TestPackets:
    @pytest.mark.parametrize("from_peer", [False, True])
    def test_packet_in(self, from_peer: bool) -> None:
        values = {1: 2, 2: 3, 3: int(from_peer), 4: 1400, 5: 1 << 127}
        message = p4r.PacketIn(payload=b"frame")
        for metadata_id, value in values.items():
            message.metadata.add(metadata_id=metadata_id, value=value.to_bytes(16, "big"))
        assert codec().decode_packet_in(message) == PacketIn(2, 3, 1400, 1 << 127, b"frame", from_peer)

    def test_packet_in_without_all_its_metadata(self) -> None:
        with pytest.raises(RemoteEntryError, match="metadata"):
            codec().decode_packet_in(p4r.PacketIn(payload=b"frame"))

    @pytest.mark.parametrize(
        "packet",
        [
            PacketOut(b"x", egress_port=511),
            PacketOut(b"y", ingress_port=2, submit=Submission.SUBMIT),
            PacketOut(b"z", ingress_port=2, submit=Submission.RELEASE, member_id=65535),
            PacketOut(b"z", ingress_port=2, submit=Submission.SUBMIT_HELD, from_peer=True),
        ],
    )
    def test_packet_out(self, packet: PacketOut) -> None:
        message = codec().encode_packet_out(packet).packet
        values = {one.metadata_id: int.from_bytes(one.value, "big") for one in message.metadata}
        said = (packet.egress_port, packet.ingress_port, packet.submit, packet.member_id, packet.from_peer)
        assert values == dict(enumerate(said, 1))
        assert message.payload == packet.payload


def test_counters_have_names() -> None:
    wanted = {one.counter_entry.counter_id for one in codec().read_counters()}
    found = set()
    for counter_id in wanted:
        data = p4r.CounterData(packet_count=3, byte_count=180)
        cell = p4r.CounterEntry(counter_id=counter_id, index=p4r.Index(index=7), data=data)
        name, index, count = codec().decode_counter(cell)
        assert (index, count) == (7, Count(3, 180))
        found.add(name)
    assert found == {"drops", "punts"}
