"""Which sessions each member of each VIP serves, and how many sessions name it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from depot.switching.session import Session

__all__ = ["MemberLoad"]

_Place = tuple[int, int]
"""VIP and member, by id."""


class MemberLoad:
    """Sessions by VIP and member. A session names its member until it is gone; it is load while it is active."""

    def __init__(self) -> None:
        self._active: dict[_Place, dict[Session, None]] = {}  # as ordered sets
        self._of_vip: Counter[int] = Counter()
        self._naming: Counter[_Place] = Counter()

    def name(self, session: Session) -> None:
        """The session has its member from now on."""
        self._naming[session.vip_id, session.member_id] += 1

    def release(self, session: Session) -> None:
        """The session is gone, or about to get another member."""
        self._naming[session.vip_id, session.member_id] -= 1

    def enter(self, session: Session) -> None:
        """The session is active."""
        self._active.setdefault((session.vip_id, session.member_id), {})[session] = None
        self._of_vip[session.vip_id] += 1

    def leave(self, session: Session) -> bool:
        """The session is active no more; return whether it was."""
        active = self._active.get((session.vip_id, session.member_id), {})
        if session not in active:
            return False
        del active[session]
        self._of_vip[session.vip_id] -= 1
        return True

    def move(self, session: Session, member_id: int) -> None:
        """Give an active session to another member of its VIP."""
        self.leave(session)
        self.release(session)
        session.member_id = member_id
        self.name(session)
        self.enter(session)

    def forget_vip(self, vip_id: int) -> None:
        """The VIP is no more, nor are its sessions."""
        self._of_vip.pop(vip_id, None)

    def forget_member(self, vip_id: int, member_id: int) -> None:
        """The VIP has this member no more, and no session with it."""
        self._active.pop((vip_id, member_id), None)

    def active(self, vip_id: int, member_id: int) -> list[Session]:
        """Return the active sessions of a member, oldest first."""
        return list(self._active.get((vip_id, member_id), ()))

    def count(self, vip_id: int, member_id: int) -> int:
        """Return how many active sessions of a VIP a member serves."""
        return len(self._active.get((vip_id, member_id), ()))

    def count_of_vip(self, vip_id: int) -> int:
        """Return how many active sessions a VIP has."""
        return self._of_vip[vip_id]

    def naming(self, vip_ids: Iterable[int], member_id: int) -> int:
        """Return how many sessions of these VIPs name a member, ended ones too."""
        return sum(self._naming[vip_id, member_id] for vip_id in vip_ids)
