"""States of a switched session and what moves it between them.

The depot sees the flags of passing packets and guesses each end's state from them (seed 001, 4.1); it never terminates
TCP. What the table lacks cannot happen to that state and is ignored or kept for the session's successor, since digests
may be lost, repeated and reordered. Flags can be forged, so none of them ends a session's entry: silence does
(docs/decisions/0007-tcp-tracking.md).
"""

from __future__ import annotations

from enum import Enum, IntFlag

from depot.address import Protocol

__all__ = ["ACTIVE_STATES", "ENDED_STATES", "TRANSITIONS", "SessionInput", "SessionState", "TcpFlag", "first_state"]


class TcpFlag(IntFlag):
    """TCP control bits (RFC 9293, 3.1)."""

    FIN = 0x01
    SYN = 0x02
    RST = 0x04
    PSH = 0x08
    ACK = 0x10


class SessionState(Enum):
    """What the depot believes of a session."""

    SYN_SEEN = "syn-seen"
    """TCP: the client has asked, the member has not answered yet."""
    ESTABLISHED = "established"
    """TCP: the member has answered, or traffic shows that it must have."""
    CLOSING = "closing"
    """TCP: one side has sent its FIN."""
    TIME_WAIT = "time-wait"
    """TCP: both sides have; the entry stays until no packet has come for 2 MSL, a SYN begins a new session."""
    RESET = "reset"
    """TCP: a RST was seen; the entry stays until no packet has come for a short while."""
    SCRAPPED = "scrapped"
    """TCP: the member has died; the entry drops or resets what the client still sends."""
    ACTIVE = "active"
    """UDP: packets come."""
    GONE = "gone"
    """The session and its entry are no more."""

    __hash__ = object.__hash__  # members are singletons; Enum's own hash is a slow Python function


class SessionInput(Enum):
    """What can happen to a session."""

    SYN = "syn"
    """The client sent its SYN again."""
    ANSWER = "answer"
    """The member sent SYN-ACK."""
    TRAFFIC = "traffic"
    """A later packet of the client was announced, or silence after a SYN whose answer cannot be seen."""
    FIN = "fin"
    """A FIN, the first of the two directions' (or one again)."""
    LAST_FIN = "last-fin"
    """A FIN, and both directions have sent theirs now."""
    RST = "rst"
    """A RST, of either side."""
    TIMEOUT = "timeout"
    """The state's own time is over."""
    IDLE = "idle"
    """The switch has seen no packet for the entry's idle timeout."""
    MEMBER_DOWN = "member-down"
    """The member has been declared dead."""

    __hash__ = object.__hash__


_S = SessionState
_I = SessionInput

TRANSITIONS: dict[SessionState, dict[SessionInput, SessionState]] = {
    _S.SYN_SEEN: {
        _I.SYN: _S.SYN_SEEN,
        _I.ANSWER: _S.ESTABLISHED,
        _I.TRAFFIC: _S.ESTABLISHED,
        _I.FIN: _S.CLOSING,
        _I.LAST_FIN: _S.TIME_WAIT,
        _I.RST: _S.RESET,
        _I.TIMEOUT: _S.GONE,
        _I.IDLE: _S.GONE,
        _I.MEMBER_DOWN: _S.GONE,
    },
    _S.ESTABLISHED: {
        _I.SYN: _S.ESTABLISHED,
        _I.ANSWER: _S.ESTABLISHED,
        _I.TRAFFIC: _S.ESTABLISHED,
        _I.FIN: _S.CLOSING,
        _I.LAST_FIN: _S.TIME_WAIT,
        _I.RST: _S.RESET,
        _I.IDLE: _S.GONE,
        _I.MEMBER_DOWN: _S.SCRAPPED,
    },
    _S.CLOSING: {
        _I.SYN: _S.CLOSING,
        _I.ANSWER: _S.CLOSING,
        _I.TRAFFIC: _S.CLOSING,
        _I.FIN: _S.CLOSING,
        _I.LAST_FIN: _S.TIME_WAIT,
        _I.RST: _S.RESET,
        _I.IDLE: _S.GONE,
        _I.MEMBER_DOWN: _S.SCRAPPED,
    },
    _S.TIME_WAIT: {
        _I.TRAFFIC: _S.TIME_WAIT,
        _I.FIN: _S.TIME_WAIT,
        _I.LAST_FIN: _S.TIME_WAIT,
        _I.RST: _S.TIME_WAIT,
        _I.IDLE: _S.GONE,
    },
    _S.RESET: {
        _I.TRAFFIC: _S.RESET,
        _I.FIN: _S.RESET,
        _I.LAST_FIN: _S.RESET,
        _I.RST: _S.RESET,
        _I.IDLE: _S.GONE,
    },
    _S.SCRAPPED: {
        _I.TIMEOUT: _S.GONE,
    },
    _S.ACTIVE: {
        _I.TRAFFIC: _S.ACTIVE,
        _I.IDLE: _S.GONE,
        _I.MEMBER_DOWN: _S.GONE,
    },
    _S.GONE: {},
}

ACTIVE_STATES = frozenset({_S.SYN_SEEN, _S.ESTABLISHED, _S.CLOSING, _S.ACTIVE})
"""States that count as load of the member."""

ENDED_STATES = frozenset({_S.TIME_WAIT, _S.RESET, _S.SCRAPPED})
"""States whose entry only waits to go; a client's SYN begins a new session."""


def first_state(protocol: int, tcp_flags: int) -> SessionState:
    """Return the state of a session whose first announced packet carries these flags."""
    if protocol == Protocol.UDP:
        return SessionState.ACTIVE
    if tcp_flags & TcpFlag.RST.value:
        return SessionState.RESET
    if tcp_flags & TcpFlag.SYN.value:
        return SessionState.SYN_SEEN
    return SessionState.CLOSING if tcp_flags & TcpFlag.FIN.value else SessionState.ESTABLISHED
