"""Frames per second over veth pairs, made and counted in the kernel: what a switch between them passes on."""

from bench.wire.way import Passed, Way, connect_bare, make_links, passed

__all__ = ["Passed", "Way", "connect_bare", "make_links", "passed"]
