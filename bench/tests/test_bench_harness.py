"""Rows judge themselves rightly, and the document shows what was measured."""

import json
from pathlib import Path

import pytest
from bench import harness, report
from bench.harness import AtLeast, AtMost, Reference, Row


@pytest.mark.parametrize(
    ("row", "ratio", "met"),
    [
        (Row("a", 12.0, "s", "c"), None, None),
        (Row("a", 12.0, "s", "c", target=AtLeast(12)), None, True),
        (Row("a", 12.0, "s", "c", target=AtMost(11.9)), None, False),
        (Row("a", 12.0, "s", "c", Reference("r", 24.0), AtLeast(0.5, of_reference=True)), 0.5, True),
        (Row("a", 12.0, "s", "c", Reference("r", 24.0), AtMost(0.4, of_reference=True)), 0.5, False),
        (Row("a", 12.0, "s", "c", None, AtLeast(0.5, of_reference=True)), None, None),
    ],
)
def test_a_row_judges_itself(row: Row, ratio: float | None, met: bool | None) -> None:
    assert row.ratio == ratio
    assert row.met is met


def test_published_rows_have_the_agreed_fields_and_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    rows = [
        Row("forwarded", 20_000.0, "packets/s", "make bench NAME=x", Reference("BMv2", 10_000.0), AtLeast(10_000)),
        Row("takeover", 0.25, "s", "make bench NAME=x", None, AtMost(0.2)),
        Row("memory", 90.0, "MB", "make bench NAME=x", spread=2.5),
    ]
    harness.publish("x.py", "A title", rows)
    published = json.loads((tmp_path / "x.json").read_text())
    fields = ["what", "value", "spread", "unit", "reference", "ratio", "target", "met", "command", "machine"]
    assert [list(row) for row in published] == [fields] * 3
    assert [row["met"] for row in published] == [True, False, None]
    assert "A title" in (tmp_path / "x.svg").read_text()
    document = report.report(tmp_path)
    assert "| forwarded | 20 000 packets/s | BMv2: 10 000 | 2 | ≥ 10 000 packets/s | yes |" in document
    assert "| takeover | 0.25 s |  |  | ≤ 0.2 s | **no** |" in document
    assert "| memory | 90 ± 2.5 MB |" in document


def test_the_machine_is_described_without_its_name() -> None:
    import socket

    assert "cores" in harness.machine()
    assert socket.gethostname() not in harness.machine()


def test_the_document_shows_pictures_beside_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    for name in ("x", "x_wire"):
        harness.publish(f"{name}.py", "A title", [Row("a", 1.0, "s", "c")])
    (tmp_path / "x_over_time.svg").write_text("")
    section, other = report.report(tmp_path).split("## X wire")
    assert "x_over_time.svg" in section
    assert "x_wire.svg" not in section
    assert "x_over_time.svg" not in other
