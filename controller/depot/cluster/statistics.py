"""What a member counts."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COUNTERS", "ClusterStatistics", "Counter"]


@dataclass(frozen=True, slots=True)
class Counter:
    """What a number of `ClusterStatistics` means."""

    name: str
    """The field."""
    unit: str
    """What is counted."""
    is_expected: bool
    """Whether it grows where all is well."""
    meaning: str
    """One sentence."""


@dataclass(slots=True)
class ClusterStatistics:
    """Counts since the start; COUNTERS explains them."""

    messages_received: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    changes_announced: int = 0
    channels_opened: int = 0
    channels_accepted: int = 0
    tables_received: int = 0
    duplicate_channels: int = 0
    failed_attempts: int = 0
    channels_lost: int = 0
    peers_left: int = 0
    silent_peers: int = 0
    slow_readers: int = 0
    bad_messages: int = 0
    rejects_sent: int = 0
    rejects_received: int = 0
    strangers: int = 0
    unknown_removes: int = 0
    refused_installs: int = 0


COUNTERS = (
    Counter("messages_received", "messages", True, "Connection messages that peers sent."),
    Counter("bytes_received", "bytes", True, "What came on all channels."),
    Counter("bytes_sent", "bytes", True, "What was given to TCP on all channels."),
    Counter("changes_announced", "messages", True, "Own connections that came or went, each counted once."),
    Counter("channels_opened", "channels", True, "Calls made to peers."),
    Counter("channels_accepted", "channels", True, "Calls taken."),
    Counter("tables_received", "tables", True, "Whole tables that peers sent after they joined."),
    Counter("duplicate_channels", "channels", True, "Channels given up because another with the same peer counts."),
    Counter("failed_attempts", "channels", False, "Calls to peers that came to nothing."),
    Counter("channels_lost", "channels", False, "Channels of joined peers that ended without a word."),
    Counter("peers_left", "channels", False, "Channels that peers ended by PEER_LEAVE."),
    Counter("silent_peers", "channels", False, "Channels given up because nothing was heard."),
    Counter("slow_readers", "channels", False, "Channels given up because the peer did not read."),
    Counter("bad_messages", "channels", False, "Channels given up because of what a peer said."),
    Counter("rejects_sent", "channels", False, "Channels ended by PEER_REJECT of ours."),
    Counter("rejects_received", "channels", False, "Channels ended by PEER_REJECT of a peer."),
    Counter("strangers", "channels", False, "Callers that were turned away before they had joined."),
    Counter("unknown_removes", "messages", False, "REMOVE_CONNECTION for what was not there."),
    Counter("refused_installs", "messages", False, "INSTALL_CONNECTION beyond a million connections of one peer."),
)
"""Every field of `ClusterStatistics`, in its order."""
