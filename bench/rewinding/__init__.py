"""Nanoseconds that one packet takes in an XDP program, on one flow or on many, by BPF_PROG_TEST_RUN.

The kernel does not restore the frame between repeats; `rewinder.bpf.c` does, and then calls the program. What rewinding
itself costs is measured in turns with the program and taken off.
"""

from bench.rewinding.frames import Frames, flow_of_turn
from bench.rewinding.memory import RandomRead
from bench.rewinding.rewinder import Load, Rewinder, Timing, compiled

__all__ = ["Frames", "Load", "RandomRead", "Rewinder", "Timing", "compiled", "flow_of_turn"]
