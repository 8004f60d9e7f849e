"""`depot shell`: p4runtime-shell, the operator's own client, at a switch of the configuration.

It needs an older protobuf than we do and so lives in an environment of its own; what we do is find it and give it the
switch's address. With the default election id it is a backup beside a running daemon: it reads, the daemon writes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from depot.config import ConfigError, SwitchConfig, load

__all__ = ["open_shell"]

ENVIRONMENT = ".venv-p4rt-shell"
"""Where `make test` puts it, in the source tree."""
_IS_THERE = "import p4runtime_sh"


def open_shell(config_file: Path, name: str | None, python: str | None, election_id: int | None) -> int:
    """Run p4runtime-shell until it ends; return its exit status, 1 when it cannot be started."""
    try:
        switch = _choose(load(config_file).switches, name)
        interpreter = _find_python(python)
    except (ConfigError, LookupError) as error:
        print(f"depot shell: {error}", file=sys.stderr)
        return 1
    argv = [
        interpreter, "-m", "p4runtime_sh",
        "--grpc-addr", str(switch.address),
        "--device-id", str(switch.device_id),
        "--election-id", f"0,{election_id if election_id is not None else 1}",
    ]  # fmt: skip
    if switch.tls is not None:
        argv += ["--ssl", "--cacert", str(switch.tls.ca)]
        if switch.tls.cert is not None and switch.tls.key is not None:
            argv += ["--cert", str(switch.tls.cert), "--private-key", str(switch.tls.key)]
    return subprocess.run(argv, check=False).returncode


def _choose(switches: tuple[SwitchConfig, ...], name: str | None) -> SwitchConfig:
    names = ", ".join(switch.name for switch in switches)
    if name is None and len(switches) == 1:
        return switches[0]
    for switch in switches:
        if switch.name == name:
            return switch
    raise LookupError(f"which switch? There are: {names}" if name is None else f"no switch {name}; there are: {names}")


def _find_python(given: str | None) -> str:
    """The Python that has p4runtime-shell: given, of the environment or of the source tree. Raises LookupError."""
    source_tree = Path(__file__).resolve().parents[3] / ENVIRONMENT / "bin" / "python"
    places = [given] if given else [os.environ.get("DEPOT_P4RT_SHELL_PYTHON"), str(source_tree), sys.executable]
    for place in places:
        found = shutil.which(place) if place else None
        if found and subprocess.run([found, "-c", _IS_THERE], capture_output=True, check=False).returncode == 0:
            return found
    tried = ", ".join(place for place in places if place)
    raise LookupError(
        f"p4runtime-shell is not installed (looked at {tried}). It needs an environment of its own: "
        "python3 -m venv shell && shell/bin/pip install p4runtime-shell, then --python shell/bin/python; "
        "in the source tree, make test sets it up"
    )
