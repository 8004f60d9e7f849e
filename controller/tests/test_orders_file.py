"""Operators' orders over a restart: what was saved is in force again, and nothing of what is no order."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from depot.config import VipConfig, parse
from depot.daemon.orders_file import OrdersFile
from depot.switching.services import Services

TEXT = """
[[switch]]
name = "edge"
address = "127.0.0.1:1"
[[switch.port]]
number = 1
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.1/16"]
[[vip]]
name = "web"
address = "10.1.9.1"
port = 80
"""


def services(names: str = "abc") -> Services:
    return Services(vips(names), 0.0)


def vips(names: str) -> tuple[VipConfig, ...]:
    return parse(TEXT + "".join(f'[[vip.member]]\nname = "{n}"\naddress = "10.1.0.{ord(n)}"\n' for n in names)).vips


def orders(of: Services) -> dict[str, tuple[bool, int | None]]:
    return {one.config.name: (one.drained, one.override) for one in of.members()}


def order(member: str = "a", drained: object = True, weight: object = 3, **more: object) -> dict[str, object]:
    return {"vip": "web", "member": member, "drained": drained, "weight": weight, **more}


@pytest.fixture
def file(tmp_path: Path) -> OrdersFile:
    return OrdersFile(tmp_path / "depot.sock")


def test_there_and_back(file: OrdersFile, tmp_path: Path) -> None:
    before = services()
    before.set_drained("a", True, 0.0)
    before.set_weight("b", 0, 0.0)
    file.save(before)
    assert [path.name for path in tmp_path.iterdir()] == ["depot.sock.orders"], "nothing half written is left"
    after = services()
    assert file.restore(after, 1.0) == ["web/a: drained", "web/b: weight 0"]
    assert orders(after) == {"a": (True, None), "b": (False, 0), "c": (False, None)}


def test_what_was_taken_back_is_forgotten(file: OrdersFile) -> None:
    before = services()
    before.set_drained("a", True, 0.0)
    before.set_weight("a", 7, 0.0)
    file.save(before)
    before.set_drained("a", False, 0.0)
    before.set_weight("a", None, 0.0)
    file.save(before)
    assert file.restore(services(), 0.0) == []


def test_nothing_was_ever_ordered(file: OrdersFile, caplog: pytest.LogCaptureFixture) -> None:
    assert file.restore(services(), 0.0) == []
    assert not caplog.records


@pytest.mark.parametrize(
    "bad",
    [
        7,
        {},
        order("stranger"),
        order(vip="mail"),
        order(drained=1),
        order(weight="3"),
        order(weight=True),
        order(weight=1.5),
        order(weight=257),
        order(weight=-1),
    ],
    ids=str,
)
def test_what_is_no_order_is_left_aside_and_told(
    file: OrdersFile, tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: object
) -> None:
    (tmp_path / "depot.sock.orders").write_text(json.dumps([bad, order("b")]))
    restored = services()
    with caplog.at_level(logging.WARNING):
        assert file.restore(restored, 0.0) == ["web/b: drained, weight 3"]
    assert orders(restored) == {"a": (False, None), "b": (True, 3), "c": (False, None)}
    (record,) = caplog.records
    assert "depot.sock.orders: an order is left aside" in record.getMessage()


@pytest.mark.parametrize("content", [b"", b"[", b"7", b"{}", b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_none(
    file: OrdersFile, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / "depot.sock.orders").write_bytes(content)
    assert file.restore(services(), 0.0) == []
    assert "none are in force" in caplog.text


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    OrdersFile(tmp_path / "nowhere" / "depot.sock").save(services())
    assert "cannot be kept over a restart" in caplog.text
