"""What one switch does for a LAN whose hosts share a gateway address (seed 004): for whoever decides about buckets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from depot.p4runtime.entry import Action, Entry, EntryKey, Table
from depot.switching.lan import Service
from depot.switching.neighbours import Neighbours
from depot.switching.routing import NextHop, Routing

__all__ = ["LanSide"]

Write = Callable[[Mapping[EntryKey, Entry], Iterable[EntryKey]], int]
"""Makes the switch hold, of some keys and those of the entries, exactly the entries."""


class LanSide:
    """The LAN of one switch. held: what the switch has, as far as we know."""

    def __init__(
        self,
        routing: Callable[[], Routing],
        neighbours: Neighbours,
        held: Callable[[], Mapping[EntryKey, Entry]],
        write: Write,
    ) -> None:
        self._routing, self._neighbours, self._held, self._write = routing, neighbours, held, write

    def serve(self, services: Mapping[int, Service]) -> None:
        """Take what is to be done for the hosts of each bucket; buckets that are missing are others'."""
        lan, held = self._routing().lan, self._held()
        lan.serve(services)
        neighbours = (one for one in self._neighbours.entries() if one.values[0] in lan.ports)
        wanted = {entry.key: entry for entry in (*lan.buckets(held.values()), *neighbours)}
        always = {entry.key for entry in lan.answers()}
        self._write(wanted, [key for key in held if key.table is Table.VIRTUAL_MAC and key not in always])

    def led(self) -> dict[int, NextHop]:
        """Return the virtual MACs whose frames the switch leads to gateways."""
        entries = self._held().values()
        return {one.values[1]: NextHop(*one.params[:2]) for one in entries if one.action is Action.LEAD_TO_GATEWAY}

    def ask(self, hops: Iterable[NextHop]) -> None:
        """Ask some next hops whether they live; the neighbours know when each was heard."""
        for hop in hops:
            self._neighbours.probe(hop)

    def told_of_hosts(self, hosts: Iterable[tuple[int, int]], now: float) -> None:
        """Another gateway knows these hosts: address and MAC each."""
        routing = self._routing()
        for address, mac in hosts:
            hop = routing.next_hop(address)
            if hop is not None and hop.address == address and hop.port in routing.lan.ports:
                self._neighbours.told(hop, mac, now)
