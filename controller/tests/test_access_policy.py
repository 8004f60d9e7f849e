"""The access policy as entries: which packets of which connections meet which action."""

from __future__ import annotations

import pytest

from depot.address import Endpoint, FlowKey, parse_address
from depot.config.cluster_model import PolicyAction, PolicyConfig
from depot.config.cluster_tables import read_policy
from depot.config.problems import ProblemList
from depot.config.reader import TableReader
from depot.p4runtime.entry import Action, Entry
from depot.switching.access_policy import AccessPolicy, InterceptingService

SQUID = InterceptingService(3, 8, by_hash=False, shared=True)
PEERS = {"b": 42}


def rule(**keys: object) -> PolicyConfig:
    problems = ProblemList({})
    draft = read_policy(TableReader({"name": "r", **keys}, (), problems))
    assert draft is not None, problems.in_order()
    return draft.policy


def packet_action(
    entries: list[Entry], source: tuple[str, int], destination: tuple[str, int], protocol: int, *, opens: bool
) -> tuple[Action, tuple[int, ...]] | None:
    """What the table does with a packet: P4Runtime's matching, written once more."""
    src, dst = parse_address(source[0]), parse_address(destination[0])
    best: tuple[int, Entry] | None = None
    for entry in entries:
        port, _, sa, sm, da, dm, sp0, sp1, dp0, dp1, proto, with_proto, opening, with_opening, priority = _fields(entry)
        assert not port
        fits = src & sm == sa and dst & dm == da and sp0 <= source[1] <= sp1 and dp0 <= destination[1] <= dp1
        fits = fits and (not with_proto or proto == protocol) and (not with_opening or opening == int(opens))
        if fits and (best is None or priority > best[0]):
            best = priority, entry
    return None if best is None else (best[1].action, best[1].params)


def _fields(entry: Entry) -> tuple[int, ...]:
    return entry.values


CLIENT, SERVER = ("10.1.0.5", 4000), ("198.51.100.1", 80)


def decide(policy: AccessPolicy, what: str, protocol: int = 6) -> tuple[Action, tuple[int, ...]] | None:
    entries = policy.entries({"squid": SQUID}, PEERS)
    opens = protocol == 17 or what == "opens"
    ends = (SERVER, CLIENT) if what == "answers" else (CLIENT, SERVER)
    return packet_action(entries, *ends, protocol, opens=opens)


INTERCEPT = {"client": "10.1.0.0/16", "port": 80, "protocol": "tcp", "action": "intercept", "to": "squid"}


@pytest.mark.parametrize(
    ("keys", "own_name", "opening", "going_on", "answers"),
    [
        (INTERCEPT, "a", Action.INTERCEPT, Action.INTERCEPT, Action.HOLD),
        (INTERCEPT | {"holder": "a"}, "a", Action.INTERCEPT, Action.INTERCEPT, Action.HOLD),
        (INTERCEPT | {"holder": "b"}, "a", Action.SEND_TO_HOLDER, Action.HOLD, Action.HOLD),
        ({"action": "bypass", "port": 80, "protocol": "tcp"}, "a", Action.BYPASS, Action.HOLD, Action.HOLD),
        ({"action": "bypass", "port": 80, "protocol": "tcp"}, None, Action.BYPASS, Action.BYPASS, Action.BYPASS),
        ({"action": "deny", "port": 80, "protocol": "tcp"}, "a", Action.DENY, Action.DENY, None),
    ],
)
def test_what_a_rule_does_with_a_connections_packets(
    keys: dict[str, object], own_name: str | None, opening: Action, going_on: Action, answers: Action | None
) -> None:
    policy = AccessPolicy([rule(**keys)], own_name)
    found = [decide(policy, what) for what in ("opens", "goes on", "answers")]
    assert [one and one[0] for one in found] == [opening, going_on, answers]
    assert decide(policy, "opens", protocol=17) is None


def test_datagrams_to_the_server_are_decided_and_those_back_held() -> None:
    policy = AccessPolicy([rule(action="bypass", protocol="udp", port=80)], "a")
    assert decide(policy, "opens", 17) == (Action.BYPASS, (1,))
    assert decide(policy, "answers", 17) == (Action.HOLD, ())
    unshared = AccessPolicy([rule(action="bypass", protocol="udp", port=80)], None)
    assert decide(unshared, "opens", 17) == decide(unshared, "answers", 17) == (Action.BYPASS, (0,))


def test_interception_names_the_service_and_holding_the_peer() -> None:
    assert decide(AccessPolicy([rule(**INTERCEPT)], "a"), "opens") == (Action.INTERCEPT, (3, 8, 1))
    assert decide(AccessPolicy([rule(**INTERCEPT, holder="b")], "a"), "opens") == (Action.SEND_TO_HOLDER, (42,))


def test_the_first_rule_that_fits_decides() -> None:
    first = rule(action="bypass", client="10.1.0.0/24", protocol="tcp")
    policy = AccessPolicy([first, rule(**INTERCEPT), rule(action="deny")], "a")
    assert decide(policy, "opens") == (Action.BYPASS, (1,))
    assert decide(AccessPolicy([rule(**INTERCEPT), first], "a"), "opens") == (Action.INTERCEPT, (3, 8, 1))
    assert decide(policy, "opens", 17) == (Action.DENY, ())
    # what comes back is the first rule's too, although the last would deny it
    assert decide(policy, "answers") == (Action.HOLD, ())


def test_prefixes_meet_within_their_family_only() -> None:
    both = rule(
        action="deny", client=["10.0.0.0/8", "2001:db8:1::/48"], server=["198.51.100.0/24", "2001:db8:2::/48"],
        port=[80, "8000-8001"], protocol="tcp",
    )  # fmt: skip
    entries = AccessPolicy([both], "a").entries({}, {})
    assert len(entries) == 2 * 2
    assert packet_action(entries, ("2001:db8:1::5", 1), ("2001:db8:2::1", 8001), 6, opens=True) == (Action.DENY, ())
    assert packet_action(entries, ("2001:db8:1::5", 1), ("2001:db8:3::1", 80), 6, opens=True) is None


def test_a_service_or_holder_that_is_not_there_fails_closed() -> None:
    for broken in (rule(**INTERCEPT | {"to": "gone"}), rule(**INTERCEPT, holder="z")):
        entries = AccessPolicy([broken], "a").entries({"squid": SQUID}, PEERS)
        assert packet_action(entries, CLIENT, SERVER, 6, opens=True) == (Action.DENY, ())


def test_single_connections_are_asked_about() -> None:
    policy = AccessPolicy([rule(**INTERCEPT), rule(action="bypass", protocol="tcp")], "a")
    client, server = (Endpoint(parse_address(address), port) for address, port in (CLIENT, SERVER))
    found = policy.rule_for(client, server, 6)
    assert found is not None
    assert found.action is PolicyAction.INTERCEPT
    backwards = policy.rule_for(server, client, 6)
    assert backwards is not None
    assert backwards.action is PolicyAction.BYPASS
    flow = FlowKey.between(client, server, 6)
    assert policy.rule_of_flow(flow) == (found, flow.high == client)
    assert policy.rule_for(client, server, 17) is None
