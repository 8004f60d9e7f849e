"""The operator's file: `load` it, get a `Config` or a `ConfigError` with every mistake and its line."""

from depot.config.cluster_model import (
    BusKind,
    ClusterConfig,
    EntryMode,
    PeerConfig,
    PolicyAction,
    PolicyConfig,
    SteerKind,
)
from depot.config.host_port import HostPort
from depot.config.load import load, parse
from depot.config.model import (
    Config,
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
from depot.config.problems import ConfigError, Problem

__all__ = [
    "BusKind",
    "ClusterConfig",
    "Config",
    "ConfigError",
    "CostConfig",
    "DepotConfig",
    "EntryMode",
    "HealthConfig",
    "HealthType",
    "HostPort",
    "LogLevel",
    "MemberConfig",
    "MemberFailure",
    "Mode",
    "PeerConfig",
    "PolicyAction",
    "PolicyConfig",
    "PortConfig",
    "Problem",
    "RouteConfig",
    "SchedulerKind",
    "SteerKind",
    "SwitchConfig",
    "TlsConfig",
    "VipConfig",
    "load",
    "parse",
]
