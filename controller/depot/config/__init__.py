"""The operator's file: `load` it, get a `Config` or a `ConfigError` with every mistake and its line."""

from depot.config.load import load, parse
from depot.config.model import (
    Config,
    CostConfig,
    DepotConfig,
    HealthConfig,
    HealthType,
    HostPort,
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
    "Config",
    "ConfigError",
    "CostConfig",
    "DepotConfig",
    "HealthConfig",
    "HealthType",
    "HostPort",
    "LogLevel",
    "MemberConfig",
    "MemberFailure",
    "Mode",
    "PortConfig",
    "Problem",
    "RouteConfig",
    "SchedulerKind",
    "SwitchConfig",
    "TlsConfig",
    "VipConfig",
    "load",
    "parse",
]
