"""The LAN whose hosts share one gateway address: which entries make a switch answer and serve them (seed 004). Pure.

Which buckets the switch serves, and how, is told by `serve`: this module only says it in entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from depot.config.vmac_model import VmacConfig
from depot.p4runtime.entry import Action, Entry, Table, neighbour_entry, route_local_entry
from depot.vmac.hashing import BucketHash

__all__ = ["LAN_ETHER_TYPE", "Lan", "Service"]

LAN_ETHER_TYPE = 0x88B5
"""Of the frames between gateways: IEEE 802, local experimental."""


class Service(NamedTuple):
    """What a switch does for the hosts of a bucket: an action of `virtual_mac_table`."""

    action: Action
    """OWN, WATCH or LEAD_TO_GATEWAY."""
    params: tuple[int, ...] = ()
    """Its parameters."""


class Lan:
    """The LAN of one switch. vmac: None, or of another switch: there is none."""

    def __init__(self, vmac: VmacConfig | None, switch: str) -> None:
        self._vmac = vmac if vmac is not None and vmac.switch == switch else None
        self.ports: frozenset[int] = frozenset(() if self._vmac is None else self._vmac.ports)
        """The ports that hosts are behind."""
        self.virtual_macs = None if self._vmac is None else self._vmac.virtual_macs
        """Behind the gateway's address."""
        self.addresses: tuple[int, ...] = () if self._vmac is None else self._vmac.addresses
        """The gateway's, that the hosts know."""
        self._services: Mapping[int, Service] | None = None

    def serve(self, services: Mapping[int, Service]) -> None:
        """Take what is done for each bucket from now on; buckets that are missing are others'."""
        self._services = services

    def inherit(self, before: Lan) -> None:
        """Take over what was told before the configuration was read again."""
        if self._vmac and before._vmac and self._vmac.virtual_macs == before._vmac.virtual_macs:
            self._services = before._services

    # Entries

    def answers(self) -> list[Entry]:
        """Return what answers the gateway address on the LAN, and brings the gateways' frames to us."""
        vmac = self._vmac
        if vmac is None:
            return []
        found = [
            Entry(Table.LOCAL_ADDRESS, (port, address), Action.ANSWER_BY_BUCKET, _bucket_params(vmac))
            for port in vmac.ports
            for address in vmac.addresses
        ]
        found += [route_local_entry(address) for address in vmac.addresses]
        return found + [
            Entry(Table.VIRTUAL_MAC, (port, vmac.virtual_macs.group_mac), Action.WATCH) for port in vmac.ports
        ]

    def buckets(self, held: Iterable[Entry]) -> list[Entry]:
        """Return the entries of the buckets; until they are told, those that the switch holds."""
        vmac = self._vmac
        if vmac is None:
            return []
        if self._services is None:
            group = vmac.virtual_macs.group_mac
            return [one for one in held if one.table is Table.VIRTUAL_MAC and one.values[1] != group]
        return [
            Entry(Table.VIRTUAL_MAC, (port, vmac.virtual_macs.mac(bucket)), service.action, service.params)
            for bucket, service in self._services.items()
            for port in vmac.ports
        ]

    def neighbour(self, port: int, address: int, mac: int, port_mac: int) -> Entry:
        """Return a neighbour's entry: frames to a host that we serve come from the virtual MAC that it knows.

        A host that another gateway serves gets them from the port's own MAC: from a virtual one that is not ours,
        switches would learn to bring us what is the other's.
        """
        if self._vmac is None or port not in self.ports or not self._is_served(self._vmac.virtual_macs.bucket(mac)):
            return neighbour_entry(port, address, port_mac, mac)
        params = (mac, *_bucket_params(self._vmac))
        return Entry(Table.NEIGHBOUR, (port, address), Action.SET_NEIGHBOUR_BY_BUCKET, params)

    def _is_served(self, bucket: int) -> bool:
        service = self._services.get(bucket) if self._services is not None else None
        return service is not None and service.action is not Action.WATCH


def _bucket_params(vmac: VmacConfig) -> tuple[int, int, int]:
    macs = vmac.virtual_macs
    return macs.base, macs.mask, int(macs.hash is BucketHash.CRC)
