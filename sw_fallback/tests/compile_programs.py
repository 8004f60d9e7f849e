"""Compile the P4 programs in `p4/` next to their sources: `python sw_fallback/tests/compile_programs.py`.

The output does not depend on where anything lies: paths of the compiler's own files carry no directory.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent / "p4"
COMPILER = "p4c-bm2-ss"


def compile_program(source: Path, folder: Path) -> None:
    """Write `<name>.json` and `<name>.p4info.txtpb` into `folder`. Raises `CalledProcessError` when p4c refuses."""
    raw, p4info = folder / f"{source.stem}.raw", folder / f"{source.stem}.p4info.txtpb"
    command = [COMPILER, "--p4v", "16", "--p4runtime-files", str(p4info), "-o", str(raw), source.name]
    subprocess.run(command, cwd=source.parent, check=True, capture_output=True)
    compiled = _portable(json.loads(raw.read_text()))
    (folder / f"{source.stem}.json").write_text(json.dumps(compiled, separators=(",", ":")) + "\n")
    raw.unlink()


def _portable(node: object) -> object:
    if isinstance(node, dict):
        return {
            key: Path(value).name if key in ("filename", "program") and isinstance(value, str) else _portable(value)
            for key, value in node.items()
        }
    return [_portable(item) for item in node] if isinstance(node, list) else node


def stale() -> list[str]:
    """Names of compiled files that are not what the sources give."""
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for source in sorted(SOURCES.glob("*.p4")):
            compile_program(source, Path(scratch))
        for fresh in sorted(Path(scratch).iterdir()):
            committed = SOURCES / fresh.name
            if not committed.is_file() or committed.read_bytes() != fresh.read_bytes():
                found.append(fresh.name)
    return found


def main() -> int:
    if shutil.which(COMPILER) is None:
        sys.exit(f"{COMPILER} is not on the PATH: build p4c from its public sources to change these programs")
    for source in sorted(SOURCES.glob("*.p4")):
        compile_program(source, SOURCES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
