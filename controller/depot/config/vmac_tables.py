"""From ``[vmac]`` to its model, and what it must have in common with the rest of the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from depot.address import format_address
from depot.config.host_port import HostPort
from depot.config.problems import KeyPath, ProblemList
from depot.config.reader import TableReader
from depot.config.tables import SwitchDraft
from depot.config.values import (
    Refused,
    choice,
    duration,
    file_path,
    host_port,
    integer,
    ip_address,
    list_of,
    mac_address,
    name,
    number,
    text,
)
from depot.config.vmac_model import DispatchMode, GatewayConfig, VmacConfig
from depot.vmac.hashing import BucketHash, VirtualMacs
from depot.vmac.settings import MAX_NAME, Algorithm

__all__ = ["VmacDraft", "check_vmac", "read_vmac"]

T = TypeVar("T")

_BASE = 0x028888888800
_MOST_PACKETS = 1e12
_CAPACITY = number(1.0, _MOST_PACKETS)
_OF_SELF = ("name", "listen", "key", "learning_interval", "capacity", "load_command")


@dataclass(frozen=True, slots=True)
class VmacDraft:
    """The gateways and where they are in the file."""

    vmac: VmacConfig
    """Those that could be read."""
    path: KeyPath
    """Their table."""
    gateway_paths: tuple[KeyPath, ...]
    """The tables of `vmac.gateways`."""


def read_vmac(reader: TableReader | None, base: Path) -> VmacDraft | None:
    """Read ``[vmac]``; None if it is not there, or others cannot be checked against it."""
    if reader is None:
        return None
    mode = reader.vital("mode", choice(DispatchMode), DispatchMode.SELF)
    is_self = mode is DispatchMode.SELF
    gateways = [(one, part.path) for part in reader.tables("gateway") if (one := _read_gateway(part, is_self))]
    if not is_self and not reader.has("gateway"):
        reader.problems.add(reader.path, "has no gateway; add [[vmac.gateway]] with its name and via")
    vmac = VmacConfig(
        addresses=reader.required("addresses", _some(ip_address), ()),
        virtual_macs=_read_virtual_macs(reader),
        ports=reader.required("ports", _some(integer(1, 511)), ()),
        switch=reader.optional("switch", name, ""),
        mode=mode,
        name=_of_self(reader, is_self, "name", name, ""),
        listen=_of_self(reader, is_self, "listen", host_port, None),
        key=base / _of_self(reader, is_self, "key", file_path, Path()),
        balancing=reader.optional("balancing", choice(Algorithm), Algorithm.BALANCED),
        report_interval=reader.optional("report_interval", duration(0.05, 60), 0.5),
        decision_interval=reader.optional("decision_interval", duration(0.05, 600), 1.0),
        threshold=reader.optional("threshold", number(0.0, 1.0), 0.1),
        subset=reader.optional("subset", integer(1, 4096), 4),
        learning_interval=reader.optional("learning_interval", duration(1, 3600), 60.0),
        capacity=reader.optional("capacity", _CAPACITY, None),
        load_command=reader.optional("load_command", list_of(text), ()),
        gateways=tuple(one for one, _ in gateways),
    )
    if not is_self:
        _refuse(reader, _OF_SELF, 'has no meaning with mode = "switch", where no gateway runs a depot; leave it out')
    reader.finish()
    return VmacDraft(vmac, reader.path, tuple(path for _, path in gateways)) if reader.usable else None


def _some(convert: Callable[[object], T]) -> Callable[[object], tuple[T, ...]]:
    """A list of at least one."""

    def convert_some(value: object) -> tuple[T, ...]:
        found = list_of(convert)(value)
        if not found:
            raise Refused("is empty; list at least one")
        return found

    return convert_some


def _of_self(reader: TableReader, is_self: bool, key: str, convert: Callable[[object], T], stand_in: T) -> T:
    """A key that only a gateway that dispatches itself has."""
    return reader.required(key, convert, stand_in) if is_self else stand_in


def _refuse(reader: TableReader, keys: Sequence[str], message: str) -> None:
    for key in keys:
        reader.optional(key, lambda value: value, None)
        if reader.has(key):
            reader.problems.add((*reader.path, key), message)


def _read_virtual_macs(reader: TableReader) -> VirtualMacs:
    base = reader.optional("base", mac_address, _BASE)
    count = reader.optional("count", integer(1, 4096), 256)
    method = reader.optional("hash", choice(BucketHash), BucketHash.CRC)
    try:
        return VirtualMacs(base, count, method)
    except ValueError as error:
        reader.problems.add((*reader.path, "count" if count & (count - 1) else "base"), str(error))
        reader.usable = False
        return VirtualMacs(_BASE, 256, method)


def _read_gateway(reader: TableReader, is_self: bool) -> GatewayConfig | None:
    gateway = GatewayConfig(
        name=reader.required("name", name, ""),
        address=reader.required("address", host_port, None) if is_self else None,
        via=0 if is_self else reader.required("via", ip_address, 0),
        capacity=None if is_self else reader.optional("capacity", _CAPACITY, None),
    )
    reader.finish()
    return gateway if reader.usable else None


def check_vmac(draft: VmacDraft | None, switches: Sequence[SwitchDraft], problems: ProblemList) -> VmacConfig | None:
    """Note every contradiction with the rest of the file; return the gateways with their switch named."""
    if draft is None:
        return None
    vmac = draft.vmac
    found = [one for one in switches if vmac.switch in ("", one.switch.name)]
    if vmac.switch and not found:
        problems.add((*draft.path, "switch"), f"there is no switch {vmac.switch}")
    elif len(found) > 1:
        problems.add(draft.path, 'there are several switches; say whose ports these are, switch = "its name"')
    if len(found) != 1:
        return vmac
    _check_ports(draft, found[0], problems)
    _check_addresses(draft, found[0], problems)
    _check_gateways(draft, found[0], problems)
    return replace(vmac, switch=found[0].switch.name)


def _check_ports(draft: VmacDraft, switch: SwitchDraft, problems: ProblemList) -> None:
    known = {port.number: port for port in switch.switch.ports}
    for index, number_given in enumerate(draft.vmac.ports):
        if number_given in draft.vmac.ports[:index]:
            problems.add((*draft.path, "ports", index), f"{number_given} is there already; list each port once")
        if number_given not in known and switch.is_whole:
            problems.add((*draft.path, "ports", index), f"switch {switch.switch.name} has no port {number_given}")
    for port, path in zip(switch.switch.ports, switch.port_paths, strict=True):
        if draft.vmac.virtual_macs.bucket_of(port.mac) is not None:
            message = "is one of the virtual MACs of [vmac]; give the port another, or [vmac] another base"
            problems.add((*path, "mac"), message)


def _check_addresses(draft: VmacDraft, switch: SwitchDraft, problems: ProblemList) -> None:
    lan = [port for port in switch.switch.ports if port.number in draft.vmac.ports]
    own = {one.address for port in switch.switch.ports for one in port.addresses}
    for index, address in enumerate(draft.vmac.addresses):
        path, shown = (*draft.path, "addresses", index), format_address(address)
        if address in draft.vmac.addresses[:index]:
            problems.add(path, f"{shown} is there already; list each address once")
        if address in own:
            message = f"{shown} is the port's own address; a gateway needs one of its own beside the shared one"
            problems.add(path, message)
        elif lan and not any(address in one.prefix for port in lan for one in port.addresses):
            problems.add(path, f"{shown} is in no network of the ports {', '.join(map(str, draft.vmac.ports))}")


def _check_gateways(draft: VmacDraft, switch: SwitchDraft, problems: ProblemList) -> None:
    given = [draft.vmac.name, *(gateway.name for gateway in draft.vmac.gateways)]
    for one, path in zip(given, (draft.path, *draft.gateway_paths), strict=True):
        if len(one) > MAX_NAME:
            problems.add((*path, "name"), f"has {len(one)} letters; a gateway's name has {MAX_NAME} at most")
    names: dict[str, KeyPath] = {draft.vmac.name: (*draft.path, "name")} if draft.vmac.name else {}
    addresses: set[HostPort | None] = {draft.vmac.listen}
    taken = {*draft.vmac.addresses, *(one.address for port in switch.switch.ports for one in port.addresses)}
    for gateway, path in zip(draft.vmac.gateways, draft.gateway_paths, strict=True):
        if gateway.name in names:
            problems.add((*path, "name"), f"gateway {gateway.name} is there already; list the others only, each once")
        names[gateway.name] = path
        if gateway.address is not None and gateway.address in addresses:
            problems.add((*path, "address"), f"{gateway.address} is another gateway's address, or our own")
        if gateway.address is not None:
            addresses.add(gateway.address)
        if draft.vmac.mode is DispatchMode.SWITCH:
            if gateway.via in taken:
                message = f"{format_address(gateway.via)} is the switch's, the shared one or another gateway's"
                problems.add((*path, "via"), message)
            taken.add(gateway.via)
        if gateway.address is None and switch.is_whole and switch.switch.port_towards(gateway.via) is None:
            message = f"no port has {format_address(gateway.via)} on-link; give one an address in its network"
            problems.add((*path, "via"), message)
