"""Softswitch: a P4Runtime target in pure software that runs a compiled P4 program."""
