"""One control channel: two cores joined in memory under a virtual clock, and one core that hears anything at all."""

from __future__ import annotations

import os
import random
import time

import pytest
from controller.tests.cluster_values import install_message, peer_settings, remove_message
from hypothesis import given
from hypothesis import strategies as st

from depot.cluster.channel import Channel, ChannelClosed, ChannelEvent, ConnectionsReceived, JoinReceived, SyncEnded
from depot.cluster.errors import ClusterError, ErrorCode
from depot.cluster.settings import PeerSettings
from depot.cluster.states import TRANSITIONS, ChannelInput, ChannelState, CloseReason
from depot.cluster.wire import KEEPALIVE, ConnectionRun, encode_join, encode_leave, encode_reject

JOIN_A, JOIN_B = encode_join("a"), encode_join("b")
INSTALL = install_message(1).data
REMOVE = remove_message(1).data
SETTINGS = peer_settings("b")


def drain(channel: Channel, now: float) -> list[ChannelEvent]:
    events = []
    while (event := channel.next_event(now)) is not None:
        events.append(event)
    return events


def closed(channel: Channel, now: float) -> ChannelClosed:
    event = drain(channel, now)[-1]
    assert isinstance(event, ChannelClosed)
    assert channel.state is ChannelState.CLOSED
    assert channel.next_deadline() is None
    return event


def opener(now: float = 0.0) -> Channel:
    """a, which has called b and sent its PEER_JOIN."""
    channel = Channel("a", SETTINGS, True, now)
    channel.connected(now)
    assert channel.data_to_send() == JOIN_A
    return channel


def joined(now: float = 0.0, table: bytes = b"", settings: PeerSettings = SETTINGS) -> Channel:
    """The same in state SYNCHRONIZE, with nothing more to send."""
    channel = opener(now)
    channel.receive(JOIN_B, now)
    assert drain(channel, now) == [JoinReceived("b")]
    channel.welcome(settings, table, now)
    assert channel.data_to_send() == table + KEEPALIVE
    return channel


def established(now: float = 0.0, settings: PeerSettings = SETTINGS) -> Channel:
    channel = joined(now, settings=settings)
    channel.receive(KEEPALIVE, now)
    assert drain(channel, now) == [SyncEnded()]
    return channel


IN_STATE = {
    ChannelState.INIT: lambda: Channel("a", SETTINGS, True, 0.0),
    ChannelState.CONNECT: opener,
    ChannelState.SYNCHRONIZE: joined,
    ChannelState.ESTABLISHED: established,
}


def test_two_members_exchange_their_tables_and_then_changes() -> None:
    one, other = Channel("a", peer_settings("b"), True, 0.0), Channel("b", peer_settings(""), False, 0.0)
    tables = {one: INSTALL, other: install_message(2).data + install_message(3).data}
    one.connected(0.0)
    other.connected(0.0)
    heard: dict[Channel, list[ChannelEvent]] = {one: [], other: []}
    for _ in range(4):
        for sender, receiver in ((one, other), (other, one)):
            for byte in sender.data_to_send():
                receiver.receive(bytes((byte,)), 0.0)
                for event in drain(receiver, 0.0):
                    heard[receiver].append(event)
                    if isinstance(event, JoinReceived):
                        receiver.welcome(peer_settings(event.identity), tables[receiver], 0.0)
    assert heard[one] == [
        JoinReceived("b"), ConnectionsReceived(install_message(2)), ConnectionsReceived(install_message(3)), SyncEnded()
    ]  # fmt: skip
    assert heard[other] == [JoinReceived("a"), ConnectionsReceived(install_message(1)), SyncEnded()]
    assert one.state is other.state is ChannelState.ESTABLISHED
    one.send(REMOVE, 0.5)
    other.receive(one.data_to_send(), 0.5)
    assert drain(other, 0.5) == [ConnectionsReceived(remove_message(1))]


def test_an_acceptor_says_nothing_to_one_who_says_nothing() -> None:
    channel = Channel("b", peer_settings("", join_timeout=2.0), False, 10.0)
    channel.connected(10.0)
    assert channel.data_to_send() == b""
    assert channel.next_deadline() == 12.0
    channel.handle_timer(11.9)
    assert drain(channel, 11.9) == []
    channel.handle_timer(12.0)
    assert closed(channel, 12.0).reason is CloseReason.JOIN_TIMEOUT
    assert channel.data_to_send() == b""


def test_tcp_that_does_not_connect() -> None:
    channel = Channel("a", peer_settings("b", connect_timeout=2.0), True, 10.0)
    channel.handle_timer(12.0)
    assert closed(channel, 12.0).reason is CloseReason.CONNECT_TIMEOUT


@pytest.mark.parametrize(
    "first", [INSTALL, KEEPALIVE, b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02", encode_leave(ErrorCode(0))]
)
def test_first_bytes_that_are_no_join(first: bytes) -> None:
    for channel in (opener(), Channel("b", SETTINGS, False, 0.0)):
        if not channel.is_opener:
            channel.connected(0.0)
        channel.receive(first, 0.0)
        assert closed(channel, 0.0).reason is CloseReason.NO_JOIN
        assert channel.data_to_send() == b""


def test_another_version_is_told_so() -> None:
    channel = Channel("b", SETTINGS, False, 0.0)
    channel.connected(0.0)
    channel.receive(b"\x03\x01\x07\xffwhatever this may be", 0.0)
    event = closed(channel, 0.0)
    assert (event.reason, event.code) == (CloseReason.REFUSED, ErrorCode.WRONG_VERSION)
    assert "version 7" in event.detail
    assert channel.data_to_send() == encode_reject(ErrorCode.WRONG_VERSION)


def test_a_refusal_reaches_the_one_who_called() -> None:
    channel = Channel("b", SETTINGS, False, 0.0)
    channel.connected(0.0)
    channel.receive(JOIN_A + INSTALL, 0.0)
    assert channel.next_event(0.0) == JoinReceived("a")
    assert channel.next_event(0.0) is None, "nothing is read before the answer"
    channel.reject(ErrorCode.NOT_A_MEMBER, "who?")
    assert closed(channel, 0.0) == ChannelClosed(CloseReason.REFUSED, ErrorCode.NOT_A_MEMBER, "who?")
    caller = opener()
    caller.receive(channel.data_to_send(), 0.0)
    assert closed(caller, 0.0) == ChannelClosed(CloseReason.PEER_REFUSED, ErrorCode.NOT_A_MEMBER, "")


@pytest.mark.parametrize("make", [joined, established])
@pytest.mark.parametrize("bad", [b"\x00\x00\x00\x00", JOIN_B, b"\x03\x02\x00\x01", b"\x01\x01\x01\x04"])
def test_a_bad_message_is_told_and_ends_the_channel(make: type[Channel], bad: bytes) -> None:
    channel: Channel = make()  # type: ignore[call-arg]
    channel.receive(INSTALL + bad + INSTALL, 0.0)
    events = drain(channel, 0.0)
    assert events[0] == ConnectionsReceived(install_message(1))
    assert isinstance(events[1], ChannelClosed)
    assert (events[1].reason, events[1].code) == (CloseReason.BAD_MESSAGE, ErrorCode.BAD_MESSAGE)
    assert len(events) == 2
    assert channel.data_to_send() == encode_leave(ErrorCode.BAD_MESSAGE)
    channel.receive(INSTALL, 1.0)
    assert drain(channel, 1.0) == []


def test_a_peer_that_leaves() -> None:
    channel = established()
    channel.receive(INSTALL + encode_leave(ErrorCode.LEAVING), 0.0)
    assert drain(channel, 0.0) == [
        ConnectionsReceived(install_message(1)),
        ChannelClosed(CloseReason.PEER_LEFT, ErrorCode.LEAVING, ""),
    ]
    assert channel.data_to_send() == b""


def test_leaving_is_told() -> None:
    channel = established()
    channel.close(CloseReason.LEFT, ErrorCode.LEAVING)
    assert channel.data_to_send() == encode_leave(ErrorCode.LEAVING)
    channel.close(CloseReason.LEFT, ErrorCode.LEAVING)
    assert len(drain(channel, 0.0)) == 1
    early = opener()
    early.close(CloseReason.DUPLICATE, ErrorCode.DUPLICATE_CHANNEL)
    assert early.data_to_send() == encode_reject(ErrorCode.DUPLICATE_CHANNEL)


def test_keepalives_go_out_when_nothing_else_does() -> None:
    channel = established()
    now = 0.0
    sent = []
    for _ in range(8):
        deadline = channel.next_deadline()
        assert deadline is not None
        now = deadline
        channel.receive(KEEPALIVE, now)
        channel.handle_timer(now)
        sent.append((now, channel.data_to_send()))
        if len(sent) == 2:
            channel.send(INSTALL, now + 0.5)
            channel.data_to_send()
    assert sent[:2] == [(1.0, KEEPALIVE), (2.0, KEEPALIVE)]
    assert sent[2] == (3.5, KEEPALIVE), "any message sent restarts the interval"


def test_what_is_received_does_not_put_off_the_keepalive() -> None:
    channel = established()
    for tenth in range(1, 10):
        channel.receive(INSTALL, tenth / 10)
        drain(channel, tenth / 10)
    assert channel.next_deadline() == 1.0


def test_a_peer_that_is_silent_for_its_intervals_is_gone() -> None:
    settings = peer_settings("b", keepalive_interval=2.0, silence_intervals=5)
    channel = established(settings=settings)
    now = 3.0
    channel.receive(KEEPALIVE[:1], now)
    drain(channel, now)
    while channel.state is not ChannelState.CLOSED:
        deadline = channel.next_deadline()
        assert deadline is not None
        now = deadline
        channel.handle_timer(now)
    assert now == 13.0, "a single byte is a sign of life"
    event = closed(channel, now)
    assert (event.reason, event.code) == (CloseReason.SILENT, ErrorCode.SILENT)
    assert channel.data_to_send().endswith(encode_leave(ErrorCode.SILENT))


def test_a_leap_of_the_clock_proves_nothing() -> None:
    channel = established()
    channel.handle_timer(3600.0)
    assert channel.state is ChannelState.ESTABLISHED
    assert channel.data_to_send() == KEEPALIVE
    channel.handle_timer(3602.9)
    assert channel.state is ChannelState.ESTABLISHED
    channel.handle_timer(3603.0)
    assert channel.state is ChannelState.CLOSED


def test_a_table_that_does_not_end() -> None:
    channel = joined(settings=peer_settings("b", sync_timeout=10.0))
    now = 0.0
    while channel.state is not ChannelState.CLOSED:
        now += 0.5
        channel.receive(INSTALL, now)
        drained = drain(channel, now)
        assert drained == [ConnectionsReceived(install_message(1))]
        channel.handle_timer(now)
    assert now == 10.0
    assert closed(channel, now).code == ErrorCode.SYNC_TIMEOUT


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 70)), max_size=30))
def test_what_waits_is_taken_in_any_portions(steps: list[tuple[int, int]]) -> None:
    channel = established()
    sent, taken = b"", b""
    for number, (messages, limit) in enumerate(steps):
        news = b"".join(install_message(number).data for _ in range(messages))
        channel.send(news, 0.0)
        sent += news
        portion = channel.data_to_send(limit)
        assert len(portion) == min(limit, len(sent) - len(taken))
        taken += portion
        assert channel.waiting() == len(sent) - len(taken)
    assert taken + channel.data_to_send() == sent


def test_a_slow_reader_is_given_up() -> None:
    settings = peer_settings("b", max_outgoing=1000)
    channel = opener()
    channel.receive(JOIN_B, 0.0)
    drain(channel, 0.0)
    channel.welcome(settings, INSTALL * 500, 0.0)
    channel.send(INSTALL * 60, 0.0)
    assert channel.state is ChannelState.SYNCHRONIZE, "the first table is beside the limit"
    assert channel.data_to_send(100) == (INSTALL * 7)[:100]
    channel.send(INSTALL * 10, 0.0)
    event = closed(channel, 0.0)
    assert event.reason is CloseReason.SLOW_READER
    assert "bytes" in event.detail
    assert channel.data_to_send() == b"", "half a message may be under way: nothing can follow"


def test_the_limit_is_the_plain_one_when_the_table_has_been_sent() -> None:
    channel = established(settings=peer_settings("b", max_outgoing=1000))
    channel.send(INSTALL * 62, 0.0)
    assert channel.state is ChannelState.ESTABLISHED
    channel.send(INSTALL, 0.0)
    assert closed(channel, 0.0).reason is CloseReason.SLOW_READER


def test_keepalives_do_not_pile_up() -> None:
    channel = established()
    channel.send(INSTALL, 0.0)
    for second in range(1, 60):
        channel.receive(KEEPALIVE, float(second))
        drain(channel, float(second))
        channel.handle_timer(float(second))
    assert channel.waiting() == len(INSTALL)


def test_a_probe_is_sent_once() -> None:
    channel = established()
    channel.probe(0.1)
    channel.probe(0.1)
    assert channel.data_to_send() == KEEPALIVE
    early = opener()
    early.probe(0.1)
    assert early.data_to_send() == b""


def test_misuse_is_our_own_error() -> None:
    with pytest.raises(ClusterError):
        established().welcome(SETTINGS, b"", 0.0)
    with pytest.raises(ClusterError):
        opener().reject(ErrorCode.NOT_A_MEMBER)
    with pytest.raises(ClusterError):
        opener().connected(0.0)
    for wrong in (
        {"keepalive_interval": 0.0}, {"silence_intervals": 0}, {"connect_attempts": 0}, {"longest_backoff": 0.1},
        {"max_outgoing": 0}, {"sync_timeout": -1.0},
    ):  # fmt: skip
        with pytest.raises(ClusterError):
            peer_settings("b", **wrong)


def test_every_state_can_end() -> None:
    for state, moves in TRANSITIONS.items():
        if state is not ChannelState.CLOSED:
            assert moves[ChannelInput.CLOSE] is moves[ChannelInput.LOST] is ChannelState.CLOSED


MESSAGES = [
    JOIN_B, encode_join("c"), KEEPALIVE, INSTALL, REMOVE, install_message(3).data, encode_leave(ErrorCode.LEAVING),
    encode_reject(ErrorCode.NOT_A_MEMBER), b"\x03\x01\x09\x00", b"\x01\x01\x06", b"\x00",
]  # fmt: skip
pieces = st.lists(st.one_of(st.sampled_from(MESSAGES), st.binary(max_size=8)), max_size=10)


def hear(channel: Channel, data: bytes, cuts: list[int]) -> list[ChannelEvent]:
    """What a channel tells of bytes that come in pieces; it lets in whoever says its name."""
    events: list[ChannelEvent] = []
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        channel.receive(data[begin:end], 0.5)
        for event in iter(lambda: channel.next_event(0.5), None):
            if isinstance(event, JoinReceived):
                channel.welcome(SETTINGS, INSTALL, 0.5)
            before = events[-1] if events else None
            if (
                isinstance(event, ConnectionsReceived)
                and isinstance(before, ConnectionsReceived)
                and event.run.family is before.run.family  # runs end where the pieces do
            ):
                event = ConnectionsReceived(ConnectionRun(event.run.family, before.run.data + event.run.data))
                events.pop()
            events.append(event)
    return events


def check_hearing(state: ChannelState, data: bytes, cuts: list[int]) -> None:
    """Bytes give the same events however they are cut, and the end comes at most once, as the last of them."""
    whole, cut = IN_STATE[state](), IN_STATE[state]()
    events = hear(whole, data, [])
    assert hear(cut, data, cuts) == events
    assert whole.state is cut.state
    assert whole.data_to_send() == cut.data_to_send()
    ends = [number for number, event in enumerate(events) if isinstance(event, ChannelClosed)]
    assert ends in ([], [len(events) - 1])
    assert bool(ends) is (whole.state is ChannelState.CLOSED)
    if not ends:
        assert len(cut._input) - cut._offset < 259
        assert whole.next_deadline() is not None
    for later in (1.0, 5.0, 100.0):
        whole.handle_timer(later)
        drain(whole, later)


HEARING = [state for state in IN_STATE if state is not ChannelState.INIT]
"""In INIT there is no connection yet that bytes could come on."""


@pytest.mark.parametrize("state", HEARING)
@given(parts=pieces, data=st.data())
def test_any_bytes_split_anywhere_in_every_state(state: ChannelState, parts: list[bytes], data: st.DataObject) -> None:
    text = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    check_hearing(state, text, cuts)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_any_bytes_in_every_state_for_long() -> None:
    """The same as long as SOAK_SECONDS says, other examples in each round; one round without."""
    end, rounds = time.monotonic() + float(os.environ.get("SOAK_SECONDS", "0")), 0
    while not rounds or time.monotonic() < end:
        for state in HEARING:
            test_any_bytes_split_anywhere_in_every_state(state)
        rounds += 1
    print(f"{rounds} rounds of every state")


@pytest.mark.soak
def test_fuzzed_bytes_in_every_state() -> None:
    """As long as SOAK_SECONDS says, another seed each time; two seconds without."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    end = time.monotonic() + float(os.environ.get("SOAK_SECONDS", "2"))
    while time.monotonic() < end:
        parts = [
            chance.choice(MESSAGES) if chance.random() < 0.7 else chance.randbytes(chance.randrange(12))
            for _ in range(chance.randrange(12))
        ]
        text = bytearray(b"".join(parts))
        for _ in range(chance.choice((0, 0, 1, 3)) if text else 0):
            text[chance.randrange(len(text))] = chance.randrange(256)
        cuts = sorted(chance.randrange(len(text) + 1) for _ in range(chance.randrange(6)))
        check_hearing(chance.choice(HEARING), bytes(text), cuts)
