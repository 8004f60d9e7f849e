"""Softswitch: a P4Runtime target in pure software that runs a compiled P4 program.

`Switch.load(p4info, device_config)` gives a switch to use as a library; `softswitch.entities` has what goes into its
tables and `softswitch.errors` what it raises.
"""

from softswitch.switch import Switch

__all__ = ["Switch"]
