"""What must fit together: names, endpoints, families, ways to the members. Reads drafts, notes problems."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple

from depot.address import Endpoint, InterfaceAddress, Prefix, Protocol, format_address, same_family
from depot.config.model import MemberConfig, Mode, SwitchConfig, VipConfig
from depot.config.problems import KeyPath, ProblemList, format_path
from depot.config.tables import SwitchDraft, VipDraft

__all__ = ["check_consistency"]


def check_consistency(switches: list[SwitchDraft], vips: list[VipDraft], problems: ProblemList) -> None:
    """Note every contradiction between parts that each read well by themselves."""
    _refuse_repeats(
        (_Claim(d.switch.name, (*d.path, "name"), f"switch name {d.switch.name}") for d in switches), problems
    )
    _refuse_repeats((_Claim(d.vip.name, (*d.path, "name"), f"VIP name {d.vip.name}") for d in vips), problems)
    _refuse_repeats(
        (
            _Claim((str(d.switch.address), d.switch.device_id), (*d.path, "device_id"), f"device {d.switch.device_id}")
            for d in switches
        ),
        problems,
    )
    for switch in switches:
        _check_ports(switch, problems)
        _check_routes(switch, problems)
    _check_vip_endpoints(switches, vips, problems)
    _check_ways_back(vips, problems)
    for vip in vips:
        _check_members(vip, problems)
        _check_member_addresses(vip, switches, vips, problems)
        _check_reach(vip, switches, problems)


class _Claim(NamedTuple):
    """Something that only one part of the file may have."""

    value: Hashable
    path: KeyPath
    text: str


def _refuse_repeats(claims: Iterable[_Claim], problems: ProblemList) -> None:
    first: dict[Hashable, KeyPath] = {}
    for claim in claims:
        if claim.value in first:
            problems.add(claim.path, f"{claim.text} is taken already {_place(first[claim.value], problems)}")
        else:
            first[claim.value] = claim.path


def _place(path: KeyPath, problems: ProblemList) -> str:
    return f"by {format_path(path)} (line {problems.line(path)})"


def _check_ports(draft: SwitchDraft, problems: ProblemList) -> None:
    ports = list(zip(draft.switch.ports, draft.port_paths, strict=True))
    _refuse_repeats((_Claim(p.number, (*path, "number"), f"port {p.number}") for p, path in ports), problems)
    _refuse_repeats(
        (
            _Claim(interface.address, (*path, "addresses", index), f"address {format_address(interface.address)}")
            for port, path in ports
            for index, interface in enumerate(port.addresses)
        ),
        problems,
    )
    _refuse_repeats(
        (
            _Claim(prefix, (*path, "addresses", index), f"on-link network {prefix}")
            for port, path in ports
            for index, prefix in _networks(port.addresses)
        ),
        problems,
    )


def _networks(addresses: tuple[InterfaceAddress, ...]) -> Iterable[tuple[int, Prefix]]:
    seen = set()
    for index, interface in enumerate(addresses):
        if interface.prefix not in seen:
            seen.add(interface.prefix)
            yield index, interface.prefix


def _check_routes(draft: SwitchDraft, problems: ProblemList) -> None:
    routes = list(zip(draft.switch.routes, draft.route_paths, strict=True))
    _refuse_repeats((_Claim(r.prefix, (*path, "prefix"), f"prefix {r.prefix}") for r, path in routes), problems)
    on_link = {interface.prefix for port in draft.switch.ports for interface in port.addresses}
    for route, path in routes:
        if route.prefix in on_link:
            problems.add((*path, "prefix"), f"{route.prefix} is on-link already, a port has an address in it")
        if route.via is not None and not same_family(route.via, route.prefix.network) and route.prefix.length:
            problems.add((*path, "via"), f"{format_address(route.via)} is of another family than {route.prefix}")


def _own_addresses(switches: list[SwitchDraft]) -> dict[int, KeyPath]:
    return {
        interface.address: (*path, "addresses", index)
        for draft in switches
        for port, path in zip(draft.switch.ports, draft.port_paths, strict=True)
        for index, interface in enumerate(port.addresses)
    }


def _check_vip_endpoints(switches: list[SwitchDraft], vips: list[VipDraft], problems: ProblemList) -> None:
    _refuse_repeats(
        (
            _Claim(
                (d.vip.endpoint, d.vip.protocol),
                (*d.path, "address"),
                f"{d.vip.protocol.name} {d.vip.endpoint}",
            )
            for d in vips
            if not d.vip.transparent
        ),
        problems,
    )
    own = _own_addresses(switches)
    for draft in vips:
        if not draft.vip.transparent and draft.vip.address in own:
            message = f"{format_address(draft.vip.address)} is a switch port's own address, given"
            place = _place(own[draft.vip.address], problems)
            problems.add((*draft.path, "address"), f"{message} {place}; a VIP needs an address of its own")


def _check_ways_back(vips: list[VipDraft], problems: ProblemList) -> None:
    """A NAT member's endpoint names the VIP its replies come from, so it can belong to one VIP only."""
    first: dict[tuple[Endpoint, Protocol], tuple[str, KeyPath]] = {}
    for draft in vips:
        if draft.vip.mode is not Mode.NAT:
            continue
        for member, path in zip(draft.vip.members, draft.member_paths, strict=True):
            owner, where = first.setdefault((member.endpoint, draft.vip.protocol), (draft.vip.name, path))
            if owner != draft.vip.name:
                message = (
                    f"{draft.vip.protocol.name} {member.endpoint} is a member of VIP {owner} already "
                    f"(line {problems.line(where)}): a NAT member's address and port tell which VIP its replies "
                    'come from; let it serve this VIP at another port or address, or use mode "dsr" or "ipip"'
                )
                problems.add(path, message)


def _check_members(draft: VipDraft, problems: ProblemList) -> None:
    members = list(zip(draft.vip.members, draft.member_paths, strict=True))
    _refuse_repeats((_Claim(m.name, (*path, "name"), f"member name {m.name}") for m, path in members), problems)
    _refuse_repeats((_Claim(m.endpoint, (*path, "address"), f"member {m.endpoint}") for m, path in members), problems)


def _check_member_addresses(
    draft: VipDraft, switches: list[SwitchDraft], vips: list[VipDraft], problems: ProblemList
) -> None:
    own = _own_addresses(switches)
    vip = draft.vip
    if vip.tunnel_source is not None:
        for member in vip.members:
            if not same_family(vip.tunnel_source, member.address):
                message = f"{format_address(vip.tunnel_source)} is of another family than member {member.name}'s "
                problems.add((*draft.path, "tunnel_source"), message + format_address(member.address))
    for member, path in zip(vip.members, draft.member_paths, strict=True):
        at = (*path, "address")
        shown = format_address(member.address)
        if vip.mode is not Mode.IPIP and not vip.transparent and not same_family(member.address, vip.address):
            message = f"{shown} is of another family than the VIP's {format_address(vip.address)}"
            problems.add(at, f'{message}; mode "{vip.mode.value}" keeps the family, mode "ipip" need not')
        elif member.address in own:
            problems.add(at, f"{shown} is a switch port's own address, given {_place(own[member.address], problems)}")
        elif other := _vip_at(member, vip, vips):
            problems.add(at, f"{shown} is the address of VIP {other.name}; give the member's own address")


def _vip_at(member: MemberConfig, vip: VipConfig, vips: list[VipDraft]) -> VipConfig | None:
    """The VIP that packets to a member would end up at; NAT packets only if the port is the VIP's too."""
    for other in (draft.vip for draft in vips if not draft.vip.transparent):
        is_same_service = other.endpoint == member.endpoint and other.protocol == vip.protocol
        if other.address == member.address and (vip.mode is not Mode.NAT or is_same_service):
            return other
    return None


def _check_reach(draft: VipDraft, switches: list[SwitchDraft], problems: ProblemList) -> None:
    """A switch that knows addresses must know a way to each member, and for DSR have it on-link."""
    for member, path in zip(draft.vip.members, draft.member_paths, strict=True):
        for switch in (d.switch for d in switches if d.is_whole and any(port.addresses for port in d.switch.ports)):
            is_on_link = switch.port_towards(member.address) is not None
            at = (*path, "address")
            shown = format_address(member.address)
            if draft.vip.mode is Mode.DSR and not is_on_link and not _has_on_link_route(switch, member.address):
                message = f"{shown} is on-link at no port of switch {switch.name}"
                problems.add(at, f'{message}; mode "dsr" reaches members by their MAC, use "ipip" past a router')
            elif not is_on_link and not any(member.address in route.prefix for route in switch.routes):
                message = f"switch {switch.name} has no way to {shown}"
                problems.add(at, f"{message}; give a port an address in its network or add a [[switch.route]]")


def _has_on_link_route(switch: SwitchConfig, address: int) -> bool:
    return any(address in route.prefix and route.via is None for route in switch.routes)
