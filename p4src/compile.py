"""Compile `depot.p4` into `p4src/build/`, the same bytes on every machine with the same p4c.

    python p4src/compile.py            compile
    python p4src/compile.py --check    compile elsewhere and compare with what is committed; exit 1 when they differ

p4c writes the paths it was given into its JSON, and those of its own include files; here the former are relative to
`p4src/` and the latter carry no directory, so the output does not depend on where anything lies.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
BUILD = SOURCES / "build"
PROGRAM = "depot.p4"
JSON_NAME = "depot.json"
P4INFO_NAME = "depot.p4info.txtpb"
COMPILER = "p4c-bm2-ss"


def portable(node: object) -> object:
    """The compiler's JSON with every source path free of the machine's directories."""
    if isinstance(node, dict):
        return {
            key: _portable_path(value) if key in ("filename", "program") and isinstance(value, str) else portable(value)
            for key, value in node.items()
        }
    return [portable(item) for item in node] if isinstance(node, list) else node


def _portable_path(path: str) -> str:
    return Path(path).name if Path(path).is_absolute() else Path(path).as_posix()


def compile_into(folder: Path) -> None:
    """Write the JSON and the P4Info of `depot.p4` into `folder`. Exits with p4c's own message when it fails."""
    compiler = shutil.which(COMPILER)
    if compiler is None:
        sys.exit(f"{COMPILER} is not on the PATH: build p4c from its public sources to change the forwarding program")
    raw, p4info = folder / f"{JSON_NAME}.raw", folder / P4INFO_NAME
    command = [compiler, "--p4v", "16", "--p4runtime-files", str(p4info), "-o", str(raw), PROGRAM]
    finished = subprocess.run(command, cwd=SOURCES, check=False)
    if finished.returncode != 0:
        raw.unlink(missing_ok=True)
        sys.exit(f"{COMPILER} refused {PROGRAM} (exit status {finished.returncode})")
    compiled = portable(json.loads(raw.read_text()))
    (folder / JSON_NAME).write_text(json.dumps(compiled, separators=(",", ":")) + "\n")
    raw.unlink()


def check() -> int:
    """0 when the committed output is what the sources give, else 1, naming the files that differ."""
    with tempfile.TemporaryDirectory() as scratch:
        compile_into(Path(scratch))
        names = (JSON_NAME, P4INFO_NAME)
        stale = [n for n in names if not _same(Path(scratch, n), BUILD / n)]
    for name in stale:
        print(f"p4src/build/{name} does not match the sources: run `make p4` and commit it")
    return 1 if stale else 0


def _same(fresh: Path, committed: Path) -> bool:
    return committed.is_file() and fresh.read_bytes() == committed.read_bytes()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed output, write nothing")
    options = parser.parse_args()
    if options.check:
        return check()
    BUILD.mkdir(exist_ok=True)
    compile_into(BUILD)
    return 0


if __name__ == "__main__":
    sys.exit(main())
