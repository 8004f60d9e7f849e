"""What the flow cache does beside entries that come and go, through `softswitch.Switch.process`."""

import pytest

from ptf_tests.case import Step
from ptf_tests.library_target import LibraryTarget
from ptf_tests.network import CLIENT, NETWORK
from ptf_tests.services import Service


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
