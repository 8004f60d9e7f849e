"""Write docs/benchmarks.md from bench/results/*.json: python -m bench.report"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

from bench.harness import RESULTS, number_words, value_words

__all__ = ["report"]

DOCUMENT = RESULTS.parents[1] / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Written by `make bench` from `bench/results/`; do not edit. Each value is measured in the same run as its reference;
ratios say more than values, for they depend less on the machine.
"""


def report(results: Path) -> str:
    """The document for every `<name>.json` in a folder."""
    sections = [_section(path) for path in sorted(results.glob("*.json"))]
    return "\n".join([HEAD, *sections]).rstrip() + "\n"


def _section(path: Path) -> str:
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    lines = [f"## {path.stem.replace('_', ' ').capitalize()}", "", _purpose(path.stem), ""]
    lines += ["| what | value | reference | ratio | target | met |", "|---|---|---|---|---|---|"]
    lines += [_line(row) for row in rows]
    for picture in _pictures(path):
        lines += ["", f"![{picture.stem}](../bench/results/{picture.name})"]
    lines.append("")
    for command in dict.fromkeys(row["command"] for row in rows):
        lines.append(f"Measured by `{command}` on: {rows[0]['machine']}.")
    return "\n".join([*lines, ""])


def _pictures(path: Path) -> list[Path]:
    """The rows' picture, and others that the benchmark drew: `<name>_*.svg` that are no other benchmark's."""
    others = sorted(path.parent.glob(f"{path.stem}_*.svg"))
    return [path.with_suffix(".svg"), *(other for other in others if not other.with_suffix(".json").exists())]


def _purpose(name: str) -> str:
    """The benchmark's own description, without its command line."""
    source = RESULTS.parent / f"{name}.py"
    words = ast.get_docstring(ast.parse(source.read_text())) if source.is_file() else None
    paragraphs = [paragraph.replace("\n", " ") for paragraph in (words or "").split("\n\n")]
    return "\n\n".join(paragraph for paragraph in paragraphs if not paragraph.startswith("python -m "))


def _line(row: dict[str, Any]) -> str:
    reference = row["reference"]
    compared = "" if reference is None else f"{reference['what']}: {number_words(reference['value'])}"
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.3g}"
    met = {True: "yes", False: "**no**", None: ""}[row["met"]]
    value = f"{value_words(row['value'], row.get('spread'))} {row['unit']}"
    return f"| {row['what']} | {value} | {compared} | {ratio} | {row['target'] or ''} | {met} |"


def main() -> None:
    DOCUMENT.write_text(report(RESULTS))
    print(f"wrote {DOCUMENT.relative_to(RESULTS.parents[1])}")


if __name__ == "__main__":
    main()
