"""C to eBPF through clang, and the cache of what it made."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import struct
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from softswitch.engine.xdp import compiler
from softswitch.engine.xdp.compiler import CompileError, CompilerMissing, compile_object

CLANG = shutil.which("clang")
pytestmark = pytest.mark.skipif(CLANG is None, reason="clang is not installed")

SOURCE = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp") int verdict(struct xdp_md *context) { return VERDICT; }
"""
EM_BPF = 247


def source(verdict: int | str = 2) -> str:
    return SOURCE.replace("VERDICT", str(verdict))


class CountingClang:
    """The real clang behind a script that notes each call."""

    def __init__(self, folder: Path, version: str = "") -> None:
        self.folder = folder
        self.calls = folder / "calls"
        self.script = folder / "clang"
        self.write(version)

    def write(self, version: str) -> None:
        told = f'[ "$1" = --version ] && echo {version} && exit 0\n' if version else ""
        self.script.write_text(f'#!/bin/sh\n{told}echo "$*" >>{self.calls}\nexec {CLANG} "$@"\n')
        self.script.chmod(0o755)

    def compiled(self) -> int:
        """Sources compiled so far."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return sum("--version" not in line for line in lines)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compiler._without_cache.cache_clear()  # each test is told anew
    return tmp_path / "cache" / "softswitch"


@pytest.fixture
def clang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CountingClang:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return CountingClang(folder)


def test_an_object_for_ebpf_with_type_information(cache: Path) -> None:
    elf = compile_object(source())
    assert elf[:4] == b"\x7fELF"
    assert struct.unpack_from("=H", elf, 18) == (EM_BPF,)
    assert b".BTF\0" in elf


def test_compiled_once(cache: Path, clang: CountingClang) -> None:
    first = compile_object(source())
    assert compile_object(source()) == first
    assert clang.compiled() == 1


def test_another_source_and_other_flags_are_other_objects(cache: Path, clang: CountingClang) -> None:
    objects = {
        compile_object(source(1)),
        compile_object(source(2)),
        compile_object(source("VALUE"), extra_flags=["-DVALUE=0"]),
        compile_object(source("VALUE"), extra_flags=["-DVALUE=3"]),
    }
    assert clang.compiled() == 4
    assert len(objects) == 4


def test_another_version_of_clang_compiles_again(cache: Path, clang: CountingClang) -> None:
    for version, compiled in (("one", 1), ("two", 2), ("one", 2)):
        clang.write(version)
        compile_object(source())
        assert clang.compiled() == compiled


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda whole: b"", id="empty"),
        pytest.param(lambda whole: whole[:-1], id="cut"),
        pytest.param(lambda whole: whole[: len(whole) // 2], id="half"),
        pytest.param(lambda whole: whole[:200] + bytes([whole[200] ^ 1]) + whole[201:], id="bit"),
        pytest.param(lambda whole: b"no object at all" * 10, id="text"),
    ],
)
def test_a_broken_cache_is_made_good(cache: Path, clang: CountingClang, content: Callable[[bytes], bytes]) -> None:
    elf = compile_object(source())
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(content(whole))
    assert compile_object(source()) == elf
    assert clang.compiled() == 2
    assert kept.read_bytes() == whole


def test_an_error_has_clangs_words(cache: Path) -> None:
    with pytest.raises(
        CompileError, match=r"^clang refused .*\n  program.c:4:\d+: error: use of undeclared identifier 'NO_SUCH_THING'"
    ):
        compile_object(source("NO_SUCH_THING"))
    assert not list(cache.iterdir())


def test_warnings_are_errors(cache: Path) -> None:
    with pytest.raises(CompileError, match="unused variable 'nothing'"):
        compile_object(source("2; int nothing"))


def test_many_errors_are_cut_short(cache: Path) -> None:
    with pytest.raises(CompileError) as caught:
        compile_object("".join(f"int f{number}(void) {{ return x{number}; }}\n" for number in range(40)))
    assert 5 < len(str(caught.value).splitlines()) < 20


def test_no_room_for_the_source(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(CompileError, match="temporary file"):
        compile_object(source())


def test_no_clang(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CompilerMissing, match="install the package clang"):
        compile_object(source())


def test_a_clang_that_cannot_be_run(cache: Path, clang: CountingClang) -> None:
    clang.script.write_text("#!/no/such/interpreter\n")
    with pytest.raises(CompilerMissing, match="cannot be run"):
        compile_object(source())


def no_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder.parent.write_text("a file where the folder should be")
    return "Not a directory"


def no_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(Path, "home", home)
    return "home directory"


def anybodys_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    return "others than user"


def read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    def refuse(**_: object) -> tuple[int, str]:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "mkstemp", refuse)  # root may write everywhere: permissions would not do
    return "Read-only file system"


@pytest.mark.parametrize("obstacle", [no_folder, no_home, anybodys_folder, read_only])
def test_without_cache_it_works_and_says_so_once(
    cache: Path,
    clang: CountingClang,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    obstacle: Callable[[Path, pytest.MonkeyPatch], str],
) -> None:
    caplog.set_level(logging.DEBUG, "softswitch.xdp")
    reason = obstacle(cache, monkeypatch)
    assert compile_object(source()) == compile_object(source())
    assert clang.compiled() == 2
    (said,) = caplog.records
    assert said.levelno == logging.DEBUG
    assert reason in said.getMessage()


def test_the_cache_is_private_by_default(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")  # to be ignored, says the XDG specification
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    compile_object(source())
    made = tmp_path / ".cache" / "softswitch"
    assert made.stat().st_mode & 0o777 == 0o700
    assert len(list(made.iterdir())) == 1


def test_the_least_recently_used_go(cache: Path, clang: CountingClang) -> None:
    compile_object(source(0))
    (used,) = cache.iterdir()
    os.utime(used, (1, 1))  # the oldest, but used below
    for age in range(100):
        other = cache / f"{age}.o"
        other.write_bytes(b"")
        os.utime(other, (age + 10, age + 10))
    unfinished = cache / "killed.o.x7f"
    unfinished.write_bytes(b"")
    os.utime(unfinished, (2, 2))
    compile_object(source(0))
    compile_object(source(1))
    left = set(cache.iterdir())
    assert len(left) == 64
    assert used in left
    assert {cache / f"{age}.o" for age in range(38, 100)} < left
    assert clang.compiled() == 2


def test_many_at_once(cache: Path) -> None:
    made: list[bytes] = []
    threads = [threading.Thread(target=lambda: made.append(compile_object(source(3)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert len(set(made)) == 1
    assert [path.suffix for path in cache.iterdir()] == [".o"]
