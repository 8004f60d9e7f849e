"""Table entries that change at random from batch to batch of random packets, for switches behind real ports."""

from __future__ import annotations

import random
from collections.abc import Iterable

from ptf_tests.case import Entry
from ptf_tests.library_target import table_entry
from ptf_tests.network import CLIENT, STRANGER
from ptf_tests.p4names import P4Names
from ptf_tests.random_entries import RandomEntries
from ptf_tests.random_packets import PEERS, RandomPackets
from ptf_tests.services import Session
from softswitch.entities import ActionCall, Exact, Lpm, Range, TableEntry, Ternary
from softswitch.errors import EntityError
from softswitch.p4info import MatchType
from softswitch.switch import Switch

__all__ = ["ChangingEntries"]

_ARE_ASKED = ("local_address_table", "admission_table")
"""Tables that a wire target's own questions need as they are."""
_CHANGES = 8
"""At most so many from one batch to the next."""
_LAST_WIRE = 4
"""Ports above this one have no wire: what leaves there shows nowhere."""


class ChangingEntries:
    """Some entries go, some change, some come; all are such that a switch must take them."""

    def __init__(self, judge: Switch, names: P4Names, packets: RandomPackets, entries: Iterable[Entry]) -> None:
        """`judge`: a switch of our own that says what is valid; it stays as it is."""
        self._judge, self._names, self._packets = judge, names, packets
        self._dice = random.Random(packets.random.random())
        self._random = RandomEntries(judge.p4info, packets.services)
        self._held = {entry.key: entry for entry in entries}

    def now(self) -> tuple[Entry, ...]:
        """The entries for the next batch."""
        return tuple(self._held.values())

    def change(self) -> None:
        """Up to `_CHANGES` entries, and sessions of the next batch."""
        dice = self._dice
        for _ in range(dice.randrange(_CHANGES)):
            loose = [key for key, entry in self._held.items() if entry.table not in _ARE_ASKED]
            kind = dice.choice(("go", "change", "come", "session"))
            if kind == "go":
                del self._held[dice.choice(loose)]
            elif kind == "session":
                self._take(self._session())
            elif kind == "change":
                held = self._held[dice.choice(loose)]
                table = self._judge.p4info.table(held.table)
                action = self._random.action(dice, table)
                self._take(self._named(TableEntry(table_entry(self._names, held).key, action)))
            else:
                self._take(self._named(self._random.entry(dice, self._random.table(dice))))

    def _take(self, entry: Entry | None) -> None:
        if entry is not None and entry.table not in _ARE_ASKED:
            self._held[entry.key] = entry

    def _session(self) -> Entry:
        """An entry for a session whose packets may come in the next batch."""
        dice = self._dice
        service, client = dice.choice(self._packets.services), dice.choice((CLIENT, STRANGER))
        session = Session(service, dice.choice(self._packets.next_client_ports()), client)
        chance = dice.random()
        if chance < 0.2:
            return session.entry("deny_connection" if chance < 0.1 else "reset_connection")
        if chance < 0.4:
            return session.at_peer(dice.choice(PEERS).member_id)
        if chance < 0.5:
            return session.entry("bypass_connection")
        return session.known(dice.randrange(len(service.members)), closing=dice.random() < 0.3)

    def _named(self, made: TableEntry) -> Entry | None:
        """By the P4Info's names; None for one that is refused, or leads to where nothing can be seen."""
        info = self._judge.p4info
        table = info.tables[made.key.table_id]
        try:
            self._judge.insert(made)
            self._judge.delete(made.key)
        except EntityError:
            return None
        if not isinstance(made.action, ActionCall):
            return None
        match: dict[str, int | tuple[int, int]] = {}
        for field, part in zip(table.match_fields, made.key.match, strict=True):
            match part:
                case Exact(value):
                    match[field.name] = value
                case Lpm(first, second) | Ternary(first, second) | Range(first, second):
                    match[field.name] = (first, second)
                case _ if field.match_type is MatchType.LPM:
                    match[field.name] = (0, 0)
        action = info.actions[made.action.action_id]
        params = {param.name: value for param, value in zip(action.params, made.action.params, strict=True)}
        if action.alias.startswith(("route", "lead")) and not 0 < params.get("port", 1) <= _LAST_WIRE:
            return None
        return Entry(table.alias, match, action.alias, params, made.key.priority)
