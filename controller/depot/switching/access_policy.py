"""The access policy as entries of `policy_table`, and asked about single connections. Pure.

Rules are ordered, the first that fits decides; so does the entry with the highest priority. A rule is about
connections, the table about packets: beside the entries for what goes from client to server there are, where peers may
own the connection, entries that hold what goes the other way, or in the middle of a connection, until its owner is
known (seed 000, 3: partial flows).

    what                    own intercept   peer's rule       bypass            deny
    opens, to the server    intercept       send to holder    bypass            deny
    goes on, to the server  intercept       hold              hold              deny
    goes on, to the client  hold            hold              hold
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from depot.address import Endpoint, FlowKey, Prefix, Protocol
from depot.config.cluster_model import PolicyAction, PolicyConfig
from depot.p4runtime.entry import (
    Entry,
    PolicyMatch,
    bypass_entry,
    deny_entry,
    hold_entry,
    holder_entry,
    intercept_entry,
)

__all__ = ["AccessPolicy", "InterceptingService"]

_ANYWHERE = Prefix(0, 0)
_ALL_PORTS = (0, 65535)


class InterceptingService(NamedTuple):
    """What `policy_table` must know of a transparent VIP."""

    vip_id: int
    """Its number."""
    slots: int
    """The length of its schedule."""
    by_hash: bool
    """Whether a connection's endpoints name the slot."""
    shared: bool
    """Whether peers may own connections of it."""


class _Direction(NamedTuple):
    """One family's prefixes and one range of ports of a rule."""

    client: Prefix
    server: Prefix
    ports: tuple[int, int]

    def to_server(self, priority: int, protocol: Protocol, opens: bool | None) -> PolicyMatch:
        return PolicyMatch(
            priority,
            source=self.client,
            destination=self.server,
            destination_ports=self.ports,
            protocol=int(protocol),
            opens=opens,
        )

    def to_client(self, priority: int, protocol: Protocol, opens: bool | None) -> PolicyMatch:
        return PolicyMatch(
            priority,
            source=self.server,
            destination=self.client,
            source_ports=self.ports,
            protocol=int(protocol),
            opens=opens,
        )


class AccessPolicy:
    """The rules as one member enforces them. own_name: its name in the cluster; None: there is none."""

    def __init__(self, rules: Sequence[PolicyConfig], own_name: str | None) -> None:
        self.rules = tuple(rules)
        """In order."""
        self._own_name = own_name

    def is_own(self, rule: PolicyConfig) -> bool:
        """Say whether this member decides about a rule's connections itself."""
        return rule.holder is None or rule.holder == self._own_name

    def rule_for(self, client: Endpoint, server: Endpoint, protocol: int) -> PolicyConfig | None:
        """Return the rule that decides about a connection; None: none does, it is routed."""
        return next((rule for rule in self.rules if rule.fits(client, server, protocol)), None)

    def rule_of_flow(self, flow: FlowKey) -> tuple[PolicyConfig, bool] | None:
        """Return the first rule that fits a flow in either direction, and whether its client is the higher endpoint."""
        for rule in self.rules:
            for client_is_hi in (False, True):
                if rule.fits(flow.client(client_is_hi), flow.server(client_is_hi), flow.protocol):
                    return rule, client_is_hi
        return None

    def entries(self, services: Mapping[str, InterceptingService], peers: Mapping[str, int]) -> list[Entry]:
        """Return the entries. services: transparent VIPs by name; peers: their numbers as members, by name."""
        found: dict[tuple[int, ...], Entry] = {}
        for index, rule in enumerate(self.rules):
            priority = 2 * (len(self.rules) - index)
            for direction in _directions(rule):
                for protocol in rule.protocols:
                    for entry in self._entries(rule, direction, protocol, priority, services, peers):
                        found.setdefault(entry.values, entry)
        return list(found.values())

    def _entries(
        self,
        rule: PolicyConfig,
        direction: _Direction,
        protocol: Protocol,
        priority: int,
        services: Mapping[str, InterceptingService],
        peers: Mapping[str, int],
    ) -> Iterator[Entry]:
        """What decides has the higher of the rule's two priorities, so that holding is for the rest."""
        everything = direction.to_server(priority + 1, protocol, None)
        opening = direction.to_server(priority + 1, protocol, True)
        if not self.is_own(rule):
            holder = peers.get(rule.holder or "")
            yield deny_entry(everything) if holder is None else holder_entry(opening, holder)
            yield from _holding(direction, priority, protocol, to_server=True)
        elif rule.action is PolicyAction.DENY:
            yield deny_entry(everything)
        elif rule.action is PolicyAction.INTERCEPT:
            service = services.get(rule.to or "")
            if service is None:
                yield deny_entry(everything)
                return
            vip_id, slots, by_hash, shared = service
            yield intercept_entry(everything, vip_id, slots, by_hash=by_hash, shared=shared)
            if shared:
                yield from _holding(direction, priority, protocol, to_server=False)
        elif self._own_name is not None:
            yield bypass_entry(opening, shared=True)
            yield from _holding(direction, priority, protocol, to_server=True)
        else:
            yield bypass_entry(everything)
            yield bypass_entry(direction.to_client(priority, protocol, _goes_on(protocol)))


def _goes_on(protocol: Protocol) -> bool | None:
    """`PolicyMatch.opens` of what does not open a connection; of a datagram nobody can tell."""
    return False if protocol is Protocol.TCP else None


def _holding(direction: _Direction, priority: int, protocol: Protocol, *, to_server: bool) -> Iterator[Entry]:
    if to_server and protocol is Protocol.TCP:
        yield hold_entry(direction.to_server(priority, protocol, False))
    yield hold_entry(direction.to_client(priority, protocol, _goes_on(protocol)))


def _directions(rule: PolicyConfig) -> Iterator[_Direction]:
    for client in rule.clients or (_ANYWHERE,):
        for server in rule.servers or (_ANYWHERE,):
            if rule.clients and rule.servers and client.ipv4 != server.ipv4:
                continue
            for ports in rule.ports or (_ALL_PORTS,):
                yield _Direction(client, server, ports)
