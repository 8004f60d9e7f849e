"""One session as the tracker keeps it, and as people see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from depot.address import Endpoint, FlowKey
from depot.switching.commands import InstallEntry, UpdateEntry, Verdict
from depot.switching.deadlines import NEVER
from depot.switching.states import SessionState

__all__ = ["Entry", "IsMember", "PlaceOf", "Session", "SessionView", "Substitute"]

Entry = TypeVar("Entry", InstallEntry, UpdateEntry)

Substitute = Callable[[int], int | None]
"""Given a VIP's id, the id of a living member for a session whose own has died; None if there is none."""
IsMember = Callable[[int, int], bool]
"""Whether a member can serve a VIP's sessions, VIP and member by id: it is one of the VIP's, or was until lately."""
PlaceOf = Callable[[InstallEntry], tuple[int, bool] | None]
"""Of an entry that was read, if no VIP has its endpoints: the VIP all the same, and whether its client is higher."""


@dataclass(frozen=True, slots=True)
class SessionView:
    """One session as people see it."""

    key: FlowKey
    """Its flow."""
    vip_id: int
    """Its VIP."""
    member_id: int
    """Its member."""
    client: Endpoint
    """Who opened it."""
    state: SessionState
    """What is believed of it."""
    opened_at: float
    """When it began or was adopted, in the tracker's time."""


class Session:
    """One session.

    `asked_at`: when the member now serving it was first sent the SYN; `is_asked`: whether it was, for a member that
    took over a session is not before the client sends its SYN again; `syn_at`: the latest SYN; `written`: the switch
    was told of its entry; `refused`: and would not take it; `patient`: it needs none yet, the flow cache has it.
    """

    __slots__ = (
        "announced_member_id", "asked_at", "client_is_hi", "deadline", "dirty_at", "fins", "is_asked", "key",
        "member_id", "opened_at", "patient", "queued_tick", "refused", "reported", "state", "syn_at", "vip_id",
        "written",
    )  # fmt: skip

    def __init__(self, key: FlowKey) -> None:
        self.key = key
        self.vip_id = self.member_id = self.announced_member_id = 0
        self.client_is_hi = False
        self.state = SessionState.GONE
        self.fins = 0
        self.is_asked = True
        self.opened_at = self.asked_at = self.syn_at = self.dirty_at = 0.0
        self.reported = False
        self.written = self.refused = self.patient = False
        self.deadline = NEVER
        self.queued_tick = -1

    def view(self) -> SessionView:
        """Return it as people see it."""
        client = self.key.client(self.client_is_hi)
        return SessionView(self.key, self.vip_id, self.member_id, client, self.state, self.opened_at)

    def entry(self, command: type[Entry], verdict: Verdict, closing: bool, idle_timeout: float) -> Entry:
        """Return the command that gives it the entry of its state's terms (`EntryTerms`)."""
        if verdict is not Verdict.FORWARD:
            return command(self.key, verdict, 0, False, False, idle_timeout)
        return command(self.key, verdict, self.member_id, self.client_is_hi, closing, idle_timeout)
