"""Network namespaces, links and processes of one run.

Every name begins with the run's own prefix, which is the name of its folder too; so removing by name removes what this
run made and nothing else. Only processes that the lab started are ended.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TypeVar

__all__ = ["Lab", "LabError", "Process", "missing_programs", "remove_lab", "wait_until"]

_OFFLOADS = ("rx", "tx", "tso", "gso", "gro")
"""What a switch must not meet: unfinished checksums and frames that are many segments in one."""
_PREFIX = "depot-"
_LOG_TAIL = 15
_KILL_WAIT = 5.0

_T = TypeVar("_T")


class LabError(Exception):
    """The lab could not do what was asked; the message says which command failed and what it said."""


def missing_programs(names: Sequence[str]) -> list[str]:
    """Those of the programs that are not on the PATH (nor in /usr/sbin, which users' PATHs often lack)."""
    path = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin" + os.pathsep + "/sbin"
    return [name for name in names if shutil.which(name, path=path) is None]


def wait_until(ask: Callable[[], _T | None], seconds: float, what: str, every: float = 0.05) -> _T:
    """The first answer of `ask` that is neither None nor False. Raises LabError saying `what` did not happen."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() >= deadline:
            raise LabError(f"after {seconds:g} s still waiting: {what}")
        time.sleep(every)


@dataclass(slots=True, eq=False)
class Process:
    """A program that the lab started, with everything it started in turn (they share a process group)."""

    name: str
    """Unique in the lab; names the log file."""
    namespace: str
    """Short name of the namespace it runs in."""
    popen: subprocess.Popen[bytes]
    """The program itself; `ip netns exec` becomes it, so the pid is the program's."""
    log: Path
    """What it wrote to standard output (unless that is a pipe) and standard error."""
    ending: signal.Signals = signal.SIGTERM
    """What asks it to end when the lab does."""

    @property
    def pid(self) -> int:
        """Process id, and id of its process group."""
        return self.popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program and what it started; one that has ended is no error."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return

    def kill(self) -> None:
        """End it and what it started at once, as `kill -9` does."""
        self.signal(signal.SIGKILL)
        self.popen.wait(_KILL_WAIT)

    def stop(self, seconds: float = _KILL_WAIT) -> None:
        """Ask it to end, and end it if it does not."""
        if self.running:
            try:
                self.popen.terminate()
                self.popen.wait(seconds)
            except subprocess.TimeoutExpired:
                pass
        self.kill()

    def log_tail(self) -> str:
        """The last lines of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-_LOG_TAIL:])


@dataclass(slots=True)
class Lab:
    """Namespaces by short name; a context manager that leaves nothing behind, unless `keep` is set."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix=_PREFIX)))
    """Configuration, logs, sockets and pages of this run; its name is the run's prefix."""
    keep: bool = False
    """Leave everything standing at the end."""
    namespaces: list[str] = field(default_factory=list)
    """Short names, in the order they were made."""
    processes: list[Process] = field(default_factory=list)
    """Everything started, ended or not."""

    def __post_init__(self) -> None:
        self.folder.chmod(0o755)  # nginx's workers are another user and read their pages here

    @property
    def prefix(self) -> str:
        """What all names of this run begin with."""
        return self.folder.name

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.keep:
            self.close()

    def full_name(self, namespace: str) -> str:
        """The namespace's name as `ip netns list` shows it."""
        return f"{self.prefix}-{namespace}"

    def add_namespace(self, name: str, settings: Mapping[str, object]) -> None:
        """Make a namespace with its loopback up; `settings` are files below /proc/sys/net and their values."""
        self.namespaces.append(name)  # first: an interruption must not come between
        _run(["ip", "netns", "add", self.full_name(name)])
        self.ip(name, "link set lo up")
        self.set(name, settings)

    def set(self, namespace: str, settings: Mapping[str, object]) -> None:
        """Write kernel settings of a namespace: files below /proc/sys/net."""
        if settings:
            script = "\n".join(f"echo {value} > /proc/sys/net/{path}" for path, value in settings.items())
            self.run(namespace, "sh", "-e", "-c", script)

    def ip(self, namespace: str, *commands: str, family: int | None = None) -> None:
        """Run `ip` commands in a namespace, one after the other; `family` 4 or 6 where the command does not show it."""
        _run(
            ["ip", *([f"-{family}"] if family else []), "-n", self.full_name(namespace), "-batch", "-"],
            text="\n".join(commands) + "\n",
        )

    def add_link(self, one: tuple[str, str], other: tuple[str, str]) -> None:
        """Join two namespaces by a veth pair; each end is (namespace, interface). Offloads are off on both ends."""
        (space, name), (peer_space, peer_name) = one, other
        peer = ["peer", "name", peer_name, "netns", self.full_name(peer_space)]
        _run(["ip", "-n", self.full_name(space), "link", "add", "name", name, "type", "veth", *peer])
        for where, interface in (one, other):
            off = [word for feature in _OFFLOADS for word in (feature, "off")]
            self.run(where, "ethtool", "-K", interface, *off)

    def run(self, namespace: str, *argv: str, seconds: float = 30.0) -> str:
        """Run a program in a namespace to its end; its standard output. Raises LabError when it fails."""
        return _run(self._inside(namespace, argv), seconds=seconds)

    def start(
        self,
        namespace: str,
        name: str,
        *argv: str,
        stdout: int | None = None,
        stdin: int | None = None,
        ending: signal.Signals = signal.SIGTERM,
    ) -> Process:
        """Start a program in a namespace. Output goes to its log, standard output elsewhere if `stdout` says so.

        Its standard input is empty unless `stdin` is subprocess.PIPE. `ending` is the signal that ends it with the lab.
        """
        log = self.folder / f"{name}.log"
        with log.open("ab") as sink:
            popen = subprocess.Popen(
                self._inside(namespace, argv),
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=sink if stdout is None else stdout,
                stderr=sink,
                start_new_session=True,
                cwd=self.folder,
            )
        process = Process(name, namespace, popen, log, ending)
        self.processes.append(process)
        return process

    def expect_running(self, process: Process) -> None:
        """Raise LabError with the end of its log if a process has ended."""
        if not process.running:
            raise LabError(f"{process.name} ended with status {process.popen.returncode}:\n{process.log_tail()}")

    def close(self) -> None:
        """End the processes, remove namespaces (and with them all links) and the folder; twice is no error."""
        with _undisturbed():
            for process in reversed(self.processes):
                process.signal(process.ending)
            deadline = time.monotonic() + _KILL_WAIT
            while any(process.running for process in self.processes) and time.monotonic() < deadline:
                time.sleep(0.02)
            for process in reversed(self.processes):
                process.kill()
                for pipe in (process.popen.stdin, process.popen.stdout):
                    if pipe is not None:
                        pipe.close()
            self.processes.clear()
            for name in self.namespaces:
                _end_processes_in(self.full_name(name))  # one that an interruption kept from being noted
                _delete_namespace(self.full_name(name))
            self.namespaces.clear()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _inside(self, namespace: str, argv: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.full_name(namespace), *argv]


def remove_lab(prefix: str) -> int:
    """Remove a lab that was left standing, by its prefix: processes in its namespaces, namespaces, folder.

    Returns how many namespaces there were. Raises LabError if the prefix is none of ours or names nothing.
    """
    folder = Path(tempfile.gettempdir()) / prefix
    if not prefix.startswith(_PREFIX) or "/" in prefix:
        raise LabError(f"{prefix!r} is no prefix of a lab: they begin with {_PREFIX}")
    listed = [line.split()[0] for line in _run(["ip", "netns", "list"]).splitlines() if line.strip()]
    names = [name for name in listed if name.startswith(prefix + "-")]
    if not names and not folder.is_dir():
        raise LabError(f"there is no lab {prefix!r}; `ip netns list` shows the namespaces that exist")
    for name in names:
        _end_processes_in(name)
        _delete_namespace(name)
    shutil.rmtree(folder, ignore_errors=True)
    return len(names)


def _end_processes_in(full_name: str) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + 2.0
        for pid in _processes_in(full_name):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        while _processes_in(full_name) and time.monotonic() < deadline:
            time.sleep(0.05)


def _processes_in(full_name: str) -> list[int]:
    """Process ids; none if there is no such namespace."""
    listed = subprocess.run(["ip", "netns", "pids", full_name], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listed.stdout.split()]


def _delete_namespace(full_name: str) -> None:
    done = subprocess.run(["ip", "netns", "delete", full_name], capture_output=True, text=True, check=False)
    if done.returncode != 0 and "No such file" not in done.stderr:
        print(f"ip netns delete {full_name}: {done.stderr.strip()}", file=sys.stderr)


def _run(argv: Sequence[str], text: str | None = None, seconds: float = 30.0) -> str:
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=seconds, check=False)
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(argv)}: no end after {seconds:g} s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise LabError(f"{' '.join(argv)}: status {done.returncode}: {said}")
    return done.stdout


class _undisturbed:  # noqa: N801 - reads as a word in `with`
    """While this holds, Ctrl-C and a request to end do nothing: what is being removed is removed whole."""

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __enter__(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, self._SIGNALS)

    def __exit__(self, *_: object) -> None:
        for number in self._SIGNALS:  # one that came meanwhile wanted what is done now
            while number in signal.sigpending():
                signal.sigwait([number])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._SIGNALS)
