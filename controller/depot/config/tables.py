"""From TOML tables to the model: one function per table. What only makes sense together is checked in `consistency`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from depot.address import Protocol
from depot.config.host_port import HostPort
from depot.config.model import (
    CostConfig,
    DepotConfig,
    HealthConfig,
    HealthType,
    LogLevel,
    MemberConfig,
    MemberFailure,
    Mode,
    PortConfig,
    RouteConfig,
    SchedulerKind,
    SwitchConfig,
    TlsConfig,
    VipConfig,
)
from depot.config.problems import KeyPath, ProblemList
from depot.config.reader import TableReader
from depot.config.values import (
    Refused,
    boolean,
    choice,
    duration,
    file_path,
    host_port,
    integer,
    ip_address,
    list_of,
    mac_address,
    name,
    network,
    number,
    port_address,
    statuses,
    text,
)

__all__ = ["SwitchDraft", "VipDraft", "read_depot", "read_switch", "read_vip"]

_DAY = 86400.0
_L4_PORT = integer(1, 65535)
_SWITCH_PORT = integer(1, 511)
_CPU_PORT = 255
_GROUP_BIT = 1 << 40
_MAX_WEIGHT = 256
_TCP_IDLE = 900.0
_UDP_IDLE = 60.0
_COEFFICIENT = number(0.0, 1000.0)


@dataclass(frozen=True, slots=True)
class SwitchDraft:
    """A switch and where its parts are in the file, index for index."""

    switch: SwitchConfig
    """The switch, with those of its parts that could be read."""
    path: KeyPath
    """Its table."""
    port_paths: tuple[KeyPath, ...]
    """The tables of `switch.ports`."""
    route_paths: tuple[KeyPath, ...]
    """The tables of `switch.routes`."""
    is_whole: bool
    """Whether all its ports and routes could be read, so that what is missing is missing indeed."""


@dataclass(frozen=True, slots=True)
class VipDraft:
    """A VIP and where its parts are in the file, index for index."""

    vip: VipConfig
    """The VIP, with those of its members that could be read."""
    path: KeyPath
    """Its table."""
    member_paths: tuple[KeyPath, ...]
    """The tables of `vip.members`."""
    says_shared: bool | None
    """What the file says of its sessions being shared in the cluster; None: nothing."""


def read_depot(reader: TableReader | None, base: Path) -> DepotConfig:
    """Read ``[depot]``; without the table everything is at its default. Relative paths start at `base`."""
    default = DepotConfig()
    if reader is None:
        return default
    config = DepotConfig(
        name=reader.optional("name", name, default.name),
        socket=base / reader.optional("socket", file_path, default.socket),
        metrics=reader.optional("metrics", host_port, None),
        log_level=reader.optional("log_level", choice(LogLevel), default.log_level),
    )
    reader.finish()
    return config


def read_switch(reader: TableReader, base: Path) -> SwitchDraft | None:
    """Read ``[[switch]]``; None if others cannot be checked against it."""
    switch_name = reader.required("name", name, "")
    address = reader.required("address", host_port, HostPort("", 0))
    device_id = reader.optional("device_id", integer(1, 2**64 - 1), 1)
    election_id = reader.optional("election_id", integer(1, 2**128 - 1), None)
    tls = _read_tls(reader.table("tls"), base)
    port_tables, route_tables = reader.tables("port"), reader.tables("route")
    ports = [(port, part.path) for part in port_tables if (port := _read_port(part))]
    if not reader.has("port"):
        reader.problems.add(reader.path, "has no port, so no packet could come in; add [[switch.port]]")
    bare = SwitchConfig(switch_name, address, device_id, election_id, tls, tuple(port for port, _ in ports))
    has_all_ports = len(ports) == len(port_tables) and not any(part.is_wrong("addresses") for part in port_tables)
    routes = [(route, part.path) for part in route_tables if (route := _read_route(part, bare, has_all_ports))]
    reader.finish()
    if not reader.usable:
        return None
    switch = SwitchConfig(
        switch_name, address, device_id, election_id, tls, bare.ports, tuple(route for route, _ in routes)
    )
    port_paths, route_paths = (tuple(path for _, path in parts) for parts in (ports, routes))
    return SwitchDraft(switch, reader.path, port_paths, route_paths, has_all_ports and len(routes) == len(route_tables))


def _read_tls(reader: TableReader | None, base: Path) -> TlsConfig | None:
    if reader is None:
        return None
    ca = reader.required("ca", file_path, Path())
    cert = reader.optional("cert", file_path, None)
    key = reader.optional("key", file_path, None)
    if reader.has("cert") != reader.has("key"):
        reader.problems.add(reader.path, '"cert" and "key" belong together; give both or neither')
    reader.finish()
    return TlsConfig(base / ca, base / cert if cert else None, base / key if key else None)


def _router_mac(value: object) -> int:
    mac = mac_address(value)
    if mac & _GROUP_BIT or mac == 0:
        raise Refused(f"{value!r} is a group address or zero; a port needs a unicast MAC like 02:00:00:00:00:01")
    return mac


def _port_number(value: object) -> int:
    number_given = _SWITCH_PORT(value)
    if number_given == _CPU_PORT:
        raise Refused(f"port {_CPU_PORT} is the controller's own (the CPU port)")
    return number_given


def _read_port(reader: TableReader) -> PortConfig | None:
    port = PortConfig(
        number=reader.required("number", _port_number, 0),
        mac=reader.required("mac", _router_mac, 0),
        addresses=reader.optional("addresses", list_of(port_address), ()),
        mtu=reader.optional("mtu", integer(1280, 9216), 1500),
    )
    reader.finish()
    return port if reader.usable else None


def _read_route(reader: TableReader, switch: SwitchConfig, has_all_ports: bool) -> RouteConfig | None:
    prefix = reader.required("prefix", network, None)
    via = reader.vital("via", ip_address, None)
    port = reader.vital("port", _SWITCH_PORT, None)
    reader.finish()
    if not reader.usable or prefix is None:
        return None
    if port is None and via is None:
        reader.problems.add(reader.path, 'needs "via" (the next hop) or "port" (the destinations are on-link)')
        return None
    found = port
    if port is not None and port not in {known.number for known in switch.ports}:
        found = None
        key, message = "port", f"switch {switch.name} has no port {port}; add its [[switch.port]]"
    elif port is None and via is not None:
        towards = switch.port_towards(via)
        found = towards.number if towards else None
        key = "via"
        message = (
            "no port has this address on-link; correct it, give a port an address in its network, or name the port"
        )
    if found is None and has_all_ports:
        reader.problems.add((*reader.path, key), message)
    return None if found is None else RouteConfig(prefix, found, via)


def _protocol(value: object) -> Protocol:
    known = {protocol.name.lower(): protocol for protocol in Protocol}
    given = text(value).lower()
    if given not in known:
        raise Refused(f'{value!r} is unknown; use "tcp" or "udp"')
    return known[given]


def read_vip(reader: TableReader) -> VipDraft | None:
    """Read ``[[vip]]``; None if others cannot be checked against it."""
    protocol = reader.vital("protocol", _protocol, Protocol.TCP)
    transparent = reader.vital("transparent", boolean, False)
    mode = reader.vital("mode", choice(Mode), Mode.DSR if transparent else Mode.NAT)
    address, port = _read_endpoint(reader, transparent, mode)
    members = [
        (member, part.path)
        for part in reader.tables("member")
        if (member := _read_member(part, mode, port, transparent))
    ]
    if not reader.has("member"):
        reader.problems.add(reader.path, "has no member; add [[vip.member]], with weight = 0 to give it no sessions")
    says_shared = reader.optional("shared", boolean, None)
    vip = VipConfig(
        name=reader.required("name", name, ""),
        address=address,
        port=port,
        protocol=protocol,
        mode=mode,
        scheduler=reader.optional("scheduler", choice(SchedulerKind), SchedulerKind.ROUND_ROBIN),
        tunnel_source=reader.optional("tunnel_source", ip_address, None),
        slow_start=reader.optional("slow_start", duration(0, _DAY), 0.0),
        on_member_failure=reader.optional("on_member_failure", choice(MemberFailure), MemberFailure.DROP),
        time_wait=reader.optional("time_wait", duration(1, 3600), 60.0),
        idle_timeout=reader.optional("idle_timeout", duration(1, 7 * _DAY), _idle_default(protocol)),
        handshake_timeout=reader.optional("handshake_timeout", duration(1, 600), 30.0),
        members=tuple(member for member, _ in members),
        health=_read_health(reader.table("health"), protocol, has_port=not transparent),
        cost=_read_cost(reader.table("cost"), has_port=not transparent),
        transparent=transparent,
    )
    reader.finish()
    draft = VipDraft(vip, reader.path, tuple(path for _, path in members), says_shared)
    if not reader.is_wrong("mode"):
        _check_tunnel(draft, reader)
    if not reader.is_wrong("scheduler"):
        _check_scheduler(draft, reader.problems)
    return draft if reader.usable else None


def _read_endpoint(reader: TableReader, transparent: bool, mode: Mode) -> tuple[int, int]:
    """Address and port, which a transparent VIP must not have."""
    if not transparent:
        return reader.required("address", ip_address, 0), reader.required("port", _L4_PORT, 0)
    for key in ("address", "port"):
        reader.optional(key, lambda value: value, None)
        if reader.has(key):
            message = "a transparent VIP takes what [[policy]] sends to it, whatever its destination; leave it out"
            reader.problems.add((*reader.path, key), message)
    if mode is not Mode.DSR:
        message = 'a transparent VIP\'s members get packets as they are; leave it out, or say mode = "dsr"'
        reader.problems.add((*reader.path, "mode"), message)
    return 0, 0


def _check_tunnel(draft: VipDraft, reader: TableReader) -> None:
    mode = draft.vip.mode
    if mode is not Mode.IPIP and reader.has("tunnel_source"):
        reader.problems.add((*reader.path, "tunnel_source"), f'has no meaning in mode "{mode.value}", only in "ipip"')
    if mode is Mode.IPIP and not reader.has("tunnel_source"):
        message = 'mode "ipip" needs "tunnel_source": the outer source address that the members\' tunnels expect'
        reader.problems.add(reader.path, message)


def _check_scheduler(draft: VipDraft, problems: ProblemList) -> None:
    vip, cost = draft.vip, draft.vip.cost
    if vip.scheduler is SchedulerKind.ROUND_ROBIN:
        for member, path in zip(vip.members, draft.member_paths, strict=True):
            if member.weight > 1:
                message = 'scheduler "round-robin" knows no weights; use "weighted-round-robin"'
                problems.add((*path, "weight"), message)
    if vip.scheduler is not SchedulerKind.COST:
        return
    reported = {
        "cache_size": cost.cache_size,
        "disk_bandwidth": cost.disk_bandwidth,
        "cpu_load": cost.cpu_load,
        "pending_requests": cost.pending_requests,
    }
    if not any(reported.values()) and not cost.response_time and not cost.active_requests:
        problems.add((*draft.path, "cost"), "every coefficient is 0, so nothing would count; give one a value")
    for key, coefficient in reported.items():
        if coefficient and cost.report_path is None:
            message = 'only members know this metric; give "report_path", where they report it'
            problems.add((*draft.path, "cost", key), message)


def _idle_default(protocol: Protocol) -> float:
    return _UDP_IDLE if protocol is Protocol.UDP else _TCP_IDLE


def _read_member(reader: TableReader, mode: Mode, vip_port: int, transparent: bool) -> MemberConfig | None:
    member = MemberConfig(
        name=reader.required("name", name, ""),
        address=reader.required("address", ip_address, 0),
        port=reader.vital("port", _L4_PORT, vip_port),
        weight=reader.optional("weight", integer(0, _MAX_WEIGHT), 1),
    )
    reader.finish()
    if transparent and reader.has("port"):
        message = "a transparent VIP's members take any port; leave it out ([vip.health] has a port of its own)"
        reader.problems.add((*reader.path, "port"), message)
    elif reader.usable and mode is not Mode.NAT and vip_port and member.port != vip_port:
        message = f'in mode "{mode.value}" packets keep the VIP\'s port {vip_port}; leave "port" out, or use mode "nat"'
        reader.problems.add((*reader.path, "port"), message)
    return member if reader.usable else None


def _read_health(reader: TableReader | None, protocol: Protocol, *, has_port: bool) -> HealthConfig:
    """Read ``[vip.health]``. has_port: whether members have a port to be checked at unless another is given."""
    is_tcp = protocol is Protocol.TCP
    has_port = has_port or (reader is not None and reader.has("port"))
    default = HealthConfig(type=HealthType.TCP if is_tcp and has_port else HealthType.NONE)
    if reader is None:
        return HealthConfig(type=default.type, passive=is_tcp)
    health = HealthConfig(
        type=reader.optional("type", choice(HealthType), default.type),
        interval=reader.optional("interval", duration(0.1, 3600), default.interval),
        timeout=reader.optional("timeout", duration(0.05, 600), default.timeout),
        rise=reader.optional("rise", integer(1, 100), default.rise),
        fall=reader.optional("fall", integer(1, 100), default.fall),
        path=reader.optional("path", _http_path, default.path),
        host=reader.optional("host", _header_text, None),
        expect=reader.optional("expect", statuses, default.expect),
        port=reader.optional("port", _L4_PORT, None),
        source=reader.optional("source", ip_address, None),
        passive=reader.optional("passive", boolean, is_tcp),
        passive_timeout=reader.optional("passive_timeout", duration(0.1, 600), default.passive_timeout),
        passive_fall=reader.optional("passive_fall", integer(1, 1000), default.passive_fall),
        passive_retry=reader.optional("passive_retry", duration(0.1, 3600), default.passive_retry),
    )
    if not is_tcp and health.passive:
        reader.problems.add((*reader.path, "passive"), "UDP has no SYN whose answer could be missed; leave it out")
    for key in ("path", "host", "expect"):
        if reader.has(key) and health.type is not HealthType.HTTP and not reader.is_wrong("type"):
            reader.problems.add((*reader.path, key), 'has no meaning without type = "http"')
    if health.type is not HealthType.NONE and not has_port:
        message = 'a transparent VIP\'s members have no port of their own; give "port", where the proxy can be asked'
        reader.problems.add((*reader.path, "type"), message)
    reader.finish()
    return health


def _http_path(value: object) -> str:
    path = _header_text(value)
    if not path.startswith("/"):
        raise Refused(f'{path!r} must start with "/"')
    return path


def _header_text(value: object) -> str:
    given = text(value)
    if not given.isascii() or not given.isprintable() or " " in given:
        raise Refused(f"{given!r} must be printable ASCII without spaces")
    return given


def _read_cost(reader: TableReader | None, *, has_port: bool) -> CostConfig:
    default = CostConfig()
    if reader is None:
        return default
    cost = CostConfig(
        cache_size=reader.optional("cache_size", _COEFFICIENT, 0.0),
        disk_bandwidth=reader.optional("disk_bandwidth", _COEFFICIENT, 0.0),
        response_time=reader.optional("response_time", _COEFFICIENT, 0.0),
        cpu_load=reader.optional("cpu_load", _COEFFICIENT, 0.0),
        active_requests=reader.optional("active_requests", _COEFFICIENT, 0.0),
        pending_requests=reader.optional("pending_requests", _COEFFICIENT, 0.0),
        report_path=reader.optional("report_path", _http_path, None),
        report_port=reader.optional("report_port", _L4_PORT, None),
        report_interval=reader.optional("report_interval", duration(0.1, 3600), default.report_interval),
    )
    if cost.report_path is not None and cost.report_port is None and not has_port:
        message = 'a transparent VIP\'s members have no port of their own; give "report_port"'
        reader.problems.add((*reader.path, "report_path"), message)
    reader.finish()
    return default if reader.has_wrong() else cost
