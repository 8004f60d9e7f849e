"""What the session tracker says: commands to ``connection_table`` and notifications of what became of sessions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from depot.address import FlowKey

__all__ = [
    "CloseReason",
    "EntryCommand",
    "InstallEntry",
    "RemoveEntry",
    "SessionClosed",
    "SessionEstablished",
    "SessionMoved",
    "SessionNotice",
    "SessionOpened",
    "SynUnanswered",
    "UnansweredCause",
    "UpdateEntry",
    "Verdict",
]


class Verdict(Enum):
    """What an entry does with packets; the values are the names of the actions of ``connection_table``."""

    FORWARD = "forward_to_member"
    """Forward to `member_id`."""
    RESET = "reset_connection"
    """Have the controller answer with a TCP reset."""
    DENY = "deny_connection"
    """Drop."""
    BYPASS = "bypass_connection"
    """Send where its route leads, untouched."""


@dataclass(frozen=True, slots=True)
class InstallEntry:
    """This entry should be in ``connection_table``. If one with this key is there already, it should become this."""

    key: FlowKey
    """The match."""
    verdict: Verdict
    """The action. Only FORWARD has parameters; with the others they are 0 and False."""
    member_id: int
    """FORWARD: the member."""
    client_is_hi: bool
    """FORWARD: whether the client is the key's higher endpoint."""
    closing: bool
    """FORWARD: whether a client's SYN begins a new session."""
    idle_timeout: float
    """Seconds without a packet after which the switch is to tell."""


@dataclass(frozen=True, slots=True)
class UpdateEntry:
    """The entry with this key should become this. If it is not there, it should be."""

    key: FlowKey
    """The match."""
    verdict: Verdict
    """The action. Only FORWARD has parameters; with the others they are 0 and False."""
    member_id: int
    """FORWARD: the member."""
    client_is_hi: bool
    """FORWARD: whether the client is the key's higher endpoint."""
    closing: bool
    """FORWARD: whether a client's SYN begins a new session."""
    idle_timeout: float
    """Seconds without a packet after which the switch is to tell."""


@dataclass(frozen=True, slots=True)
class RemoveEntry:
    """No entry with this key should be in ``connection_table``."""

    key: FlowKey
    """The match."""


EntryCommand = InstallEntry | UpdateEntry | RemoveEntry


class CloseReason(Enum):
    """Why a session ended."""

    FIN = "fin"
    """Both sides closed it (in modes whose replies pass by the depot: the client did)."""
    RST = "rst"
    """One side reset it."""
    REFUSED = "refused"
    """The member answered the SYN with a RST."""
    UNANSWERED = "unanswered"
    """Nobody answered the SYN in time."""
    IDLE = "idle"
    """No packet came any more."""
    MEMBER_DOWN = "member-down"
    """The member died."""
    SUCCEEDED = "succeeded"
    """A new session took its place before its end was seen."""
    REMOVED = "removed"
    """The operator removed its VIP or member."""


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """A session began."""

    key: FlowKey
    """Its flow."""
    vip_id: int
    """Its VIP."""
    member_id: int
    """The member that serves it."""
    client_is_hi: bool
    """Whether the client is the key's higher endpoint."""
    at: float
    """When, in the tracker's time."""


@dataclass(frozen=True, slots=True)
class SessionEstablished:
    """A SYN was answered: the member lives."""

    key: FlowKey
    """The session's flow."""
    vip_id: int
    """Its VIP."""
    member_id: int
    """The member that answered."""
    after: float
    """Seconds from the SYN to the answer, as the controller saw them."""
    assumed: bool
    """Whether the answer itself was not seen, only what follows from it."""


@dataclass(frozen=True, slots=True)
class SessionMoved:
    """A session without state at its member went to another one, because its member died."""

    key: FlowKey
    """Its flow."""
    vip_id: int
    """Its VIP."""
    from_member_id: int
    """The dead member."""
    to_member_id: int
    """Its successor."""


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """A session is no longer its member's load; its entry may stay for late packets."""

    key: FlowKey
    """Its flow."""
    vip_id: int
    """Its VIP."""
    member_id: int
    """The member that served it."""
    reason: CloseReason
    """Why."""
    duration: float
    """Seconds from its first packet or adoption."""


class UnansweredCause(Enum):
    """How a SYN came to count as unanswered."""

    TIMEOUT = "timeout"
    """No answer within the time."""
    REPEATED = "repeated"
    """The client had to ask again."""
    REFUSED = "refused"
    """The answer was a RST: the host lives, the service does not."""


@dataclass(frozen=True, slots=True)
class SynUnanswered:
    """A client's request got no answer: the passive health check's evidence (seed 001, 4.4)."""

    key: FlowKey
    """The session's flow."""
    vip_id: int
    """Its VIP."""
    member_id: int
    """The member that did not answer."""
    cause: UnansweredCause
    """How we know."""


SessionNotice = SessionOpened | SessionEstablished | SessionMoved | SessionClosed | SynUnanswered
