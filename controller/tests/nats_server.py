"""A real NATS server for tests."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from controller.tests.test_mesh_shell import free_port

from depot.cluster.nats_shell import BUCKET

__all__ = ["NEEDS_NATS", "NatsServer"]

NEEDS_NATS = pytest.mark.skipif(
    shutil.which("nats-server") is None, reason="needs nats-server (Debian package nats-server)"
)


class NatsServer:
    """A server on loopback with JetStream; `certificates`: its folder, for TLS that asks its clients for theirs."""

    def __init__(self, folder: Path, certificates: Path | None = None) -> None:
        self.port = free_port()
        self._config = folder / "nats.conf"
        self._folder, self._certificates = folder, certificates
        self._process: subprocess.Popen[bytes] | None = None
        self.set_options()

    def set_options(self, *, jetstream: bool = True, password: str | None = None) -> None:
        """Write the configuration, for the next start or reload; with a password nobody gets in without it."""
        certificates = self._certificates
        lines = [f"listen: 127.0.0.1:{self.port}"]
        if jetstream:
            lines.append(f'jetstream {{ store_dir: "{self._folder}" }}')
        if password is not None:
            lines.append(f'authorization {{ user: somebody, password: "{password}" }}')
        if certificates is not None:
            names = {"cert_file": "nats.pem", "key_file": "nats.key", "ca_file": "ca.pem"}
            files = ", ".join(f'{key}: "{certificates / name}"' for key, name in names.items())
            lines.append(f"tls {{ {files}, verify_and_map: true }}")
            users = ", ".join(self._user(name) for name in "abc")
            lines.append(f"authorization {{ users = [{users}] }}")
        self._config.write_text("\n".join(lines) + "\n")

    @staticmethod
    def _user(name: str) -> str:
        """As docs/cluster.md says: nobody may speak for another."""
        subjects = [f"depot.say.{name}", "depot.ask.>", "$JS.API.>", f"$KV.{BUCKET}.{name}.>", "_INBOX.>"]
        return f"{{ user: {name}, permissions: {{ publish: {json.dumps(subjects)} }} }}"

    def start(self) -> None:
        """Start it; clients wait for it."""
        argv = ["nats-server", "-c", str(self._config)]
        self._process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def reload(self) -> None:
        """Have it read its configuration again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
