"""Converters from TOML values to ours. Each takes one value and returns it converted, or raises `Refused`."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TypeVar

from depot import address
from depot.config.host_port import HostPort
from depot.config.problems import KeyPath

__all__ = [
    "Refused",
    "boolean",
    "choice",
    "duration",
    "file_path",
    "host_port",
    "integer",
    "ip_address",
    "list_of",
    "mac_address",
    "name",
    "network",
    "number",
    "port_address",
    "statuses",
    "suggestion",
    "text",
]

T = TypeVar("T")
E = TypeVar("E", bound=Enum)
A = TypeVar("A")

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Refused(Exception):
    """A value that will not do; `inside` leads from the value to the part that is wrong."""

    def __init__(self, message: str, inside: KeyPath = ()) -> None:
        self.message = message
        self.inside = inside
        super().__init__(message)


def _describe(value: object) -> str:
    kinds = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "a list", dict: "a table"}
    return kinds.get(type(value), "a date or time")


def suggestion(word: str, known: list[str]) -> str:
    """Return `; did you mean "x"?` for the known word most like the given one, or the known words."""
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f'; did you mean "{close[0]}"?'
    return "; known here: " + ", ".join(known)


def text(value: object) -> str:
    """A string that is not empty."""
    if not isinstance(value, str):
        raise Refused(f"must be a string, not {_describe(value)}")
    if not value:
        raise Refused("must not be empty")
    return value


def name(value: object) -> str:
    """A name that is safe in logs, metrics and on a command line."""
    given = text(value)
    if not _NAME.fullmatch(given):
        raise Refused(
            f"{given!r} is no name; use 1 to 64 letters, digits, dots, dashes, underscores, no sign at its ends"
        )
    return given


def boolean(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise Refused(f"must be true or false, not {_describe(value)}")
    return value


def integer(low: int, high: int) -> Callable[[object], int]:
    """An integer from low to high."""

    def convert(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Refused(f"must be an integer, not {_describe(value)}")
        if not low <= value <= high:
            raise Refused(f"{value} is out of range; use {low} to {high}")
        return value

    return convert


def number(low: float, high: float) -> Callable[[object], float]:
    """An integer or float from low to high."""

    def convert(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Refused(f"must be a number, not {_describe(value)}")
        if not math.isfinite(value) or not low <= value <= high:
            raise Refused(f"{value} is out of range; use {low:g} to {high:g}")
        return float(value)

    return convert


def duration(low: float, high: float) -> Callable[[object], float]:
    """Seconds, written with units: ``"500ms"``, ``"30s"``, ``"15m"``, ``"1h30m"``; from low to high seconds."""

    def convert(value: object) -> float:
        if not isinstance(value, str):
            raise Refused(f'must be a duration with its unit like "30s", "500ms" or "15m", not {_describe(value)}')
        parts = _DURATION_PART.findall(value)
        if "".join(amount + unit for amount, unit in parts) != value or not parts:
            raise Refused(f'{value!r} is no duration; write a number and a unit (ms, s, m, h, d) like "30s" or "1h30m"')
        seconds = sum(float(amount) * _UNIT_SECONDS[unit] for amount, unit in parts)
        if not low <= seconds <= high:
            raise Refused(f'{value!r} is out of range; use "{format_duration(low)}" to "{format_duration(high)}"')
        return seconds

    return convert


def format_duration(seconds: float) -> str:
    """Return seconds as the longest unit that fits exactly: ``"15m"``."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g}ms"
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNIT_SECONDS[unit] == 0:
            return f"{seconds / _UNIT_SECONDS[unit]:g}{unit}"
    return f"{seconds:g}s"


def choice(kind: type[E]) -> Callable[[object], E]:
    """A member of an Enum, by its value, case ignored."""
    known = [str(member.value) for member in kind]

    def convert(value: object) -> E:
        given = text(value)
        if given.lower() not in known:
            raise Refused(f"{given!r} is unknown{suggestion(given, known)}")
        return next(member for member in kind if member.value == given.lower())

    return convert


def _parsed(parse: Callable[[str], A]) -> Callable[[object], A]:
    def convert(value: object) -> A:
        try:
            return parse(text(value))
        except address.AddressError as error:
            raise Refused(str(error)) from None

    return convert


ip_address = _parsed(address.parse_address)
mac_address = _parsed(address.parse_mac)
network = _parsed(address.parse_prefix)
port_address = _parsed(address.parse_interface)


def host_port(value: object) -> HostPort:
    """``host:port``; an IPv6 address in brackets."""
    given = text(value)
    host, colon, port = given.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host) != bracketed:
        raise Refused(f"{given!r} must be host:port, like 127.0.0.1:9559 or [::1]:9559")
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise Refused(f"{given!r} has no port between 1 and 65535")
    return HostPort(host[1:-1] if bracketed else host, int(port))


def file_path(value: object) -> Path:
    """A path."""
    return Path(text(value))


def list_of(convert: Callable[[object], T]) -> Callable[[object], tuple[T, ...]]:
    """A list whose elements all convert; the first that does not is named by its index."""

    def convert_all(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise Refused(f"must be a list, not {_describe(value)}")
        done = []
        for index, element in enumerate(value):
            try:
                done.append(convert(element))
            except Refused as refused:
                raise Refused(refused.message, (index, *refused.inside)) from None
        return tuple(done)

    return convert_all


def statuses(value: object) -> tuple[int, ...]:
    """One HTTP status or a list of them."""
    if not isinstance(value, list):
        return (integer(100, 599)(value),)
    found = list_of(integer(100, 599))(value)
    if not found:
        raise Refused("must name at least one status")
    return found
