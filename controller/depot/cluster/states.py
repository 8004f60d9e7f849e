"""States of a control channel and what moves it between them (seed 000, Fig. 6).

What the table lacks is a mistake of the peer, or of ours if it is one of our own acts.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["TRANSITIONS", "ChannelInput", "ChannelState", "CloseReason", "state_diagram"]


class ChannelState(Enum):
    """Where a control channel stands."""

    INIT = "init"
    """There is no TCP connection yet."""
    CONNECT = "connect"
    """There is one; the PEER_JOINs are being exchanged."""
    SYNCHRONIZE = "synchronize"
    """Both have joined and send their tables; the peer's has not ended yet."""
    ESTABLISHED = "established"
    """All of the peer's connections are known here; changes follow."""
    CLOSED = "closed"
    """The end. What still waits to be sent may be."""

    __hash__ = object.__hash__  # members are singletons; Enum's own hash is a slow Python function


class ChannelInput(Enum):
    """What can happen to a control channel."""

    CONNECTED = "TCP connected"
    """The TCP connection stands."""
    JOIN = "PEER_JOIN"
    """The peer's PEER_JOIN came, and we let it in."""
    CONNECTION = "INSTALL/REMOVE_CONNECTION"
    """One or more of them came."""
    KEEPALIVE = "PEER_KEEPALIVE"
    """It came."""
    LEAVE = "PEER_LEAVE"
    """It came."""
    REJECT = "PEER_REJECT"
    """It came."""
    CLOSE = "we close"
    """We end the channel: a refusal, a mistake of the peer, a timeout, our own leaving."""
    LOST = "TCP lost"
    """The TCP connection ended, or did not come to be."""

    __hash__ = object.__hash__


_S = ChannelState
_I = ChannelInput

TRANSITIONS: dict[ChannelState, dict[ChannelInput, ChannelState]] = {
    _S.INIT: {
        _I.CONNECTED: _S.CONNECT,
        _I.CLOSE: _S.CLOSED,
        _I.LOST: _S.CLOSED,
    },
    _S.CONNECT: {
        _I.JOIN: _S.SYNCHRONIZE,
        _I.REJECT: _S.CLOSED,
        _I.CLOSE: _S.CLOSED,
        _I.LOST: _S.CLOSED,
    },
    _S.SYNCHRONIZE: {
        _I.CONNECTION: _S.SYNCHRONIZE,
        _I.KEEPALIVE: _S.ESTABLISHED,
        _I.LEAVE: _S.CLOSED,
        _I.REJECT: _S.CLOSED,
        _I.CLOSE: _S.CLOSED,
        _I.LOST: _S.CLOSED,
    },
    _S.ESTABLISHED: {
        _I.CONNECTION: _S.ESTABLISHED,
        _I.KEEPALIVE: _S.ESTABLISHED,
        _I.LEAVE: _S.CLOSED,
        _I.CLOSE: _S.CLOSED,
        _I.LOST: _S.CLOSED,
    },
    _S.CLOSED: {},
}


class CloseReason(Enum):
    """Why a channel ended."""

    LEFT = "left"
    """We left the cluster, or took the peer off our list."""
    PEER_LEFT = "peer left"
    """The peer sent PEER_LEAVE, see its code."""
    REFUSED = "refused"
    """We sent PEER_REJECT, see its code."""
    PEER_REFUSED = "peer refused"
    """The peer sent PEER_REJECT, see its code."""
    DUPLICATE = "duplicate"
    """Another channel with the same peer counts. No fault."""
    NO_JOIN = "no join"
    """The first bytes were not PEER_JOIN; whoever sent them is told nothing."""
    BAD_MESSAGE = "bad message"
    """The peer sent what is no message, or none for this state."""
    CONNECT_TIMEOUT = "connect timeout"
    """TCP did not connect in time."""
    JOIN_TIMEOUT = "join timeout"
    """No PEER_JOIN came in time."""
    SYNC_TIMEOUT = "sync timeout"
    """The peer's table did not end in time."""
    SILENT = "silent"
    """Nothing was heard of the peer for too long."""
    SLOW_READER = "slow reader"
    """Too much waited to be sent to the peer."""
    LOST = "lost"
    """The TCP connection ended, or could not be made."""


def state_diagram() -> str:
    """Return the transition table as the Markdown table of docs/wire.md."""
    columns = [state for state in ChannelState if TRANSITIONS[state]]
    head = ["| what happens | " + " | ".join(state.name for state in columns) + " |", "|---" * (1 + len(columns)) + "|"]
    rows = []
    for happens in ChannelInput:
        cells = [TRANSITIONS[state].get(happens) for state in columns]
        rows.append(f"| {happens.value} | " + " | ".join(cell.name if cell else "mistake" for cell in cells) + " |")
    return "\n".join([*head, *rows]) + "\n"
