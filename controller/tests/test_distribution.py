"""The built distribution: both packages, typed, with the compiled program and the two commands."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("controller", "sw_fallback", "p4src")
FILES = (
    "pyproject.toml",
    "setup.py",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "constraints.txt",
    "Makefile",
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that nothing is left in the tree."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in FILES:
        shutil.copy(ROOT / name, source / name)
    options = ["--no-build-isolation", "--no-deps", "--no-index", "-q", "-w", str(built)]
    finished = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, str(source)], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return next(built.glob("p4depot-*.whl"))


def test_the_wheel_holds_packages_program_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in ("depot/_p4/depot.json", "depot/_p4/depot.p4info.txtpb", "depot/py.typed", "softswitch/py.typed"):
        assert wanted in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"depot", "softswitch"}
    assert not [name for name in names if "/tests/" in name]


def test_an_installed_package_finds_its_program(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "from depot.program import find_compiled_program as f; p = f(); print(p.json.read_bytes() and p.p4info)"
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert Path(finished.stdout.strip()) == tmp_path / "depot" / "_p4" / "depot.p4info.txtpb"


def test_the_commands(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        listing = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        text = archive.read(listing).decode()
    assert "depot = depot.cli:main" in text
    assert "softswitch = softswitch.cli:main" in text
