"""The whole network's connections as rows: which way each goes, and whose it is."""

from __future__ import annotations

import pytest

from depot.address import Endpoint, FlowKey, parse_address
from depot.cluster import Claim, ConnectionAction
from depot.config import PolicyAction, PolicyConfig
from depot.daemon.cluster_answers import connection_row
from depot.p4runtime.codec import Count
from depot.p4runtime.entry import connection_key
from depot.switching.access_policy import AccessPolicy

CLIENT, SERVER = Endpoint(parse_address("10.1.0.5"), 4000), Endpoint(parse_address("198.51.100.1"), 80)
FLOW = FlowKey.between(CLIENT, SERVER, 6)
WEB = PolicyConfig("web", PolicyAction.INTERCEPT, ports=((80, 80),), to="squid")


def row(
    source: Endpoint, action: ConnectionAction = ConnectionAction.FORWARD, *rules: PolicyConfig
) -> dict[str, object]:
    claim = Claim(FLOW, "b", action, source == FLOW.high, 90.0)
    counts = {connection_key(FLOW): Count(3, 200)}
    return connection_row(claim, AccessPolicy(rules, "a"), counts, 100.0)


@pytest.mark.parametrize(
    ("source", "rules", "direction"),
    [
        (CLIENT, (WEB,), "inbound"),  # a client that was intercepted
        (SERVER, (WEB,), "outbound"),  # a server that a proxy asked: its packets are the owner's
        (CLIENT, (), "inbound"),  # a VIP's client
    ],
)
def test_which_way_a_connection_goes(source: Endpoint, rules: tuple[PolicyConfig, ...], direction: str) -> None:
    found = row(source, ConnectionAction.FORWARD, *rules)
    assert (found["direction"], found["client"], found["server"]) == (direction, "10.1.0.5:4000", "198.51.100.1:80")


def test_what_else_is_told() -> None:
    found = row(CLIENT, ConnectionAction.BYPASS, WEB)
    told = {key: found[key] for key in ("owner", "action", "direction", "protocol", "age", "packets", "bytes")}
    assert told == {
        "owner": "b", "action": "bypass", "direction": "through", "protocol": "tcp", "age": 10.0, "packets": 3,
        "bytes": 200,
    }  # fmt: skip


def test_what_does_not_pass_here_has_no_bytes() -> None:
    claim = Claim(FLOW, "b", ConnectionAction.FORWARD, False, 90.0)
    assert connection_row(claim, AccessPolicy((), "a"), {}, 100.0)["bytes"] is None
