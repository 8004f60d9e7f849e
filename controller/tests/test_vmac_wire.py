"""What gateways say to each other, both ways, and what is refused."""

from __future__ import annotations

import hmac
import random
import re
from pathlib import Path

import pytest
from controller.tests.vmac_network import KEY, VmacNetwork
from hypothesis import given
from hypothesis import strategies as st

from depot.vmac import Algorithm, Gateway, GatewaySettings, MessageRefused, Refusal, VirtualMacs
from depot.vmac.claims import Claim
from depot.vmac.wire import (
    Acknowledge,
    Asked,
    Assign,
    ClaimRun,
    Envelope,
    Handover,
    Hosts,
    Kind,
    Learn,
    Leaving,
    Message,
    Offer,
    Phase,
    Release,
    Report,
    Standing,
    Taken,
    WireError,
    Withdraw,
    read,
    runs_of,
    seal,
)

MACS = VirtualMacs(0x028888888800, 16)
CLAIMS = (ClaimRun(0, 3, Claim(7, "a"), Standing.HELD), ClaimRun(3, 13, Claim(1, "b"), Standing.ORDERED))
REPORT = Report(Phase.ACTIVE, True, MACS, 0.5, 1e6, 0.0, (("b", 9), ("c", 1 << 63)), CLAIMS)
MESSAGES: list[Message] = [
    REPORT, Offer(1 << 63, ((0, 1), (15, 9))), Withdraw(5, (1, 2)), Release(((3, 4),)), Taken(((3, 4),)),
    Asked(7, 0x000003001800), Assign(((1, 1),)), Handover("c", ((2, 3),)), Leaving(), Acknowledge(5, 7, 3), Learn(7),
    Hosts(((0xFFFF0A010011, 0x525400000011), (1, 2))),
]  # fmt: skip
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "vmac-wire.md"


def sealed(
    message: Message, sender: str = "b", recipient: str = "a", sequence: int = 1, key: bytes = KEY, incarnation: int = 1
) -> bytes:
    if isinstance(message, Acknowledge | Learn):
        recipient = ""
    return seal(Envelope(sender, recipient, incarnation, sequence, message), key)


def gateway() -> Gateway:
    draws = random.Random(1)
    return Gateway(GatewaySettings("a", ("b", "c"), KEY, MACS, Algorithm.NONE), draws, 1, 0.0)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_what_is_sealed_is_read(message: Message) -> None:
    data = sealed(message)
    assert read(data, KEY) == Envelope("b", "" if isinstance(message, Acknowledge | Learn) else "a", 1, 1, message)
    for size in range(len(data)):
        with pytest.raises(WireError):
            read(data[:size], KEY)
    with pytest.raises(WireError) as caught:
        read(sealed(message, key=bytes(16)), KEY)
    assert caught.value.refusal is Refusal.FORGED


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_cut_short_or_too_long_is_malformed_even_if_sealed(message: Message) -> None:
    content = sealed(message)[:-32]
    for changed in (content + b"\0", content[:-1]):
        with pytest.raises(WireError) as caught:
            read(resealed(changed), KEY)
        assert caught.value.refusal is Refusal.MALFORMED


def resealed(content: bytes) -> bytes:
    return content + hmac.digest(KEY, content, "sha256")


def test_the_largest_report_fits_into_a_datagram() -> None:
    names = [f"{number:048}" for number in range(65)]
    claims = runs_of((b, Claim(1 + b, names[b % 65]), Standing.KNOWN) for b in range(4096))
    macs = VirtualMacs(0x020000000000, 4096)
    report = Report(Phase.ACTIVE, False, macs, 1.0, 1.0, 1.0, tuple((name, 1) for name in names[1:]), claims)
    data = sealed(report, names[0], names[1])
    assert len(data) <= 65507
    assert read(data, KEY).message == report


def test_runs_join_what_is_alike() -> None:
    claim = Claim(1, "a")
    runs = runs_of((b, claim, Standing.HELD) for b in (0, 1, 2, 5))
    assert [(run.first, run.count) for run in runs] == [(0, 3), (5, 1)]


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"", Refusal.MALFORMED),
        (bytes(20), Refusal.MALFORMED),
        (bytes(100), Refusal.FORGED),
        (sealed(REPORT, key=b"another key of another site"), Refusal.FORGED),
        (sealed(REPORT, sender="stranger"), Refusal.FOREIGN),
        (sealed(REPORT, recipient="c"), Refusal.MISDIRECTED),
        (sealed(Learn(1)), Refusal.MISDIRECTED),
        (sealed(Assign(((16, 1),))), Refusal.MALFORMED),
        (sealed(Report(Phase.ACTIVE, False, VirtualMacs(0x020000000000, 8), 0, 0, 0, (), ())), Refusal.DISAGREEING),
        (seal(Envelope("a", "a", 2, 1, Leaving()), KEY), Refusal.DUPLICATE),
    ],
)
def test_datagrams_that_are_refused_are_counted_and_told(data: bytes, refusal: Refusal) -> None:
    core = gateway()
    before = core.status().owners
    for _ in range(3):
        core.receive(data, 0.1)
    # A repeated message is not the one of a stranger; it is refused for what it is the first time.
    repeated = 2 if refusal is Refusal.DISAGREEING else 0
    assert core.status().counters[refusal.value] == 3 - repeated
    told = [event for event in core.take_output().events if isinstance(event, MessageRefused)]
    assert [event.refusal for event in told][:1] == [refusal]
    assert len(told) == 1 + bool(repeated)
    assert core.status().owners == before


@pytest.mark.parametrize(
    ("source", "payload", "refusal"),
    [
        (MACS.mac(7), sealed(Acknowledge(5, 7, 3), key=b"another key of another site"), Refusal.FORGED),
        (MACS.mac(6), sealed(Acknowledge(5, 7, 3)), Refusal.WRONG_SOURCE),
        (0x000003001800, sealed(Learn(7)), Refusal.WRONG_SOURCE),
        (MACS.mac(7), sealed(Leaving()), Refusal.MALFORMED),
        (MACS.mac(7), sealed(Learn(7), sender="stranger"), Refusal.FOREIGN),
        (MACS.mac(7), sealed(Learn(7), sender="c"), Refusal.REPEATED),
        (MACS.mac(7), b"padding" * 8, Refusal.FORGED),
    ],
)
def test_frames_that_are_refused_are_counted_and_told(source: int, payload: bytes, refusal: Refusal) -> None:
    core = gateway()
    core.receive_frame(source, payload, 0.1)
    assert core.status().counters[refusal.value] == 1
    assert [e.refusal for e in core.take_output().events if isinstance(e, MessageRefused)] == [refusal]
    assert not core.status().gateways[2].phase


def test_who_has_another_key_is_named_by_its_address() -> None:
    core = gateway()
    core.receive(sealed(REPORT, key=b"another key of another site"), 0.1, "b")
    (event,) = [event for event in core.take_output().events if isinstance(event, MessageRefused)]
    assert event.sender == "b"
    assert "all gateways must have the same key file" in event.detail


def test_a_life_before_the_last_is_refused_and_told() -> None:
    core = gateway()
    core.receive(sealed(REPORT, incarnation=5), 0.1)
    for tenths in range(2, 60):
        core.handle_timer(tenths / 10)
    core.take_output()
    core.receive(sealed(REPORT, incarnation=4), 6.0)
    (event,) = [event for event in core.take_output().events if isinstance(event, MessageRefused)]
    assert (event.refusal, event.sender) == (Refusal.PAST, "b")
    assert "its clock was ahead before" in event.detail


def test_none_begins_beside_an_active_gateway_that_has_other_virtual_macs() -> None:
    core = gateway()
    others = Report(Phase.ACTIVE, False, VirtualMacs(0x020000000000, 8), 0, 0, 0, (), ())
    for number in range(1, 101):
        core.receive(sealed(others, sequence=number), number / 10)
        core.handle_timer(number / 10)
    assert core.status().phase is Phase.LISTENING
    (said, *_) = [event.detail for event in core.take_output().events if isinstance(event, MessageRefused)]
    assert said == f"8 from 02:00:00:00:00:00 (crc) there, {MACS} here"
    for tenths in range(101, 160):
        core.handle_timer(tenths / 10)
    assert core.status().phase is Phase.ACTIVE


def test_a_message_counts_once() -> None:
    core = gateway()
    core.receive(sealed(REPORT), 0.1)
    core.receive(sealed(REPORT), 0.2)
    assert core.status().counters["repeated"] == 1


def test_an_acknowledgement_of_an_old_offer_gives_nothing_away_and_is_answered() -> None:
    network = VmacNetwork(1, 8)
    network.start("a", "b")
    network.run(2)
    owners = network.owners()
    bucket = owners.index(["a"])
    frame = seal(Envelope("b", "", 2, 5000, Acknowledge(1234, bucket, 2)), KEY)
    source = network.virtual_macs.mac(bucket)
    network.order("a", lambda core: core.receive_frame(source, frame, network.now))
    network.run(2)
    assert network.gateway("a").status().counters["stale acknowledgement"] == 1
    assert network.owners() == owners
    assert network.problems() == []


@given(st.binary(max_size=300), st.integers(0, (1 << 48) - 1))
def test_any_bytes_are_refused(data: bytes, source: int) -> None:
    core = gateway()
    core.receive(data, 0.1)
    core.receive_frame(source, data, 0.1)
    counters = core.status().counters
    assert counters["forged"] + counters["malformed"] == 2


@given(st.sampled_from(MESSAGES), st.data())
def test_sealed_nonsense_never_breaks_a_core(message: Message, data: st.DataObject) -> None:
    """Even who has the key cannot make a core raise anything."""
    content = bytearray(sealed(message)[:-32])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    core = gateway()
    core.receive(sealed(REPORT, sequence=2), 0.05)
    core.receive(resealed(bytes(content)), 0.1)
    core.receive_frame(MACS.mac(7), resealed(bytes(content)), 0.1)
    for now in (0.1, 0.6, 1.7, 3.5):
        core.handle_timer(now)
        output = core.take_output()
        if output.holdings:
            core.written(output.holdings.generation, now)


def test_the_document_names_every_kind_with_its_number() -> None:
    rows = re.findall(r"^\| (\d+) \| `([A-Z]+)` \|", DOCUMENT.read_text(), re.M)
    assert {(int(number), name) for number, name in rows if int(number) and name in Kind.__members__} == {
        (kind.value, kind.name) for kind in Kind
    }
