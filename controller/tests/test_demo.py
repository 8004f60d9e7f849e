"""The demo's readers and writers: what needs no network."""

from __future__ import annotations

import io
import json
import os
import socket
from collections import Counter
from pathlib import Path

import pytest

from depot import config
from depot.address import format_address
from depot.demo import cluster_network, farm_network, main
from depot.demo.clients import LoadReport, parse_wrk, spread, url
from depot.demo.configuration import Service, configuration
from depot.demo.kernel import counter, listens, received_bytes
from depot.demo.lab import LabError, missing_programs, wait_until
from depot.demo.member import certificates, member_configuration
from depot.demo.proxied import parse_answer
from depot.demo.screen import Finding, Screen, findings_as_json
from depot.demo.squid import Request, parse_requests

WRK = """\
Running 2s test @ http://203.0.113.80/
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.87ms    1.02ms  20.11ms   94.45%
    Req/Sec     3.15k   215.42     3.48k    75.00%
  12579 requests in 4.01s, 3.07MB read
Requests/sec:   3136.90
Transfer/sec:    784.22KB
"""
WRK_WITH_ERRORS = """\
  71 requests in 1.50m, 3.07MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 5
"""


def test_wrk_is_read() -> None:
    assert parse_wrk(WRK) == LoadReport(12579, 4.01, 0, 0, 0, 0)
    report = parse_wrk(WRK_WITH_ERRORS)
    assert report == LoadReport(71, 90.0, 1, 5, 4, 5)
    assert report.failures == 15


def test_what_wrk_never_says_is_refused() -> None:
    with pytest.raises(LabError, match="unable to connect"):
        parse_wrk("unable to connect to 203.0.113.80:http Connection refused\n")


def test_url_and_spread() -> None:
    assert url("2001:db8::1", "/a") == "http://[2001:db8::1]/a"
    assert url("203.0.113.80") == "http://203.0.113.80/"
    assert spread(Counter(a=5, b=4), ["a", "b"]) == 1
    assert spread(Counter(a=5, b=4), ["a", "b", "c"]) == 5


def test_configuration_is_one_the_depot_takes() -> None:
    services = [
        Service("web", "203.0.113.80", weights={"member1": 3}, settings={"scheduler": "weighted-round-robin"}),
        Service("web6", "2001:db8:80::80", member_port=8080),
        Service("names", "203.0.113.53", port=53, settings={"protocol": "udp"}, health={}),
        Service("direct", "203.0.113.81", mode="dsr"),
    ]
    read = config.parse(configuration(services, Path("/tmp/a b/depot.sock")), "depot.toml")
    assert [vip.name for vip in read.vips] == ["web", "web6", "names", "direct"]
    assert [member.weight for member in read.vips[0].members] == [3, 1, 1]
    assert {member.port for member in read.vips[1].members} == {8080}
    assert read.depot.socket == Path("/tmp/a b/depot.sock")
    assert format_address(read.vips[0].health.source or 0) == "10.2.0.250"


def test_a_member_on_its_own_and_one_of_a_cluster_are_ones_the_depot_takes() -> None:
    a, b = cluster_network.SITES
    alone = config.parse(member_configuration(a, [b], cluster_network.OFFICE, Path("/tmp/a"), None), "depot.toml")
    assert alone.cluster is None
    assert alone.vips[0].transparent
    text = member_configuration(
        a, [b], cluster_network.OFFICE, Path("/tmp/a"), certificates(Path("/tmp"), "a"), "affinity"
    )
    read = config.parse(text, "depot.toml")
    assert read.cluster is not None
    assert [peer.name for peer in read.cluster.peers] == ["b"]
    assert [(policy.action.value, policy.to) for policy in read.policies] == [
        ("intercept", read.vips[0].name),
        ("bypass", None),
    ]


def test_every_site_of_a_farm_is_a_member_that_the_depot_takes() -> None:
    b, c = farm_network.SITES
    for site, other in ((b, c), (c, b)):
        text = member_configuration(site, [other], farm_network.OFFICE, Path("/tmp/a"), certificates(Path(), site.name))
        assert config.parse(text, "depot.toml").cluster is not None


def test_what_squid_logs_is_read_up_to_a_line_half_written() -> None:
    lines = [
        "1795839277.177 10.1.0.11 198.51.100.80 200 http://198.51.100.80/",
        "1795839277.577 10.12.0.250 - 0 error:transaction-end-before-headers",
        "1795839279.177 fd00:1::11 - 503 http://[2001:db8:100::80]/",
        "1795839279.3 fd00:1",
    ]
    assert list(parse_requests(lines)) == [
        Request(1795839277.177, "10.1.0.11", "198.51.100.80", 200, "http://198.51.100.80/"),
        Request(1795839279.177, "fd00:1::11", "-", 503, "http://[2001:db8:100::80]/"),
    ]


def test_an_answer_tells_who_passed_it_on() -> None:
    good = parse_answer("200|0.010|1.1 squidb (squid/5.7), 1.1 downstream (squid/5.7)|server|")
    assert (good.served, good.proxies, good.outcome) == (True, ("squidb", "downstream"), "200")
    refused = parse_answer("503|2.150|1.1 squida (squid/5.7)||")
    assert (refused.served, refused.outcome) == (False, "HTTP 503 by squida")
    nothing = parse_answer("000|8.001|||Operation timed out | after 8001 milliseconds")
    assert (nothing.served, nothing.outcome) == (False, "Operation timed out | after 8001 milliseconds")


def test_printed_configuration_is_an_example_that_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print-config"]) == 0
    read = config.parse(capsys.readouterr().out, "depot.toml")
    assert {(vip.mode.value, len(vip.members)) for vip in read.vips} == {("nat", 3), ("dsr", 3)}
    assert main(["cluster", "--print-config"]) == 0
    read = config.parse(capsys.readouterr().out, "depot.toml")
    assert read.cluster is not None


def test_closing_table_and_json() -> None:
    findings = [Finding("a thing", "0", "0 of 3", True), Finding("another", "all", "2 of 3", False)]
    stream = io.StringIO()
    Screen(stream).table(findings)
    lines = stream.getvalue().splitlines()
    assert lines[-2].split() == ["a", "thing", "0", "0", "of", "3", "yes"]
    assert lines[-1].endswith("NO")
    report = json.loads(findings_as_json(findings))
    assert report["held"] is False
    assert report["findings"][1] == {"what": "another", "claimed": "all", "measured": "2 of 3", "held": False}


def test_shares_as_bars_name_everyone_and_everything_else() -> None:
    stream = io.StringIO()
    Screen(stream).shares("visits", Counter(one=2, refused=1), ["one", "two"])
    rows = [line.split()[:3] for line in stream.getvalue().splitlines()[1:]]
    assert rows == [["one", "2", "66.7%"], ["two", "0", "0.0%"], ["refused", "1", "33.3%"]]


def test_kernel_files_are_read() -> None:
    pid = os.getpid()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listens(pid, port, 4)
        assert not listens(pid, port, 6)
    assert not listens(pid, port, 4)
    assert counter(pid, "Tcp", "OutRsts") >= 0
    assert received_bytes(pid, "lo") >= 0
    with pytest.raises(KeyError):
        received_bytes(pid, "no-such-interface")
    with pytest.raises(KeyError):
        counter(pid, "Tcp", "NoSuchCounter")


def test_waiting_ends_with_the_answer_or_says_what_did_not_come() -> None:
    answers = iter([None, False, 0])
    assert wait_until(lambda: next(answers), 5.0, "an answer", every=0.0) == 0
    with pytest.raises(LabError, match="still waiting: godot"):
        wait_until(lambda: None, 0.0, "godot")


def test_missing_programs_are_named() -> None:
    assert missing_programs(["sh", "no-such-program-here"]) == ["no-such-program-here"]
