"""A compiled P4 program as typed, frozen values: what engines are made from."""

from softswitch.program.program import Program
from softswitch.program.read_program import DeviceConfig, read_program

__all__ = ["DeviceConfig", "Program", "read_program"]
