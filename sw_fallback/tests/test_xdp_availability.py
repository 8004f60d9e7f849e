"""Why the XDP engine cannot run, each reason brought about."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from softswitch.engine.xdp import availability, libbpf
from softswitch.engine.xdp.availability import why_not

CLANG = shutil.which("clang")
needs_clang = pytest.mark.skipif(CLANG is None, reason="clang is not installed")


def capable() -> bool:
    """Whether this process has CAP_NET_ADMIN, CAP_PERFMON and CAP_BPF (linux/capability.h)."""
    wanted = 1 << 12 | 1 << 38 | 1 << 39
    status = Path("/proc/self/status").read_text()
    (effective,) = (line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return int(effective, 16) & wanted == wanted


needs_root = pytest.mark.skipif(os.geteuid() != 0 or not capable(), reason="needs root with all capabilities")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No object of another test's compiler."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def fresh_library() -> Iterator[None]:
    """The library is looked for again, in the test and after it."""
    libbpf.library.cache_clear()
    yield
    libbpf.library.cache_clear()


def reason() -> str:
    """The reason, which must be there and be one sentence to log."""
    given = why_not()
    assert given
    assert "\n" not in given
    assert not given.endswith(".")
    return given


@needs_clang
@needs_root
@pytest.mark.skipif(not availability.BTF.exists(), reason="the kernel has no BTF")
def test_root_can_and_nothing_stays_open() -> None:
    before = set(os.listdir("/proc/self/fd"))
    assert why_not() is None
    assert set(os.listdir("/proc/self/fd")) == before


def test_another_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert "this is Darwin" in reason()


def test_no_libbpf(monkeypatch: pytest.MonkeyPatch, fresh_library: None) -> None:
    monkeypatch.setattr(libbpf, "LIBRARY", "libbpf.so.none")
    assert "install the package libbpf1" in reason()


def test_no_clang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "install the package clang" in reason()


def other_clang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "clang").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "clang").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


@needs_clang
def test_no_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other_clang(tmp_path, monkeypatch, f'exec {CLANG} -nostdinc "$@"')
    given = reason()
    assert "'linux/bpf.h' file not found" in given
    assert "libbpf-dev and linux-libc-dev" in given


def test_a_clang_without_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = '[ "$1" = --version ] && exit 0; echo "error: unable to create target: bpf" >&2; exit 1'
    other_clang(tmp_path, monkeypatch, script)
    assert "does not compile for eBPF (error: unable to create target: bpf)" in reason()


@needs_clang
def test_a_kernel_without_btf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "BTF", tmp_path / "vmlinux")
    assert "CONFIG_DEBUG_INFO_BTF" in reason()


@needs_clang
@needs_root
@pytest.mark.parametrize(
    ("kept", "refused"),
    [
        pytest.param("", "a", id="none"),
        pytest.param(",+bpf", "an XDP program", id="bpf"),
        pytest.param(",+bpf,+net_admin", "an XDP program", id="without-perfmon"),
    ],
)
def test_too_few_capabilities(kept: str, refused: str) -> None:
    """The user stays root: it is not the user's number that counts."""
    given = under_capabilities(kept)
    assert f"does not let this process make {refused}" in given
    assert "CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN" in given


@needs_clang
@needs_root
def test_the_three_capabilities_are_enough() -> None:
    assert under_capabilities(",+bpf,+net_admin,+perfmon") == "None"


@needs_clang
@pytest.mark.skipif(capable(), reason="needs an ordinary user")
def test_an_ordinary_user() -> None:
    assert "it needs root" in reason()


def under_capabilities(kept: str) -> str:
    """`why_not` of a process of this user with these capabilities only."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv (util-linux) is not installed")
    code = "from softswitch.engine.xdp.availability import why_not; print(why_not())"
    done = subprocess.run(
        [setpriv, f"--bounding-set=-all{kept}", "--inh-caps=-all", sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
