"""clang for eBPF: C source to an ELF object, kept by content below the user's cache folder.

A cached object is an ELF file with its SHA-256 after it, so that tools still read it and a torn or changed file is
noticed and compiled again. The cache is a convenience: whatever is wrong with it, the source is compiled.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import sysconfig
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from softswitch.errors import SoftswitchError

__all__ = ["CompileError", "CompilerMissing", "compile_object"]

_LOG = logging.getLogger("softswitch.xdp")

COMPILER = "clang"
PACKAGE = "clang"
SOURCE_NAME = "program.c"
"""The source's name in messages of clang and of the verifier."""

_FLAGS = ("-O2", "-g", "-fdebug-compilation-dir=.", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror")
"""-g is for the type information (BTF) of maps and globals; v3 has 32-bit jumps and atomics (Linux 5.12)."""
_TIMEOUT = 300
"""Seconds. The largest programs take some; a compiler that hangs must not hang the switch."""
_ERROR_LINES = 12
_ELF_MAGIC = b"\x7fELF"
_DIGEST = 32
_KEPT = 64
"""Objects in the cache: some versions of some programs, 100 to 500 KB each."""


class CompileError(SoftswitchError):
    """The source was refused; the text has clang's first lines."""


class CompilerMissing(CompileError):
    """There is no clang to be run."""


def compile_object(source: str, *, extra_flags: Sequence[str] = ()) -> bytes:
    """The ELF object with BTF of a C source for eBPF. Raises `CompileError`.

    `linux/…` and `bpf/…` of the system's headers are found; warnings are errors. Not compiled again if it was before
    with the same flags and the same clang.
    """
    compiler = shutil.which(COMPILER)
    if compiler is None:
        raise CompilerMissing(f"{COMPILER} is not on the PATH: install the package {PACKAGE}")
    command = (compiler, *_FLAGS, *_include_flags(), *extra_flags)
    key = hashlib.sha256()
    for part in (_version(compiler), *command, source):
        encoded = part.encode()
        key.update(len(encoded).to_bytes(8, "big") + encoded)
    folder = _cache_folder()
    place = folder / f"{key.hexdigest()}.o" if folder else None
    if place and (known := _read(place)):
        return known
    made = _compile(command, source)
    if place:
        _write(place, made)
    return made


def _compile(command: tuple[str, ...], source: str) -> bytes:
    # a file and not standard input: clang reads it once more for the lines that the verifier's log quotes
    try:
        with tempfile.TemporaryDirectory(prefix="softswitch-") as folder:
            (Path(folder) / SOURCE_NAME).write_text(source)
            done = _run((*command, "-c", SOURCE_NAME, "-o", "-"), folder)
    except OSError as error:
        raise CompileError(f"the generated C cannot be put into a temporary file: {error}") from error
    if done.returncode or not done.stdout.startswith(_ELF_MAGIC):
        lines = done.stderr.decode(errors="replace").splitlines()[:_ERROR_LINES]
        raise CompileError("\n  ".join((f"{COMPILER} refused the generated C (status {done.returncode}):", *lines)))
    return done.stdout


def _run(command: tuple[str, ...], folder: str | None = None) -> subprocess.CompletedProcess[bytes]:
    # messages in English and without colours, whatever the user's terminal wants
    environment = {**os.environ, "LC_ALL": "C", "TERM": "dumb"}
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            env=environment,
            cwd=folder,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CompileError(f"{command[0]} did not end within {_TIMEOUT} seconds") from error
    except OSError as error:
        raise CompilerMissing(f"{command[0]} cannot be run: {error.strerror}") from error


def _version(compiler: str) -> str:
    """The first line of `clang --version`, asked once for each file that is the compiler."""
    try:
        status = os.stat(compiler)
    except OSError as error:
        raise CompilerMissing(f"{compiler} cannot be run: {error.strerror}") from error
    return _asked_version(compiler, status.st_ino, status.st_mtime_ns)


@cache
def _asked_version(compiler: str, _inode: int, _modified: int) -> str:
    done = _run((compiler, "--version"))
    if done.returncode:
        raise CompilerMissing(f"{compiler} --version ended with status {done.returncode}")
    return done.stdout.decode(errors="replace").partition("\n")[0]


@cache
def _include_flags() -> tuple[str, ...]:
    """Where `asm/types.h` is: Debian and its kin keep one per architecture, and the eBPF target has none."""
    root = Path("/usr/include")
    named = (sysconfig.get_config_var("MULTIARCH"), f"{platform.machine()}-linux-gnu")
    folders = [*(root / str(name) for name in named if name), *sorted(root.glob("*-linux-gnu"))]
    for folder in folders:
        if (folder / "asm" / "types.h").is_file():
            return ("-idirafter", str(folder))
    return ()


def _cache_folder() -> Path | None:
    """The folder, made if need be; None, said once, if there is none to be trusted with code for the kernel."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME", ""))
        folder = (base if base.is_absolute() else Path.home() / ".cache") / "softswitch"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody knows a home
        _without_cache(str(error))
        return None
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        _without_cache(f"others than user {os.geteuid()} can write to {folder}")
        return None
    return folder


@cache
def _without_cache(reason: str) -> None:
    _LOG.debug("compiled objects are not kept: %s", reason)


def _read(place: Path) -> bytes | None:
    try:
        with place.open("rb") as file:
            if os.fstat(file.fileno()).st_uid != os.geteuid():
                return None  # put there by somebody else: it would run in the kernel
            content = file.read()
    except OSError:
        return None
    elf, digest = content[:-_DIGEST], content[-_DIGEST:]
    if not elf.startswith(_ELF_MAGIC) or hashlib.sha256(elf).digest() != digest:
        _LOG.debug("%s is broken; compiling again", place)
        return None
    with suppress(OSError):
        os.utime(place)  # the time of last use, for `_tidy`
    return elf


def _write(place: Path, elf: bytes) -> None:
    """Whole or not at all: readers may be other processes."""
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f"{place.name}.", dir=place.parent)
        with open(descriptor, "wb") as file:
            file.write(elf + hashlib.sha256(elf).digest())
        os.replace(temporary, place)
        _tidy(place.parent)
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)
        _without_cache(str(error))


def _tidy(folder: Path) -> None:
    """Delete all but the last used; what a killed process left unfinished ages out with them."""
    ages: list[tuple[int, Path]] = []
    for path in folder.glob("*.o*"):
        with suppress(OSError):
            ages.append((path.stat().st_mtime_ns, path))
    for _, path in sorted(ages)[:-_KEPT]:
        with suppress(OSError):
            path.unlink()
