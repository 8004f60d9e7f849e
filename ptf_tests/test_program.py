"""The forwarding program's sources and what is committed of their compilation."""

import re
import shutil
import subprocess
import sys
from enum import IntEnum
from pathlib import Path

import pytest

from depot.p4runtime.packets import DropReason, PuntReason

P4SRC = Path(__file__).resolve().parent.parent / "p4src"
SOURCES = sorted(P4SRC.rglob("*.p4"))


@pytest.mark.skipif(shutil.which("p4c-bm2-ss") is None, reason="p4c-bm2-ss is not on the PATH")
def test_the_committed_output_is_what_the_sources_give() -> None:
    command = [sys.executable, str(P4SRC / "compile.py"), "--check"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(P4SRC)))
def test_layout(source: Path) -> None:
    for number, line in enumerate(source.read_text().splitlines(), start=1):
        assert len(line) <= 115, f"{source.name}:{number} is {len(line)} columns wide"
        assert "\t" not in line, f"{source.name}:{number} has a tab"
        assert line == line.rstrip(), f"{source.name}:{number} ends in blanks"


def test_the_ids_are_those_of_the_ids_file() -> None:
    wanted = re.findall(r"#define \w+_ID (0x[0-9a-f]{8})", (P4SRC / "ids.p4").read_text())
    assert len(set(wanted)) == len(wanted), "one id stands for two objects"
    p4info = (P4SRC / "build" / "depot.p4info.txtpb").read_text()
    given = {int(value) for value in re.findall(r"preamble \{\n    id: (\d+)", p4info)}
    named = {int(value, 16) for value in wanted}
    assert named <= given, "an id of ids.p4 stands at no object"
    # Actions that no controller may name (defaults, and those called by the program) keep p4c's own ids.
    assert {value for value in given if value >> 24 in (0x02, 0x12, 0x13, 0x16)} <= named


@pytest.mark.parametrize(("kind", "reasons"), [("drop", DropReason), ("punt", PuntReason)])
def test_the_controller_knows_every_reason(kind: str, reasons: type[IntEnum]) -> None:
    constants = (P4SRC / "constants.p4").read_text()
    found = re.findall(rf"const {kind}_reason_t {kind.upper()}_(\w+) = (\d+);", constants)
    assert {name: int(number) for name, number in found} == {"NONE": 0} | {one.name: int(one) for one in reasons}
    size = re.search(rf"#define {kind.upper()}_COUNTER_SIZE (\d+)", (P4SRC / "sizes.p4").read_text())
    assert size is not None
    assert len(found) <= int(size[1])
