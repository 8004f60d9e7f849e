"""What the flow cache does beside entries that come and go, through `softswitch.Switch.process`."""

import itertools

import pytest

from depot.program import find_compiled_program
from ptf_tests.case import Outcome, Step
from ptf_tests.library_target import LibraryTarget
from ptf_tests.network import CLIENT, NETWORK, Host
from ptf_tests.services import Service

SECOND = 1_000_000_000


@pytest.mark.parametrize("mode", ["nat", "dsr"])
def test_a_session_that_moved_stays_with_its_new_member_when_it_ends(target: LibraryTarget, mode: str) -> None:
    """Its slot still names the first member; only a successor's slot may overrule the entry of an ended session."""
    service = Service(4, "tcp", mode)
    session = service.session()
    target.load((*NETWORK, *service.entries()))
    begun = Step(session.request("S"), CLIENT.port, out=(session.delivered(0, "S"),), digest=session.new_flow(0, "S"))
    assert target.run(begun) == begun.expected()

    target.load((*NETWORK, *service.entries(), session.known(1, closing=True)))
    stray = Step(session.request("A"), CLIENT.port, out=(session.delivered(1),))
    assert target.run(stray) == stray.expected()

    successor = Step(
        session.request("S", 77), CLIENT.port, out=(session.delivered(1, "S", 77),), digest=session.new_flow(1, "S")
    )
    assert target.run(successor) == successor.expected()
    target.load((*NETWORK, *service.entries(), session.known(0, closing=True)))
    followed = Step(session.request("A", 78), CLIENT.port, out=(session.delivered(1, "A", 78),))
    assert target.run(followed) == followed.expected(), "the old entry must not take the successor's packets"


@pytest.fixture
def timed() -> LibraryTarget:
    """A switch whose time passes when a test says so."""
    return LibraryTarget(find_compiled_program(), "python")


def test_a_session_that_still_needs_its_slot_announces_itself_after_a_second(timed: LibraryTarget) -> None:
    service = Service(4, "tcp", "nat")
    session = service.session()
    timed.load((*NETWORK, *service.entries()))
    data, told = session.request("A"), session.new_flow(0, "A")
    timed.send(CLIENT.port, session.request("S"))
    for seconds, digests in ((0.99, {}), (0.06, {told: 1}), (0.99, {}), (0.06, {told: 1})):
        timed.now_ns += int(seconds * SECOND)
        outcome = timed.send(CLIENT.port, data)
        assert outcome.outputs == {session.delivered(0, "A"): 1}
        assert outcome.digests == digests


def test_a_slot_is_forgotten_a_minute_after_its_last_use(timed: LibraryTarget) -> None:
    service = Service(6, "udp", "nat")
    session = service.session()
    timed.load((*NETWORK, *service.entries()))
    first, second = ({session.delivered(index): 1} for index in range(2))
    for seconds, delivered in ((0, first), (61.3, first), (61.3, first), (61.6, second), (61.6, first)):
        timed.now_ns += int(seconds * SECOND)
        assert timed.send(CLIENT.port, session.request()).outputs == delivered


def test_a_packet_that_comes_with_an_older_time_is_known(timed: LibraryTarget) -> None:
    """Another CPU read the clock before the next unit of time began, and looked at the slot after."""
    service = Service(4, "tcp", "nat")
    session = service.session()
    timed.load((*NETWORK, *service.entries()))
    for timed.now_ns in range(5 * SECOND, 5 * SECOND + 40_000_000, 1_000_000):
        timed.send(CLIENT.port, session.request("S"))
        timed.now_ns -= 10_000_000
        data = timed.send(CLIENT.port, session.request("A"))
        assert data.outputs == {session.delivered(0, "A"): 1}
        assert not data.digests


def test_the_third_session_in_a_set_is_remembered_once_another_is_silent_for_a_second(timed: LibraryTarget) -> None:
    service = Service(4, "tcp", "nat")
    timed.load((*NETWORK, *service.entries()))
    crowd: dict[bytes, Outcome] = {}
    for number in itertools.count():
        third = service.session(number % 30000, Host(CLIENT.port, CLIENT.mac, f"10.0.1.{1 + number % 200}", ""))
        begun = timed.send(CLIENT.port, third.request("S"))
        data = third.request("A")
        outcome = timed.send(CLIENT.port, data)
        if not outcome.outputs:
            break
        assert {port for port, _ in outcome.outputs} == {port for port, _ in begun.outputs}
        crowd[data] = outcome
    assert 200 < len(crowd) < 20000
    assert all(timed.send(CLIENT.port, data) == outcome for data, outcome in crowd.items())

    timed.now_ns += int(1.1 * SECOND)
    timed.send(CLIENT.port, third.request("S", 99))
    assert timed.send(CLIENT.port, third.request("A", 100)).outputs
    assert sum(not timed.send(CLIENT.port, data).outputs for data in crowd) == 1


class Client:
    """Sessions of one client, each on a port of its own; quicker than building every packet anew."""

    def __init__(self, target: LibraryTarget, address: str = CLIENT.ipv4) -> None:
        session = Service(4, "tcp", "nat").session(client=Host(CLIENT.port, CLIENT.mac, address, ""))
        target.load((*NETWORK, *session.service.entries()))
        self._switch = target.switch
        self._frames = {flags: session.request(flags) for flags in ("S", "A", "FA", "R")}

    def passes(self, port: int, flags: str) -> bool:
        """Send a segment from this port; whether it reached a member."""
        frame = self._frames[flags]
        return bool(self._switch.process(CLIENT.port, frame[:34] + port.to_bytes(2, "big") + frame[36:]))

    def is_remembered(self, port: int) -> bool:
        """Begin a session and go on."""
        self.passes(port, "S")
        return self.passes(port, "A")


@pytest.mark.parametrize("step", [1, 2], ids=["every port", "every other port"])
def test_sessions_of_one_client_on_rising_ports_find_room(timed: LibraryTarget, step: int) -> None:
    """As kernels choose ports. Were they thrown into the sets, 0.5 % would find two others there."""
    crowd = 12_000
    for number in (2, 11, 77, 200):
        client = Client(timed, f"10.0.1.{number}")
        crowded_out = sum(not client.is_remembered(port) for port in range(32_768, 32_768 + crowd * step, step))
        assert 0 < crowded_out < 0.01 * crowd, client
        timed.now_ns += 100 * SECOND


def test_a_session_that_is_over_leaves_its_slot_to_the_next(timed: LibraryTarget) -> None:
    client = Client(timed)
    for port in range(32_768, 32_768 + 30_000):
        assert client.is_remembered(port), f"no room after {port - 32_768} sessions that are over"
        assert client.passes(port, "FA")
        assert client.passes(port, "A"), "the last acknowledgement is of the session still"


def test_a_forged_reset_leaves_a_session_its_slot(timed: LibraryTarget) -> None:
    """Else who meets it in its set would end it: what was reset gets its entry only when it announces itself again."""
    client = Client(timed)
    sessions = [port for port in range(32_768, 34_768) if client.is_remembered(port)]
    assert all(client.passes(port, "R") for port in sessions)
    for port in range(1024, 32_768):
        client.passes(port, "S")
    assert all(client.passes(port, "A") for port in sessions)
