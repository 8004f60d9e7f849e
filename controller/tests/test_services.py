"""Members and schedules over time: deaths, drains, weights, reports, slow start."""

from __future__ import annotations

from collections import Counter

import pytest

from depot.config import VipConfig, parse
from depot.switching.cost import LoadReport
from depot.switching.services import REBALANCE_INTERVAL, MemberState, Services, UnknownMemberError

SWITCH = """
[[switch]]
name = "edge"
address = "127.0.0.1:1"
[[switch.port]]
number = 1
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.1/16"]
"""


def vips(settings: str = "", names: str = "abc", vip: str = "web", more: str = "") -> tuple[VipConfig, ...]:
    text = SWITCH + f'[[vip]]\nname = "{vip}"\naddress = "10.1.9.1"\nport = 80\n{settings}\n'
    text += "".join(f'[[vip.member]]\nname = "{n}"\naddress = "10.1.0.{ord(n)}"\n{more}\n' for n in names)
    return parse(text).vips


class Office:
    """Services and the time; loads as the test says."""

    def __init__(self, configured: tuple[VipConfig, ...]) -> None:
        self.now = 50.0
        self.load: Counter[str] = Counter()
        self.response: dict[str, float] = {}
        self.services = Services(configured, self.now, lambda vip, member: self.response.get(member))

    def changed(self) -> dict[str, tuple[str, ...]]:
        return self.services.take_schedules(lambda vip, member: self.load[member], self.now)

    def shares(self) -> Counter[str]:
        self.changed()
        return Counter(self.services.schedules["web"])

    def wait(self, seconds: float) -> list[tuple[str, ...]]:
        """Let time pass; the schedules made meanwhile."""
        end, made = self.now + seconds, []
        while (deadline := self.services.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            made += self.changed().values()
        self.now = end
        return made


class TestAtOnce:
    def test_everyone_serves_at_first(self) -> None:
        office = Office(vips())
        assert office.changed() == {"web": ("a", "b", "c")}
        assert office.changed() == {}
        assert office.services.next_deadline() is None

    def test_death_and_return(self) -> None:
        office = Office(vips())
        office.changed()
        assert office.services.set_alive("web", "b", False, office.now)
        assert not office.services.set_alive("web", "b", False, office.now), "no news"
        assert office.shares() == {"a": 1, "c": 1}
        office.services.set_alive("web", "b", True, office.now)
        assert office.shares() == {"a": 1, "b": 1, "c": 1}

    @pytest.mark.parametrize("alive", [True, False])
    def test_held_until_anything_is_known(self, alive: bool) -> None:
        office = Office(vips())
        office.services.hold("web", "b", office.now)
        assert office.shares() == {"a": 1, "c": 1}
        assert [status.state for status in office.services.find("b")] == [MemberState.UNCHECKED]
        office.services.set_alive("web", "b", alive, office.now)
        assert office.shares() == ({"a": 1, "b": 1, "c": 1} if alive else {"a": 1, "c": 1})
        office.services.hold("web", "stranger", office.now)

    def test_drain(self) -> None:
        office = Office(vips())
        (status,) = office.services.set_drained("b", True, office.now)
        assert status.state is MemberState.DRAINED
        assert office.shares() == {"a": 1, "c": 1}
        office.services.set_drained("b", False, office.now)
        assert office.shares() == {"a": 1, "b": 1, "c": 1}

    def test_weight_zero_is_drained(self) -> None:
        office = Office(vips('scheduler = "weighted-round-robin"'))
        (status,) = office.services.set_weight("a", 0, office.now)
        assert status.state is MemberState.DRAINED
        assert office.shares() == {"b": 1, "c": 1}

    def test_weight_and_back(self) -> None:
        office = Office(vips('scheduler = "weighted-round-robin"', more="weight = 2"))
        office.services.set_weight("a", 4, office.now)
        assert office.shares() == {"a": 2, "b": 1, "c": 1}
        office.services.set_weight("a", None, office.now)
        assert office.shares() == {"a": 1, "b": 1, "c": 1}

    @pytest.mark.parametrize("weight", [-1, 257])
    def test_weights_that_are_none(self, weight: int) -> None:
        with pytest.raises(ValueError, match="between 0 and 256"):
            Office(vips()).services.set_weight("a", weight, 0.0)

    def test_all_dead(self) -> None:
        office = Office(vips())
        for name in "abc":
            office.services.set_alive("web", name, False, office.now)
        assert office.shares() == {}

    @pytest.mark.parametrize(("member", "vip", "text"), [("x", None, "a, b, c"), ("a", "mail", "there are: web")])
    def test_unknown_names(self, member: str, vip: str | None, text: str) -> None:
        with pytest.raises(UnknownMemberError, match=text):
            Office(vips()).services.set_drained(member, True, 0.0, vip)

    def test_one_name_in_two_vips(self) -> None:
        second = parse(
            SWITCH
            + '[[vip]]\nname="mail"\naddress="10.1.9.2"\nport=25\n[[vip.member]]\nname="a"\naddress="10.1.0.97"\n'
        )
        office = Office((*vips(), *second.vips))
        assert len(office.services.set_drained("a", True, office.now)) == 2
        assert len(office.services.set_drained("a", False, office.now, "mail")) == 1
        assert office.changed() == {"web": ("b", "c"), "mail": ("a",)}


class TestSlowStart:
    def test_a_returning_member_grows(self) -> None:
        office = Office(vips('slow_start = "8s"'))
        assert office.shares() == {"a": 1, "b": 1, "c": 1}, "at the start everybody has a full share"
        office.services.set_alive("web", "a", False, office.now)
        office.changed()
        office.services.set_alive("web", "a", True, office.now)
        shares = [office.shares()["a"] / sum(office.shares().values())]
        for _ in range(9):
            office.wait(1.0)
            shares.append(office.shares()["a"] / sum(office.shares().values()))
        assert shares == sorted(shares)
        assert shares[0] < 0.1
        assert shares[-1] == pytest.approx(1 / 3)
        assert office.services.next_deadline() is None, "then it is over"


class TestLoads:
    def test_least_connections_follows_sessions_but_not_each(self) -> None:
        office = Office(vips('scheduler = "least-connections"'))
        office.changed()
        office.wait(1.0)
        made = []
        for number in range(200):
            office.load["abc"[number // 60 % 3]] += 10
            office.services.load_changed("web", office.now)
            made += office.wait(0.01)
        assert 2 <= len(made) <= 2.0 / REBALANCE_INTERVAL + 1
        office.wait(1.0)
        assert office.shares()["a"] < office.shares()["b"], "who has the most gets fewer"

    def test_round_robin_does_not_care(self) -> None:
        office = Office(vips())
        office.changed()
        office.load["a"] = 100
        office.services.load_changed("web", office.now)
        assert office.services.next_deadline() is None

    def test_reports_count_for_a_while(self) -> None:
        settings = 'scheduler = "cost"\n[vip.cost]\ncpu_load = 1.0\nresponse_time = 0.0\nactive_requests = 0.0\n'
        settings += 'report_path = "/"\nreport_interval = "2s"'
        office = Office(vips(settings))
        office.services.set_report("web", "a", LoadReport(cpu_load=0.9), office.now)
        for name in "bc":
            office.services.set_report("web", name, LoadReport(cpu_load=0.1), office.now)
        first = office.shares()
        assert first["a"] * 2 < first["b"]
        office.wait(10)
        last = office.shares()
        assert last["a"] == last["b"], "old reports are worth nothing"

    def test_the_measured_response_time_counts(self) -> None:
        office = Office(vips('scheduler = "cost"'))
        office.response = {"a": 0.5, "b": 0.01, "c": 0.01}
        shares = office.shares()
        assert shares["a"] < shares["b"]


class TestReconfigure:
    def test_states_stay(self) -> None:
        office = Office(vips())
        office.services.set_alive("web", "a", False, office.now)
        office.services.set_drained("b", True, office.now)
        office.services.reconfigure(vips(names="abcd"), office.now)
        assert office.shares() == {"c": 1, "d": 1}

    def test_another_endpoint_is_another_member(self) -> None:
        office = Office(vips())
        office.services.set_alive("web", "a", False, office.now)
        moved = parse(SWITCH + '[[vip]]\nname = "web"\naddress = "10.1.9.1"\nport = 80\n'
                      '[[vip.member]]\nname = "a"\naddress = "10.1.0.200"\n').vips  # fmt: skip
        office.services.reconfigure(moved, office.now)
        assert office.shares() == {"a": 1}

    def test_a_vip_is_gone(self) -> None:
        office = Office(vips())
        office.changed()
        office.services.reconfigure((), office.now)
        assert office.services.schedules == {}
        assert office.services.next_deadline() is None
        assert not office.services.set_alive("web", "a", False, office.now)
