"""The cluster's messages: a table of cases run both ways and byte by byte, and any bytes at all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from depot.address import Endpoint, FlowKey, Protocol, parse_endpoint
from depot.cluster.errors import ClusterError, ErrorCode, RemoteError, describe_code
from depot.cluster.states import state_diagram
from depot.cluster.wire import (
    CONNECTION_KINDS,
    KEEPALIVE,
    LONGEST_MESSAGE,
    VERSION,
    AddressFamily,
    ConnectionAction,
    ConnectionRun,
    Join,
    Keepalive,
    Leave,
    Message,
    MessageType,
    Reject,
    SyncAction,
    encode_connection,
    encode_join,
    encode_leave,
    encode_reject,
    flow_of,
    header_word,
    key_of,
    read_message,
)

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "wire.md"

FORWARD, BYPASS = ConnectionAction.FORWARD, ConnectionAction.BYPASS
V4_CLIENT, V4_SERVER = parse_endpoint("10.0.0.1:4000"), parse_endpoint("192.0.2.10:80")
V6_CLIENT, V6_SERVER = parse_endpoint("[2001:db8::1]:4000"), parse_endpoint("[2001:db8::2]:443")

CONNECTIONS = [
    pytest.param(
        True, FORWARD, Protocol.TCP, V4_CLIENT, V4_SERVER, "01010604 0fa0 0050 0a000001 c000020a", id="install"
    ),
    pytest.param(
        True, FORWARD, Protocol.TCP, V4_SERVER, V4_CLIENT, "01010604 0050 0fa0 c000020a 0a000001", id="other-way"
    ),
    pytest.param(
        False, BYPASS, Protocol.UDP, V4_CLIENT, V4_SERVER, "02021104 0fa0 0050 0a000001 c000020a", id="remove"
    ),
    pytest.param(
        True, BYPASS, Protocol.UDP, V6_CLIENT, V6_SERVER,
        "01021106 0fa0 01bb 20010db8000000000000000000000001 20010db8000000000000000000000002", id="install-v6",
    ),
    pytest.param(
        False, FORWARD, Protocol.TCP, V6_SERVER, V6_CLIENT,
        "02010606 01bb 0fa0 20010db8000000000000000000000002 20010db8000000000000000000000001", id="remove-v6",
    ),
]  # fmt: skip

SYNC = [
    pytest.param(Join(VERSION, "edge-1"), encode_join("edge-1"), "03010106 656467652d31", id="join"),
    pytest.param(Join(VERSION, "x" * 255), encode_join("x" * 255), "030101ff" + "78" * 255, id="longest"),
    pytest.param(Keepalive(), KEEPALIVE, "03020000", id="keepalive"),
    pytest.param(Leave(0), encode_leave(ErrorCode.LEAVING), "03030000", id="leave"),
    pytest.param(Leave(1), encode_leave(ErrorCode.BAD_MESSAGE), "03030100", id="leave-bad-message"),
    pytest.param(Reject(3), encode_reject(ErrorCode.NOT_A_MEMBER), "03040300", id="reject"),
    pytest.param(Reject(200), bytes.fromhex("0304c800"), "0304c800", id="reject-unknown-code"),
    pytest.param(Join(VERSION + 1, ""), bytes.fromhex("030102ff"), "030102ff", id="join-of-another-version"),
]

NO_MESSAGES = [
    "00000000", "04000000", "474554202f", "01000604", "01030604", "01010504", "01010605", "01010600", "02000000",
    "03000000", "03050000", "03020100", "03020001", "03030001", "03040301", "03010100", "0301010120", "030101020a41",
    "03010102c3a4", "030101017f",
]  # fmt: skip


def whole(data: bytes) -> Message:
    found = read_message(data, 0)
    assert found is not None
    message, end = found
    assert end == len(data)
    return message


def read_all(data: bytes) -> tuple[list[Message], int]:
    """Messages, runs of one family put together, and where the first that is not whole begins."""
    messages: list[Message] = []
    offset = 0
    while (found := read_message(data, offset)) is not None:
        message, end = found
        assert offset < end <= len(data)
        before = messages[-1] if messages else None
        if isinstance(message, ConnectionRun) and isinstance(before, ConnectionRun) and before.family == message.family:
            messages[-1] = ConnectionRun(message.family, before.data + message.data)
        else:
            messages.append(message)
        offset = end
    return messages, offset


@pytest.mark.parametrize(("installs", "action", "protocol", "source", "destination", "text"), CONNECTIONS)
def test_connection_messages_both_ways(
    installs: bool, action: ConnectionAction, protocol: Protocol, source: Endpoint, destination: Endpoint, text: str
) -> None:
    data = bytes.fromhex(text)
    flow = FlowKey.between(source, destination, protocol)
    assert encode_connection(installs, action, key_of(flow), flow.high == source) == data
    run = whole(data)
    assert isinstance(run, ConnectionRun)
    assert len(run) == 1
    [(header, source_port, destination_port, source_address, destination_address)] = run.records()
    kind = CONNECTION_KINDS[header]
    assert (kind.installs, kind.action, kind.protocol, kind.family) == (installs, action, protocol, run.family)
    assert (source_port, destination_port) == (source.port.to_bytes(2, "big"), destination.port.to_bytes(2, "big"))
    size = 4 if run.family is AddressFamily.IPV4 else 16
    assert len(data) == 8 + 2 * size
    assert source_address == source.address.to_bytes(16, "big")[-size:]
    assert destination_address == destination.address.to_bytes(16, "big")[-size:]


@pytest.mark.parametrize(("message", "encoded", "text"), SYNC)
def test_sync_messages_both_ways(message: Message, encoded: bytes, text: str) -> None:
    assert encoded == bytes.fromhex(text)
    assert whole(encoded) == message


ALL_TEXTS = [case.values[-1] for case in CONNECTIONS + SYNC]


@pytest.mark.parametrize("text", ALL_TEXTS)
def test_no_message_is_there_before_its_last_byte(text: str) -> None:
    data = bytes.fromhex(str(text))
    assert [read_message(data[:end], 0) for end in range(len(data))] == [None] * len(data)
    assert len(data) <= LONGEST_MESSAGE


def test_messages_in_a_row_one_byte_at_a_time() -> None:
    data = b"".join(bytes.fromhex(str(text)) for text in ALL_TEXTS)
    together, end = read_all(data)
    assert end == len(data)
    waiting = b""
    runs = []
    for byte in data:
        waiting += bytes((byte,))
        found, end = read_all(waiting)
        waiting = waiting[end:]
        runs += found
    assert waiting == b""
    assert [m for m in runs if not isinstance(m, ConnectionRun)] == [
        m for m in together if not isinstance(m, ConnectionRun)
    ]
    assert b"".join(m.data for m in runs if isinstance(m, ConnectionRun)) == b"".join(
        m.data for m in together if isinstance(m, ConnectionRun)
    )


def test_neighbours_of_one_family_come_as_one_run() -> None:
    install, remove = bytes.fromhex(str(ALL_TEXTS[0])), bytes.fromhex(str(ALL_TEXTS[2]))
    v6 = bytes.fromhex(str(ALL_TEXTS[3]))
    data = install + remove + install + v6 + v6 + KEEPALIVE + install[:7]
    first = read_message(data, 0)
    assert first == (ConnectionRun(AddressFamily.IPV4, install + remove + install), 48)
    second = read_message(data, 48)
    assert second == (ConnectionRun(AddressFamily.IPV6, v6 + v6), 128)
    assert read_message(data, 128) == (Keepalive(), 132)
    assert read_message(data, 132) is None


@pytest.mark.parametrize("text", NO_MESSAGES)
def test_what_is_no_message(text: str) -> None:
    with pytest.raises(RemoteError) as caught:
        read_message(bytes.fromhex(text), 0)
    assert caught.value.code is ErrorCode.BAD_MESSAGE


@pytest.mark.parametrize("identity", ["", "x" * 256, "two words", "ümlaut", "tab\t", "bell\x07"])
def test_identities_that_cannot_be(identity: str) -> None:
    with pytest.raises(ClusterError):
        encode_join(identity)


addresses = st.one_of(st.integers(0, 2**32 - 1).map(lambda number: 0xFFFF << 32 | number), st.integers(0, 2**128 - 1))
endpoints = st.builds(Endpoint, addresses, st.integers(0, 65535))


@given(endpoints, endpoints, st.sampled_from(Protocol))
def test_keys_and_flows_are_the_same_thing(one: Endpoint, other: Endpoint, protocol: Protocol) -> None:
    flow = FlowKey.between(one, other, protocol)
    key = key_of(flow)
    assert flow_of(key) == flow
    assert len(key) in (13, 37)


def test_a_key_of_another_protocol() -> None:
    with pytest.raises(ClusterError):
        key_of(FlowKey.between(V4_CLIENT, V4_SERVER, 1))


headers = st.sampled_from([word.to_bytes(4, "big") for word in CONNECTION_KINDS] + [KEEPALIVE, encode_join("abc")[:4]])
noise = st.lists(st.one_of(st.binary(max_size=40), headers), max_size=12).map(b"".join)


@given(noise)
@example(b"\x03\x01\x01\x00")
def test_any_bytes_give_messages_or_the_one_error(data: bytes) -> None:
    error = None
    messages: list[Message] = []
    end = len(data)
    try:
        messages, end = read_all(data)
    except RemoteError as caught:
        error = caught
    assert error is None or (error.code is ErrorCode.BAD_MESSAGE and error.detail)
    assert len(data) - end < LONGEST_MESSAGE
    for message in messages:
        if isinstance(message, ConnectionRun):
            assert all(record[0] in CONNECTION_KINDS for record in message.records())


def test_codes_for_people() -> None:
    assert describe_code(1) == "bad message"
    assert describe_code(99) == "error code 99"


def test_the_document_names_every_constant() -> None:
    text = DOCUMENT.read_text()
    enums = (MessageType, ConnectionAction, SyncAction, Protocol, AddressFamily, ErrorCode)
    missing = [
        f"{member.name} {member.value}"
        for enum in enums
        for member in enum
        if not re.search(rf"^\| {member.value} \| `?{member.name}`? \|", text, re.MULTILINE)
    ]
    assert missing == []


def test_the_document_shows_the_state_table_of_the_code() -> None:
    assert state_diagram() in DOCUMENT.read_text()


def test_header_words() -> None:
    assert header_word(1, 2, 6, 4) == 0x01020604
    assert len(CONNECTION_KINDS) == 16
