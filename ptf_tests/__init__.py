"""Packet tests of the forwarding program: one set of cases, every target."""
