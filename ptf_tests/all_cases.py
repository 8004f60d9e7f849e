"""Every packet case, by name."""

from __future__ import annotations

import itertools

from ptf_tests import (
    cases_drops,
    cases_gateways,
    cases_handoff,
    cases_icmp,
    cases_policy,
    cases_responder,
    cases_routing,
    cases_segment_size,
    cases_sessions,
    cases_tunnel,
    cases_virtual_macs,
)
from ptf_tests.case import Case

__all__ = ["CASES"]

_MODULES = (
    cases_sessions,
    cases_icmp,
    cases_responder,
    cases_routing,
    cases_drops,
    cases_tunnel,
    cases_policy,
    cases_handoff,
    cases_segment_size,
    cases_virtual_macs,
    cases_gateways,
)


def _by_name() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for case in itertools.chain.from_iterable(module.cases() for module in _MODULES):
        if case.name in cases or not case.name.isidentifier():
            raise ValueError(f"{case.name!r} names two cases, or is no identifier")
        cases[case.name] = case
    return cases


CASES: dict[str, Case] = _by_name()
