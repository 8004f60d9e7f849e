"""One peer on the bus as a member's core keeps it."""

from __future__ import annotations

from depot.cluster.channel import ChannelClosed
from depot.cluster.peers import PeerView
from depot.cluster.settings import PeerSettings
from depot.cluster.states import ChannelState
from depot.cluster.wire import ConnectionRun

__all__ = ["BusPeer"]


class BusPeer:
    """One peer.

    `epoch`: the life that we hear, None: none; `left_epoch`: one that has taken its leave. `applied`: the batches of
    changes that the database has, if `has_base`; `known`: those that there are, as far as we have heard; `waiting`:
    batches that came before their turn, `waiting_bytes` of them. `is_synced`: the database has all of `known`.
    `is_settled`: that has been confirmed since the bus is there, or the peer cannot be reached. `table`: the latest one
    that it has stored, number and parts; `is_fetching`: one is being read.
    """

    __slots__ = (
        "applied", "asks", "epoch", "has_base", "heard_at", "is_fetching", "is_settled", "is_synced", "is_up", "known",
        "last_close", "left_epoch", "next_ask_at", "settings", "since", "sync_by", "table", "waiting", "waiting_bytes",
    )  # fmt: skip

    def __init__(self, settings: PeerSettings, now: float) -> None:
        self.settings = settings
        self.left_epoch: int | None = None
        self.is_settled = self.is_up = False
        self.since = now
        self.heard_at: float | None = now
        self.last_close: ChannelClosed | None = None
        self.asks = 0
        self.next_ask_at: float | None = None
        self.is_fetching = False
        self.begin_life(None)

    def begin_life(self, epoch: int | None) -> None:
        """What was said in another life says nothing about this one."""
        self.epoch = epoch
        self.applied = self.known = self.asks = 0
        self.is_synced = self.has_base = False
        self.waiting: dict[int, list[ConnectionRun]] = {}
        self.waiting_bytes = 0
        self.table: tuple[int, int] | None = None
        self.sync_by: float | None = None
        self.next_ask_at = None

    def has_all_after(self, sequence: int) -> bool:
        """Say whether every batch behind that one is here."""
        return all(number in self.waiting for number in range(sequence + 1, self.known + 1))

    def next_deadline(self) -> float | None:
        """Return when something is due, while the bus is there."""
        silent_at = None if self.heard_at is None else self.heard_at + self.settings.silence_limit
        return min((at for at in (silent_at, self.next_ask_at, self.sync_by) if at is not None), default=None)

    def view(self, connections: int) -> PeerView:
        """Return the peer as people see it."""
        state = ChannelState.CLOSED
        if self.epoch is not None:
            state = ChannelState.ESTABLISHED if self.is_synced else ChannelState.SYNCHRONIZE
        return PeerView(
            self.settings.identity, state, self.is_up, self.since, connections, False, self.waiting_bytes, self.asks,
            self.next_ask_at, self.last_close,
        )  # fmt: skip
