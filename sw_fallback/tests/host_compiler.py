"""Generated C compiled for this machine and run as a program: what it computes needs no kernel."""

from __future__ import annotations

import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

PRELUDE = """
#include <stddef.h>
#include <stdio.h>
#include <stdint.h>
#include <string.h>
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef long long s64;
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
enum { FRESH = 0xffff };
"""
"""What the generated code takes from elsewhere."""


def runtime(name: str) -> str:
    """One of the hand-written parts."""
    return files("softswitch.engine.xdp").joinpath("runtime", name).read_text("utf-8")


def run(source: str, folder: Path) -> list[str]:
    """Compile a program, with traps for what C leaves undefined where the compiler has them; returns its lines."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    (folder / "program.c").write_text(PRELUDE + source, "utf-8")
    base = [compiler, "-O1", "-w", "-o", str(folder / "program"), str(folder / "program.c")]
    checked = subprocess.run([*base, "-fsanitize=undefined"], capture_output=True, text=True, check=False)
    if checked.returncode:
        plain = subprocess.run(base, capture_output=True, text=True, check=False)
        assert not plain.returncode, plain.stderr[:4000]
    ran = subprocess.run([str(folder / "program")], capture_output=True, text=True, check=True)
    assert not ran.stderr, ran.stderr[:4000]
    return ran.stdout.splitlines()


def warnings(folder: Path) -> list[str]:
    """What clang says of a program that has been run, beside what the engine does not want to hear."""
    compiler = shutil.which("clang")
    if compiler is None:
        return []
    quiet = [line for line in runtime("types.h").splitlines() if line.startswith("#pragma clang diagnostic")]
    source = "\n".join(quiet) + "\n" + (folder / "program.c").read_text("utf-8")
    command = [compiler, "-Wall", "-fsyntax-only", "-x", "c", "-"]
    said = subprocess.run(command, input=source, capture_output=True, text=True, check=False).stderr
    return [line for line in said.splitlines() if ": warning: " in line or ": error: " in line]
