"""Whatever a client sends is carried out or refused: random messages against the server's cores."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from finsy.proto import p4r
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from sw_fallback.tests import entities_program
from sw_fallback.tests.entities_program import config
from sw_fallback.tests.fake_switch import CPU_PORT, load

from softswitch.server.batch import Batch
from softswitch.server.device import Device
from softswitch.server.pipeline import Pipeline
from softswitch.server.status import Refusal

IDS = [value for name, value in vars(entities_program).items() if name.isupper() and type(value) is int]
NUMBERS = st.one_of(st.sampled_from([0, 1, 2, 3, *IDS]), st.integers(0, 2**31 - 1), st.integers(-(2**31), -1))
BYTES = st.one_of(st.binary(max_size=3), st.sampled_from([b"", b"\0", b"\x01", b"\xff" * 6, b"\xff" * 20]))
PIPELINE = Pipeline(config(), lambda _: load("python"))


@st.composite
def messages(draw: st.DrawFn, kind: type[Message], depth: int = 0) -> Message:
    """A message of a kind whose fields are drawn, those of `Any` left out."""
    message = kind()
    fields = [one for one in kind.DESCRIPTOR.fields if one.message_type is None or _is_plain(one.message_type)]
    for field in draw(st.lists(st.sampled_from(fields), unique_by=lambda one: one.name, max_size=5)) if fields else []:
        values = (
            draw(st.lists(_values(field, depth), max_size=3)) if field.is_repeated else [draw(_values(field, depth))]
        )
        for value in values:
            _set(message, field, value)
    return message


def _is_plain(kind: Descriptor) -> bool:
    return kind.name != "Any" and not kind.GetOptions().map_entry


def _values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type._concrete_class, depth + 1) if depth < 6 else st.none()
    if field.enum_type is not None:
        return st.integers(0, 6)
    by_type: dict[int, st.SearchStrategy[Any]] = {
        FieldDescriptor.TYPE_BYTES: BYTES,
        FieldDescriptor.TYPE_BOOL: st.booleans(),
        FieldDescriptor.TYPE_STRING: st.text(max_size=2),
        FieldDescriptor.TYPE_UINT32: NUMBERS.map(abs),
        FieldDescriptor.TYPE_UINT64: NUMBERS.map(abs),
    }
    return by_type.get(field.type, NUMBERS)


def _set(message: Message, field: FieldDescriptor, value: Any) -> None:
    if value is None:
        return
    if field.is_repeated:
        getattr(message, field.name).append(value)
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)


@settings(max_examples=150)
@given(st.lists(messages(p4r.Update), max_size=6), st.integers(0, 2))
def test_every_update_has_an_outcome(updates: list[p4r.Update], atomicity: int) -> None:
    batch = Batch(PIPELINE.writer, PIPELINE.reader, PIPELINE.schema, updates)
    for _ in batch.run(atomicity):
        pass
    assert len(batch.outcomes) == len(updates)


@settings(max_examples=150)
@given(messages(p4r.Entity))
def test_every_read_is_answered_or_refused(request: p4r.Entity) -> None:
    with suppress(Refusal):
        for entity in PIPELINE.reader.read(request):
            assert entity.WhichOneof("entity") == request.WhichOneof("entity")


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("ab"), messages(p4r.StreamMessageRequest)), max_size=6))
def test_every_stream_message_is_handled_or_refused(requests: list[tuple[str, p4r.StreamMessageRequest]]) -> None:
    delivered: list[p4r.StreamMessageResponse] = []
    device = Device(
        1,
        lambda _: load("fake"),
        cpu_port=CPU_PORT,
        transmit=lambda *_: None,
        deliver=lambda _, message: delivered.append(message),
        epoch_ns=lambda: 0,
    )
    device.pipelines.preload(config())
    for stream, request in requests:
        try:
            device.receive(stream, request, 0)
        except Refusal:
            device.disconnect(stream)
    assert all(message.WhichOneof("update") for message in delivered)


@settings(max_examples=100)
@given(messages(p4r.SetForwardingPipelineConfigRequest))
def test_every_pipeline_request_is_done_or_refused(request: p4r.SetForwardingPipelineConfigRequest) -> None:
    device = Device(
        1, lambda _: load("fake"), cpu_port=None, transmit=lambda *_: None, deliver=lambda *_: None, epoch_ns=lambda: 0
    )
    with suppress(Refusal):
        device.pipelines.finish(request.action, device.pipelines.prepare(request))
        assert request.action != p4r.SetForwardingPipelineConfigRequest.UNSPECIFIED
