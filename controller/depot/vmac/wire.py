"""What gateways say to each other: the datagrams and the frames on the LAN of docs/vmac-wire.md."""

from __future__ import annotations

import hmac
import math
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum

from depot.vmac.claims import Claim
from depot.vmac.hashing import MAX_BUCKETS, BucketHash, VirtualMacs
from depot.vmac.settings import MAX_NAME

__all__ = [
    "ETHERTYPE", "Acknowledge", "Asked", "Assign", "ClaimRun", "Envelope", "Handover", "Hosts", "Kind", "Learn",
    "Leaving", "Message", "Offer", "Pair", "Phase", "Refusal", "Release", "Report", "Standing", "Taken", "WireError",
    "Withdraw", "read", "runs_of", "seal",
]  # fmt: skip

ETHERTYPE = 0x88B5
"""IEEE 802, local experimental."""
VERSION = 1
_TAG = 32
_MAX_VERSION = 1 << 63
_HASHES = {BucketHash.MOD: 1, BucketHash.CRC: 2}
_NUMBERS = struct.Struct("!QQ")
_PAIR = struct.Struct("!HQ")
_RUN = struct.Struct("!HHQBB")
_REPORT = struct.Struct("!BB6sHBdddBBH")
_ACKNOWLEDGE = struct.Struct("!QHQ")
_HOST = 16 + 6
MAX_HOSTS = 60
"""Hosts in one message, so that it fits a packet."""

Pair = tuple[int, int]
"""A bucket and the version of its claim."""


class Refusal(Enum):
    """Why a message is not listened to."""

    FORGED = "forged"
    """The seal is not of our key."""
    MALFORMED = "malformed"
    """No message, or one that says what cannot be."""
    FOREIGN = "foreign"
    """The sender is no peer of ours."""
    MISDIRECTED = "misdirected"
    """It is for somebody else."""
    REPEATED = "repeated"
    """It has been here before, or is too old to tell."""
    PAST = "past life"
    """It is for us, of a life of its sender before one that has ended: its clock has gone back."""
    DUPLICATE = "duplicate identity"
    """Another gateway of that name is there already."""
    DISAGREEING = "other virtual MACs"
    """The sender has other virtual MACs than we."""
    STALE = "stale acknowledgement"
    """It acknowledges no offer that stands."""
    WRONG_SOURCE = "wrong source MAC"
    """The frame speaks of another virtual MAC than the one it came from."""


class WireError(Exception):
    """Bytes that are no message of ours."""

    def __init__(self, refusal: Refusal, detail: str) -> None:
        super().__init__(detail)
        self.refusal = refusal
        """FORGED or MALFORMED."""
        self.detail = detail
        """For the log."""


class Kind(IntEnum):
    """The second byte."""

    REPORT = 1
    OFFER = 2
    WITHDRAW = 3
    RELEASE = 4
    TAKEN = 5
    ASKED = 6
    ASSIGN = 7
    HANDOVER = 8
    LEAVING = 9
    ACKNOWLEDGE = 10
    LEARN = 11
    HOSTS = 12


class Phase(IntEnum):
    """What a gateway is about."""

    LISTENING = 1
    """It has just started and takes nothing yet."""
    ACTIVE = 2
    """It serves, or would."""
    LEAVING = 3
    """It hands over all that it has."""


class Standing(IntEnum):
    """What the sender of a claim knows of it."""

    KNOWN = 1
    """It has heard so."""
    ORDERED = 2
    """It has made it so, and cares that it will be: a release, an assignment, a bucket that it is about to own."""
    HELD = 3
    """Its own data plane owns the bucket."""


@dataclass(frozen=True, slots=True)
class ClaimRun:
    """One claim for buckets that follow each other."""

    first: int
    """The first bucket."""
    count: int
    """How many, >= 1."""
    claim: Claim
    """What is said of each."""
    standing: Standing
    """How much there is to it."""


@dataclass(frozen=True, slots=True)
class Report:
    """Sent to all, every report interval and to whoever wants one."""

    phase: Phase
    """What the sender is about."""
    wants_answer: bool
    """The receiver is to report at once."""
    virtual_macs: VirtualMacs
    """The sender's."""
    load: float
    """Measured, 1: all that it can do. >= 0."""
    rate: float
    """Packets a second of all its buckets, >= 0."""
    capacity: float
    """Packets a second that it can do, 0: unknown."""
    heard: tuple[tuple[str, int], ...]
    """The gateways that it hears, with their incarnations."""
    claims: tuple[ClaimRun, ...]
    """What it owns, what it has ordered; all that it knows, for one that listens."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Step 1 of a move: will you?"""

    token: int
    """Names this offer, 64 bits."""
    pairs: tuple[Pair, ...]
    """The buckets, with the versions that their claims are to have."""


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The offer stands no more."""

    token: int
    """Of the offer."""
    buckets: tuple[int, ...]
    """Which of them."""


@dataclass(frozen=True, slots=True)
class Release:
    """Step 3: they are yours."""

    pairs: tuple[Pair, ...]
    """As in the offer."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Step 4: they are mine."""

    pairs: tuple[Pair, ...]
    """As in the release."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The sender, old owner of a bucket, was handed an ask; its data plane has not answered it."""

    bucket: int
    """Of the asker."""
    asker: int
    """Its MAC."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """Hosts of the LAN that the sender serves, for a gateway that was not there when they spoke."""

    hosts: tuple[tuple[int, int], ...]
    """Address, 128 bits, and MAC of each; 1 to 60."""


@dataclass(frozen=True, slots=True)
class Assign:
    """The leader's: take these, they are nobody's."""

    pairs: tuple[Pair, ...]
    """The buckets, with the versions that their claims are to have."""


@dataclass(frozen=True, slots=True)
class Handover:
    """Move these of your buckets."""

    to: str
    """To this gateway."""
    pairs: tuple[Pair, ...]
    """The buckets, with the versions that their claims have now: a late order is none."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """The last word of a gateway."""


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Step 2, on the LAN: the sender accepts frames to this virtual MAC, the frame's source."""

    token: int
    """Of the offer."""
    bucket: int
    """Which."""
    version: int
    """As in the offer."""


@dataclass(frozen=True, slots=True)
class Learn:
    """On the LAN: switches learn where this virtual MAC, the frame's source, is (the seed's Algorithm 3)."""

    bucket: int
    """Which."""


Message = (
    Report | Offer | Withdraw | Release | Taken | Asked | Assign | Handover | Leaving | Acknowledge | Learn | Hosts
)  # fmt: skip
KINDS: dict[type, Kind] = {
    Report: Kind.REPORT, Offer: Kind.OFFER, Withdraw: Kind.WITHDRAW, Release: Kind.RELEASE, Taken: Kind.TAKEN,
    Asked: Kind.ASKED, Assign: Kind.ASSIGN, Handover: Kind.HANDOVER, Leaving: Kind.LEAVING,
    Acknowledge: Kind.ACKNOWLEDGE, Learn: Kind.LEARN, Hosts: Kind.HOSTS,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message and who says it."""

    sender: str
    """A gateway's name."""
    recipient: str
    """Another's; empty: all on the LAN."""
    incarnation: int
    """Which life of the sender, 64 bits."""
    sequence: int
    """How many messages that life has sent, this one included, 64 bits."""
    message: Message
    """What it says."""


def seal(envelope: Envelope, key: bytes) -> bytes:
    """Return the bytes of a message."""
    kind = KINDS[type(envelope.message)]
    names = _name(envelope.sender) + _name(envelope.recipient)
    numbers = _NUMBERS.pack(envelope.incarnation, envelope.sequence)
    data = bytes((VERSION, kind)) + names + numbers + _encode_body(envelope.message)
    return data + hmac.digest(key, data, "sha256")


def read(data: bytes, key: bytes) -> Envelope:
    """Return the message. Raises WireError if it is none, or not sealed with `key`."""
    content, tag = data[:-_TAG], data[-_TAG:]
    if len(content) < 4 + _NUMBERS.size:
        raise WireError(Refusal.MALFORMED, f"{len(data)} bytes are no message")
    if not hmac.compare_digest(hmac.digest(key, content, "sha256"), tag):
        raise WireError(Refusal.FORGED, "not sealed with our key; all gateways must have the same key file")
    cursor = _Cursor(content)
    version, kind = cursor.byte(), cursor.byte()
    if version != VERSION or kind not in _DECODERS:
        raise WireError(Refusal.MALFORMED, f"version {version} kind {kind} is unknown")
    sender, recipient = cursor.name(), cursor.name(may_be_empty=True)
    incarnation, sequence = cursor.unpack(_NUMBERS)
    message = _DECODERS[Kind(kind)](cursor)
    if cursor.left:
        raise WireError(Refusal.MALFORMED, f"{cursor.left} bytes too many")
    return Envelope(sender, recipient, incarnation, sequence, message)


def runs_of(claims: Iterable[tuple[int, Claim, Standing]]) -> tuple[ClaimRun, ...]:
    """Return runs of (bucket, claim, standing), whose buckets are in order and differ."""
    runs: list[ClaimRun] = []
    for bucket, claim, standing in claims:
        last = runs[-1] if runs else None
        if last and (last.first + last.count, last.claim, last.standing) == (bucket, claim, standing):
            runs[-1] = ClaimRun(last.first, last.count + 1, claim, standing)
        else:
            runs.append(ClaimRun(bucket, 1, claim, standing))
    return tuple(runs)


def _name(name: str) -> bytes:
    return bytes((len(name),)) + name.encode("ascii")


def _encode_body(message: Message) -> bytes:
    match message:
        case Report():
            return _encode_report(message)
        case Offer(token, pairs):
            return token.to_bytes(8, "big") + _encode_pairs(pairs)
        case Withdraw(token, buckets):
            return token.to_bytes(8, "big") + b"".join(bucket.to_bytes(2, "big") for bucket in buckets)
        case Release(pairs) | Taken(pairs) | Assign(pairs):
            return _encode_pairs(pairs)
        case Handover(to, pairs):
            return _name(to) + _encode_pairs(pairs)
        case Asked(bucket, asker):
            return bucket.to_bytes(2, "big") + asker.to_bytes(6, "big")
        case Acknowledge(token, bucket, version):
            return _ACKNOWLEDGE.pack(token, bucket, version)
        case Learn(bucket):
            return bucket.to_bytes(2, "big")
        case Hosts(hosts):
            return b"".join(address.to_bytes(16, "big") + mac.to_bytes(6, "big") for address, mac in hosts)
        case Leaving():
            return b""


def _encode_pairs(pairs: Iterable[Pair]) -> bytes:
    return b"".join(_PAIR.pack(bucket, version) for bucket, version in pairs)


def _encode_report(report: Report) -> bytes:
    owners = sorted({run.claim.owner for run in report.claims})
    index = {owner: number for number, owner in enumerate(owners)}
    macs = report.virtual_macs
    head = _REPORT.pack(
        report.phase, report.wants_answer, macs.base.to_bytes(6, "big"), macs.count, _HASHES[macs.hash], report.load,
        report.rate, report.capacity, len(report.heard), len(owners), len(report.claims),
    )  # fmt: skip
    heard = b"".join(_name(name) + incarnation.to_bytes(8, "big") for name, incarnation in report.heard)
    runs = b"".join(
        _RUN.pack(run.first, run.count, run.claim.version, index[run.claim.owner], run.standing)
        for run in report.claims
    )
    return head + heard + b"".join(map(_name, owners)) + runs


class _Cursor:
    """Reads the content of a message. Raises WireError where it says what cannot be."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._offset

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise WireError(Refusal.MALFORMED, f"{size - self.left} bytes are missing")
        self._offset += size
        return self._data[self._offset - size : self._offset]

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        return layout.unpack(self.take(layout.size))

    def byte(self) -> int:
        return self.take(1)[0]

    def name(self, may_be_empty: bool = False) -> str:
        name = self.take(self.byte())
        if not (name or may_be_empty) or len(name) > MAX_NAME or not all(0x21 <= letter <= 0x7E for letter in name):
            raise WireError(Refusal.MALFORMED, f"{name!r} is no name")
        return name.decode("ascii")

    def token(self) -> int:
        return int.from_bytes(self.take(8), "big")

    def bucket(self) -> int:
        bucket = int.from_bytes(self.take(2), "big")
        if bucket >= MAX_BUCKETS:
            raise WireError(Refusal.MALFORMED, f"there is no bucket {bucket}")
        return bucket

    def version(self) -> int:
        version = int.from_bytes(self.take(8), "big")
        if not 1 <= version < _MAX_VERSION:
            raise WireError(Refusal.MALFORMED, f"{version} is no version of a claim")
        return version

    def pairs(self) -> tuple[Pair, ...]:
        pairs = tuple((self.bucket(), self.version()) for _ in range(-(-self.left // _PAIR.size)))
        if not pairs or len({bucket for bucket, _ in pairs}) != len(pairs):
            raise WireError(Refusal.MALFORMED, "no bucket, or one twice")
        return pairs


def _read_report(cursor: _Cursor) -> Report:
    phase, wants, base, count, hashing, *numbers, heard, owners, runs = _REPORT.unpack(cursor.take(_REPORT.size))
    if phase not in list(Phase) or wants > 1 or not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise WireError(Refusal.MALFORMED, "a report of what cannot be")
    load, rate, capacity = numbers
    heard_names = tuple((cursor.name(), cursor.token()) for _ in range(heard))
    names = tuple(cursor.name() for _ in range(owners))
    virtual_macs = _read_virtual_macs(base, count, hashing)
    claims = tuple(_read_run(cursor, names, virtual_macs.count) for _ in range(runs))
    return Report(Phase(phase), bool(wants), virtual_macs, load, rate, capacity, heard_names, claims)


def _read_virtual_macs(base: bytes, count: int, hashing: int) -> VirtualMacs:
    hashes = {number: each for each, number in _HASHES.items()}
    try:
        return VirtualMacs(int.from_bytes(base, "big"), count, hashes[hashing])
    except (ValueError, KeyError) as error:
        raise WireError(Refusal.MALFORMED, str(error)) from error


def _read_run(cursor: _Cursor, names: tuple[str, ...], buckets: int) -> ClaimRun:
    first, count = cursor.bucket(), cursor.unpack(struct.Struct("!H"))[0]
    version, owner, standing = cursor.version(), cursor.byte(), cursor.byte()
    if not 1 <= count <= buckets - first or owner >= len(names) or standing not in list(Standing):
        raise WireError(Refusal.MALFORMED, f"claim {standing} for {count} buckets from {first} of gateway {owner}")
    return ClaimRun(first, count, Claim(version, names[owner]), Standing(standing))


def _read_withdraw(cursor: _Cursor) -> Withdraw:
    token = cursor.token()
    return Withdraw(token, tuple(cursor.bucket() for _ in range(-(-cursor.left // 2))))


def _read_asked(cursor: _Cursor) -> Asked:
    return Asked(cursor.bucket(), int.from_bytes(cursor.take(6), "big"))


def _read_hosts(cursor: _Cursor) -> Hosts:
    count = -(-cursor.left // _HOST)
    if not 1 <= count <= MAX_HOSTS:
        raise WireError(Refusal.MALFORMED, f"{count} hosts")
    return Hosts(
        tuple((int.from_bytes(cursor.take(16), "big"), int.from_bytes(cursor.take(6), "big")) for _ in range(count))
    )


_DECODERS: dict[Kind, Callable[[_Cursor], Message]] = {
    Kind.REPORT: _read_report,
    Kind.OFFER: lambda cursor: Offer(cursor.token(), cursor.pairs()),
    Kind.WITHDRAW: _read_withdraw,
    Kind.RELEASE: lambda cursor: Release(cursor.pairs()),
    Kind.TAKEN: lambda cursor: Taken(cursor.pairs()),
    Kind.ASKED: _read_asked,
    Kind.ASSIGN: lambda cursor: Assign(cursor.pairs()),
    Kind.HANDOVER: lambda cursor: Handover(cursor.name(), cursor.pairs()),
    Kind.LEAVING: lambda cursor: Leaving(),
    Kind.ACKNOWLEDGE: lambda cursor: Acknowledge(cursor.token(), cursor.bucket(), cursor.version()),
    Kind.LEARN: lambda cursor: Learn(cursor.bucket()),
    Kind.HOSTS: _read_hosts,
}
