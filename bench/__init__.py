"""Benchmarks: one file each, run by `make bench` or `make bench NAME=forwarding`."""
