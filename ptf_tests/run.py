"""Run a PTF suite against a switch.

    python -m ptf_tests.run --target softswitch|xdp|bmv2 [case …]
    python -m ptf_tests.run --target softswitch|xdp|bmv2 --random BATCHES [--seed NUMBER] [--against python|xdp]

`softswitch` is the software switch with its python engine, `xdp` the same with its XDP engine.

Everything happens in a network and process namespace of its own (root needed): veth pairs, the switch, ptf. Whatever
ends the run, also kill -9, the namespace goes, and with it every process, interface and address. Exit status: ptf's
own; 2 when the switch did not start; 77 when the target is not here (the reason is on the screen).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

from depot.program import CompiledProgram, find_compiled_program
from ptf_tests.case import CPU_PORT
from ptf_tests.network import PORTS
from ptf_tests.wakeful_ends import awake
from softswitch.engine.xdp.availability import why_not

__all__ = ["TARGETS", "inside_namespace", "main", "missing", "running_target"]

ROOT = Path(__file__).resolve().parent.parent
GRPC_ADDRESS = "127.0.0.1:9559"  # within the run's own network namespace
DEVICE_ID = 1
SKIPPED = 77
TARGETS = ("softswitch", "xdp", "bmv2")
ENGINES = {"softswitch": "python", "xdp": "xdp"}
MTU = 3000  # of the veth ends: beyond every packet of ours, and in one page, as XDP wants it
NAMESPACE = ("unshare", "--net", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc")


def missing(target: str) -> str | None:
    """Why the suite cannot run against a target here; None when it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        return f"no namespace of our own: {probe.stderr.strip()}"
    if target == "bmv2" and shutil.which("simple_switch_grpc") is None:
        return "simple_switch_grpc (BMv2) is not on the PATH"
    return why_not() if target == "xdp" else None


def switch_command(target: str, program: CompiledProgram, folder: Path) -> list[str]:
    """The command line that starts a target with the suite's ports; it is given its program over P4Runtime."""
    ports = [part for port in PORTS for part in ("-i", f"{port}@{switch_end(port)}")]
    common = [*ports, "--device-id", str(DEVICE_ID)]
    target_options = ["--grpc-server-addr", GRPC_ADDRESS, "--cpu-port", str(CPU_PORT)]
    if target in ENGINES:
        return [sys.executable, "-m", "softswitch", "--engine", ENGINES[target], *common, *target_options]
    log = ["--log-console"] if os.environ.get("PTF_SWITCH_LOG") else []
    return ["simple_switch_grpc", "--no-p4", *common, *log, "--thrift-port", "0", "--", *target_options]


def switch_end(port: int) -> str:
    """The switch's end of a port's veth pair."""
    return f"switch{port}"


def test_end(port: int) -> str:
    """The test's end of a port's veth pair."""
    return f"test{port}"


def make_ports() -> None:
    """Bring up loopback and one veth pair for each port: no offloads, no IPv6 of the kernel's own. Run inside."""
    _run("ip", "link", "set", "lo", "up")
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    for port in PORTS:
        ends = (switch_end(port), test_end(port))
        mtu = ("mtu", str(MTU))
        _run("ip", "link", "add", ends[0], *mtu, "type", "veth", "peer", "name", ends[1], *mtu)
        for end in ends:
            _run("ethtool", "-K", end, "tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off")
            _run("ip", "link", "set", end, "up")


def _run(*command: str) -> None:
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {finished.stderr.strip()}")


@contextmanager
def running_target(target: str, program: CompiledProgram, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a target over the ports of `make_ports`, its output in `folder`/switch.log; stop it at the end."""
    log = folder / "switch.log"
    with log.open("wb") as output, ExitStack() as held:
        if target == "xdp":
            held.enter_context(awake(map(test_end, PORTS)))
        switch = subprocess.Popen(
            switch_command(target, program, folder), stdout=output, stderr=subprocess.STDOUT, cwd=folder
        )
        try:
            yield switch
            if switch.poll() is not None:
                print(f"the switch ended during the run with status {switch.returncode}:\n{log.read_text()[-4000:]}")
        finally:
            switch.terminate()
            try:
                switch.wait(timeout=5)
            except subprocess.TimeoutExpired:
                switch.kill()
                switch.wait()


def inside_namespace(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this tree in a namespace of its own."""
    return [*NAMESPACE, sys.executable, "-m", module, *arguments]


def run_ptf(target: str, suite: str, specs: list[str], **params: int | str) -> int:
    """Make the ports, start the target, run ptf over it; ptf's exit status. Run inside the namespace.

    suite: the folder of the tests; specs: what ptf is to run of it, all when empty; params: the tests' parameters.
    """
    program = find_compiled_program()
    make_ports()
    with tempfile.TemporaryDirectory(prefix="depot-ptf-") as scratch, running_target(target, program, Path(scratch)):
        settings = f"grpc='{GRPC_ADDRESS}';p4info='{program.p4info}';json='{program.json}'"
        settings += "".join(f";{name}={value!r}" for name, value in params.items())
        command = [str(Path(sys.executable).with_name("ptf")), "--test-dir", str(ROOT / "ptf_tests" / suite)]
        command += ["--pypath", str(ROOT), "--pypath", str(ROOT / "controller"), "--log-dir", f"{scratch}/ptf"]
        for port in PORTS:
            command += ["--interface", f"{port}@{test_end(port)}"]
        command += ["--test-params", settings, *specs]
        return subprocess.run(command, cwd=scratch, check=False).returncode


def enter_namespace(arguments: list[str]) -> NoReturn:
    """Become the same command inside a namespace of its own: who kills this process kills all of it."""
    command = inside_namespace("ptf_tests.run", "--inside", *arguments)
    os.chdir(ROOT)
    os.execvp(command[0], command)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=TARGETS, default="softswitch")
    parser.add_argument("--random", type=int, default=0, metavar="BATCHES", help="compare random packets instead")
    parser.add_argument("--seed", type=int, default=1, help="of the random packets")
    against_help = "engine of the library that the random packets' fate is compared with, default: %(default)s"
    parser.add_argument("--against", choices=["python", "xdp"], default="python", help=against_help)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("cases", nargs="*", help="names of cases; all when none is given")
    options = parser.parse_args(arguments)
    if options.inside and options.random:
        settings = {"seed": options.seed, "batches": options.random, "against": options.against}
        return run_ptf(options.target, "random_suite", [], **settings)
    if options.inside:
        return run_ptf(options.target, "suite", [f"depot_suite.{case}" for case in options.cases])
    reason = missing(options.target) or (why_not() if options.random and options.against == "xdp" else None)
    if reason is not None:
        print(f"skipped {options.target}: {reason}")
        return SKIPPED
    enter_namespace(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
