"""Port arguments of the command line: `1@veth1`, `1@tap:NAME`."""

from __future__ import annotations

from collections.abc import Sequence

from softswitch.ports.interface import MAX_NAME
from softswitch.ports.packet_socket import PacketSocketPort
from softswitch.ports.port import Port
from softswitch.ports.tap import TapPort

__all__ = ["check_distinct", "parse_port"]

MAX_PORT = 510
"""Largest number of a port with a wire: v1model's ports are 9 bits wide and 511 is the usual drop port."""


def parse_port(text: str) -> PacketSocketPort | TapPort:
    """The port that `text` names, not opened yet. Raises ValueError saying what is wrong."""
    number_text, at, name = text.partition("@")
    if not at or not number_text.isdecimal():
        raise ValueError(f"{text!r}: a port is NUMBER@INTERFACE, as in 1@veth1 or 1@tap:tap1")
    number = int(number_text)
    if number > MAX_PORT:
        raise ValueError(f"{text!r}: port numbers are 0 to {MAX_PORT}")
    kind, colon, rest = name.partition(":")
    is_tap = bool(colon) and kind == "tap"
    interface = rest if is_tap else name
    if not interface or len(interface.encode()) > MAX_NAME or "/" in interface or any(map(str.isspace, interface)):
        raise ValueError(f"{text!r}: {interface!r} is no interface name (1 to {MAX_NAME} bytes, no blank, no slash)")
    return TapPort(number, interface) if is_tap else PacketSocketPort(number, interface)


def check_distinct(ports: Sequence[Port]) -> None:
    """Raise ValueError when two ports have one number or one interface."""
    for place, port in enumerate(ports):
        for other in ports[:place]:
            if port.number == other.number or port.name == other.name:
                what = "number" if port.number == other.number else "interface"
                text = f"ports {other.number}@{other.name} and {port.number}@{port.name} have the same {what}"
                raise ValueError(text)
