"""The import rules of the house, read from the sources without running them.

1. `depot` never imports `softswitch`, nor the other way round.
2. Every module is a core unless it is named as a shell below. A core imports neither what moves bytes, waits, tells
   the time or draws lots, nor a shell; only the codecs named below may use the P4Runtime bindings.
"""

import ast
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"depot": ROOT / "controller" / "depot", "softswitch": ROOT / "sw_fallback" / "softswitch"}

# Shells: patterns of full module names (`*` crosses dots). A name here means its submodules too.
SHELLS = {
    "depot.shell",
    "depot.*_shell",
    "depot.*.shell",
    "depot.cli",
    "depot.cli_*",
    "depot.__main__",
    "depot.daemon",
    "depot.demo",
    "softswitch.cli",
    "softswitch.cli_*",
    "softswitch.__main__",
    "softswitch.daemon",
    "softswitch.dataplane",
    "softswitch.engine.xdp.availability",
    "softswitch.engine.xdp.compiler",
    "softswitch.engine.xdp.description",
    "softswitch.engine.xdp.engine",
    "softswitch.engine.xdp.kernel",
    "softswitch.engine.xdp.legacy",
    "softswitch.engine.xdp.libbpf",
    "softswitch.engine.xdp.memory",
    "softswitch.engine.xdp.timing",
    "softswitch.engine.xdp.traced",
    "softswitch.engine.xdp.undelivered",
    "softswitch.inquiry",
    "softswitch.kernel_ports",
    "softswitch.pinned",
    "softswitch.ports",
    "softswitch.server.introspection",
    "softswitch.server.listener",
    "softswitch.server.service",
    "softswitch.server.stream",
    "softswitch.tools",
}

# Cores that translate between our objects and P4Runtime's messages: the bindings are their vocabulary.
CODECS = {"depot.p4runtime.codec", "softswitch.p4info"} | {
    f"softswitch.server.{name}"
    for name in (
        "action_codec", "batch", "batch_status", "device", "match_codec", "p4data", "packet_io", "pipeline", "read",
        "replication_codec", "schema", "selector_codec", "table_codec", "write",
    )
}  # fmt: skip

# Import names no core may use; a name here means its submodules too.
IMPURE = {
    "asyncio", "concurrent", "fcntl", "finsy", "grpc", "multiprocessing", "os", "prometheus_client", "random",
    "secrets", "select", "selectors", "signal", "socket", "ssl", "subprocess", "threading", "time",
}  # fmt: skip
HARMLESS = {"os.PathLike"}  # a type
BINDINGS = {"finsy.proto", "google.protobuf"}


def module_names() -> dict[str, Path]:
    """Every module of both packages by its full name."""
    found: dict[str, Path] = {}
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*.py"):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = module_names()


def within(name: str, parents: set[str]) -> bool:
    """Whether an import name is one of `parents` or lies inside one."""
    return any(name == parent or name.startswith(parent + ".") for parent in parents)


def is_shell(module: str) -> bool:
    parts = module.split(".")
    prefixes = [".".join(parts[:n]) for n in range(2, len(parts) + 1)]
    return any(fnmatchcase(prefix, pattern) for prefix in prefixes for pattern in SHELLS)


def imports_of(source: str, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and full name of everything a module imports, at any depth except under `if TYPE_CHECKING`.

    `from a import b` gives `a.b`: b may be a module. Relative names are resolved.
    """
    tree = ast.parse(source)
    skipped = {id(node) for guard in ast.walk(tree) if _is_type_checking(guard) for node in ast.walk(guard)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _resolve(node, module, is_package)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def _is_type_checking(node: ast.AST) -> bool:
    if not isinstance(node, ast.If):
        return False
    return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _resolve(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if node.level == 0:
        return node.module or ""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + is_package]
    return ".".join([*base, node.module] if node.module else base)


def broken_rules(module: str, source: str, is_package: bool = False) -> list[str]:
    """What a module imports and must not, one sentence each."""
    package = module.split(".", maxsplit=1)[0]
    strangers = set(PACKAGES) - {package}
    broken = []
    for line, name in imports_of(source, module, is_package):
        if within(name, strangers):
            broken.append(f"{module}:{line} imports {name}: the two packages share nothing but the wire")
        elif is_shell(module) or (module in CODECS and within(name, BINDINGS)):
            continue
        elif within(name, IMPURE | BINDINGS) and name not in HARMLESS:
            broken.append(f"{module}:{line} is a core and imports {name}")
        elif within(name, {package}) and is_shell(name):
            broken.append(f"{module}:{line} is a core and imports the shell {name}")
    return broken


@pytest.mark.parametrize("module", sorted(MODULES))
def test_module_keeps_the_rules(module: str) -> None:
    path = MODULES[module]
    assert broken_rules(module, path.read_text(), path.name == "__init__.py") == []


def test_both_packages_are_seen() -> None:
    assert set(PACKAGES) <= set(MODULES)


@pytest.mark.parametrize("pattern", sorted(SHELLS))
def test_every_shell_pattern_is_about_a_known_package(pattern: str) -> None:
    assert pattern.split(".")[0] in PACKAGES


def test_every_codec_exists() -> None:
    assert set(MODULES) >= CODECS


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("depot.x", "import softswitch.packet", "softswitch.packet"),
        ("softswitch.x", "from depot import program", "depot.program"),
        ("depot.cli", "import softswitch", "softswitch"),
        ("depot.x", "import asyncio", "asyncio"),
        ("depot.x", "def f():\n    from time import monotonic", "time.monotonic"),
        ("depot.x", "import finsy as fy", "finsy"),
        ("softswitch.x", "from finsy.proto import p4r", "finsy.proto.p4r"),
        ("softswitch.x", "import grpc.aio", "grpc.aio"),
        ("depot.x", "from .cli import main", "the shell depot.cli"),
        ("depot.feature.x", "from ..daemon import loop", "the shell depot.daemon"),
    ],
)
def test_a_breach_is_seen(module: str, source: str, complaint: str) -> None:
    assert any(complaint in sentence for sentence in broken_rules(module, source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("depot.x", "from . import program"),
        ("depot.x", "from dataclasses import dataclass\nimport timeit_like"),
        ("depot.x", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import asyncio"),
        ("depot.feature.feature_shell", "import asyncio"),
        ("depot.daemon.server", "import asyncio, socket"),
        ("softswitch.ports.packet_socket", "import socket"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert broken_rules(module, source) == []
