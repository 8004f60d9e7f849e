"""Where frames come from and go to: network interfaces, TAP interfaces, queues in memory."""

from softswitch.ports.memory import MemoryPort
from softswitch.ports.packet_socket import PacketSocketPort
from softswitch.ports.port import Port, PortError, PortStats
from softswitch.ports.spec import check_distinct, parse_port
from softswitch.ports.tap import TapPort

__all__ = [
    "MemoryPort",
    "PacketSocketPort",
    "Port",
    "PortError",
    "PortStats",
    "TapPort",
    "check_distinct",
    "parse_port",
]
