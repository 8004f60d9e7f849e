"""The command `softswitch`: a P4Runtime switch on this machine's network interfaces, and looks into a running one."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from finsy.proto import p4r

from softswitch import tools
from softswitch.daemon import Options, read_program, run
from softswitch.errors import EngineUnavailable
from softswitch.pinned import PinError
from softswitch.ports import PacketSocketPort, PortError, TapPort, check_distinct, parse_port
from softswitch.server.listener import ListenError, TlsFiles, parse_address
from softswitch.server.status import Refusal

__all__ = ["main"]

_FAILED = 1
_MAX_PORT = 511
"""v1model's ports are 9 bits wide."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the switch until it is told to stop, or one of the subcommands.

    Returns the exit status: 0 stopped by a signal, 1 could not start. Wrong arguments end the program with 2.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in tools.SUBCOMMANDS:
        return tools.main(arguments)
    parser = _parser()
    given = parser.parse_args(arguments)
    logging.basicConfig(
        level=given.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        options = _options(given)
    except ValueError as error:
        parser.error(str(error))
    try:
        asyncio.run(run(options, _started))
    except (EngineUnavailable, ListenError, PinError, PortError, Refusal) as error:
        print(f"softswitch: {error}", file=sys.stderr)
        return _FAILED
    return 0


def _started(address: str) -> None:
    print(f"softswitch: P4Runtime server on {address}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="softswitch",
        description="A software switch that runs a P4 program compiled for BMv2 (v1model) and speaks P4Runtime.",
        epilog="example: softswitch -i 1@veth1 -i 2@veth2 --grpc-server-addr 127.0.0.1:9559 --cpu-port 255. To look"
        f" inside a running switch: softswitch {{{','.join(tools.SUBCOMMANDS)}}}, each with --help.",
    )
    _add_switch_arguments(parser)
    _add_program_arguments(parser.add_argument_group("program to start with"))
    _add_tls_arguments(parser.add_argument_group("TLS"))
    levels = ["debug", "info", "warning", "error"]
    parser.add_argument("--log-level", default="info", choices=levels, help="default: %(default)s")
    parser.add_argument("--version", action="version", version=f"softswitch {_version()}")
    return parser


def _add_switch_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    port_help = "a port: 1@veth1 on a network interface, 1@tap:NAME on a TAP interface; may be repeated"
    add("-i", dest="ports", action="append", default=[], type=_port, metavar="PORT@INTERFACE", help=port_help)
    add("--device-id", type=_device_id, default=1, metavar="ID", help="P4Runtime device id, default: %(default)s")
    address_help = "where the P4Runtime server listens, default: %(default)s; port 0 takes a free one"
    add("--grpc-server-addr", type=_address, default="127.0.0.1:9559", metavar="HOST:PORT", help=address_help)
    add("--cpu-port", type=_number, metavar="PORT", help="port of packet-in and packet-out, default: none")
    engine_help = "what switches packets: XDP in the kernel, python, or XDP where that is possible (the default)"
    add("--engine", choices=["auto", "xdp", "python"], default="auto", help=engine_help)
    pin_help = (
        "a folder on a BPF file system (/sys/fs/bpf/NAME): when this process ends the kernel forwards on, and the"
    )
    add("--pin", type=Path, metavar="PATH", help=f"{pin_help} next one with the same PATH takes over; see `unpin`")
    add("--drop-port", type=_number, default=511, metavar="PORT", help="port that drops packets, default: %(default)s")


def _add_program_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--no-p4", action="store_true", help="start without a program and wait for one (the default)")
    group.add_argument("--p4info", type=Path, metavar="FILE", help="P4Info in text format")
    group.add_argument("--config", type=Path, metavar="FILE", help="the program compiled to BMv2 JSON")


def _add_tls_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--grpc-server-ssl", action="store_true", help="serve over TLS")
    group.add_argument("--grpc-server-cacert", type=Path, metavar="FILE", help="what signs clients' certificates")
    group.add_argument("--grpc-server-cert", type=Path, metavar="FILE", help="the server's certificate chain")
    group.add_argument("--grpc-server-key", type=Path, metavar="FILE", help="the server's private key")
    group.add_argument("--grpc-server-with-client-auth", action="store_true", help="clients must show a certificate")


def _options(given: argparse.Namespace) -> Options:
    """What the arguments mean together. Raises ValueError where they contradict each other."""
    check_distinct(given.ports)
    if given.pin is not None and given.engine == "python":
        raise ValueError("--pin leaves packets to the kernel: it needs the XDP engine, not --engine python")
    if given.cpu_port == given.drop_port:
        raise ValueError(f"--cpu-port and --drop-port are both {given.cpu_port}")
    for port in given.ports:
        if port.number in (given.cpu_port, given.drop_port):
            raise ValueError(f"-i {port.number}@{port.name}: {port.number} is the CPU port or the drop port")
    return Options(
        device_id=given.device_id,
        address=given.grpc_server_addr,
        ports=given.ports,
        cpu_port=given.cpu_port,
        drop_port=given.drop_port,
        tls=_tls(given),
        program=_program(given),
        engine=given.engine,
        pin=given.pin,
    )


def _tls(given: argparse.Namespace) -> TlsFiles | None:
    files = {
        "--grpc-server-cert": given.grpc_server_cert,
        "--grpc-server-key": given.grpc_server_key,
        "--grpc-server-cacert": given.grpc_server_cacert,
        "--grpc-server-with-client-auth": given.grpc_server_with_client_auth or None,
    }
    if not given.grpc_server_ssl:
        without = next((name for name, value in files.items() if value is not None), None)
        if without is not None:
            raise ValueError(f"{without} means nothing without --grpc-server-ssl")
        return None
    for name in ("--grpc-server-cert", "--grpc-server-key"):
        if files[name] is None:
            raise ValueError(f"--grpc-server-ssl needs {name}")
    if given.grpc_server_with_client_auth and given.grpc_server_cacert is None:
        raise ValueError("--grpc-server-with-client-auth needs --grpc-server-cacert")
    return TlsFiles(
        given.grpc_server_cert, given.grpc_server_key, given.grpc_server_cacert, given.grpc_server_with_client_auth
    )


def _program(given: argparse.Namespace) -> p4r.ForwardingPipelineConfig | None:
    if given.p4info is None and given.config is None:
        return None
    if given.no_p4:
        raise ValueError("--no-p4 contradicts --p4info and --config")
    if given.p4info is None or given.config is None:
        raise ValueError("--p4info and --config go together")
    try:
        return read_program(given.p4info, given.config)
    except OSError as error:
        raise ValueError(f"cannot read {error.filename}: {error.strerror}") from error


def _port(text: str) -> PacketSocketPort | TapPort:
    try:
        return parse_port(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _address(text: str) -> str:
    try:
        parse_address(text)
    except ListenError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _device_id(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 64:
        raise argparse.ArgumentTypeError(f"{text!r} is no device id: 1 to 2^64 - 1")
    return int(text)


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) > _MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port number: 0 to {_MAX_PORT}")
    return int(text)


def _version() -> str:
    try:
        return version("p4depot")
    except PackageNotFoundError:
        return "from a source tree"
