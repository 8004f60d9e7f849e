"""What the documents show works: configurations load, links lead somewhere, Python examples run."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from depot.config import parse
from depot.program import find_compiled_program
from softswitch import Switch

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Each fenced block of a language: where it stands, and its text."""
    for document in DOCUMENTS:
        for number, text in enumerate(re.findall(rf"```{language}\n(.*?)```", document.read_text(), re.DOTALL)):
            yield f"{document.relative_to(ROOT)}#{number}", text


TOML = dict(blocks("toml"))
PYTHON = dict(blocks("python"))


@pytest.mark.parametrize("place", TOML)
def test_configurations_load(place: str) -> None:
    config = parse(TOML[place], place, ROOT)
    assert config.vips or config.vmac


@pytest.mark.parametrize("place", PYTHON)
def test_python_examples_run(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = find_compiled_program()
    monkeypatch.chdir(compiled.p4info.parent)
    names: dict[str, object] = {"frame": bytes(64)}
    exec(compile(PYTHON[place], place, "exec"), names)
    assert any(isinstance(value, Switch) for value in names.values())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text())
    missing = [link for link in links if not link.startswith("http") and not (document.parent / link).exists()]
    assert not missing
