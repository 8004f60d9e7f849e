"""The subcommands of `softswitch`: `stats`, `dump-c` and `trace` look inside a running switch, `unpin` ends one that
forwards without its process."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from softswitch.binding import ActionNumbers
from softswitch.engine.xdp.context import Context
from softswitch.engine.xdp.source import generate
from softswitch.errors import PipelineError
from softswitch.inquiry import ClientTls, Inquiry, InquiryError
from softswitch.p4info import P4Info
from softswitch.pinned import PinError, PinFolder
from softswitch.program import read_program
from softswitch.server.introspection_requests import MAX_FRAME, TraceRequest
from softswitch.stats_text import stats_text
from softswitch.trace.capture import Capture
from softswitch.trace.document import from_document
from softswitch.trace.text import Lines

__all__ = ["SUBCOMMANDS", "main"]

SUBCOMMANDS = ("stats", "dump-c", "trace", "unpin")

_FAILED = 1
_WRONG_QUESTION = 2
_HEADERS = 256
"""Bytes of a frame that a line of text needs: the headers of any common packet."""
_EXAMPLE = "ipv4.src_addr == 10.0.0.0/8 && tcp.dst_port == 80 && tcp.flags & 0x02 != 0"


def main(arguments: Sequence[str]) -> int:
    """Run one of `SUBCOMMANDS`; the exit status: 0, or 1 when the switch did not answer, or 2 for a wrong question.

    Wrong arguments end the program with 2.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], None] = given.run
    try:
        run(given)
        sys.stdout.flush()
    except InquiryError as error:
        print(f"softswitch: {error}", file=sys.stderr)
        return _WRONG_QUESTION if error.wrong_question else _FAILED
    except PinError as error:
        print(f"softswitch: {error}", file=sys.stderr)
        return _FAILED
    except BrokenPipeError:  # `| head` has seen enough; nothing more goes to its pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"softswitch: {error.filename or 'cannot write'}: {error.strerror}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        print(file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="softswitch", description="Look inside a running software switch, or end one."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_stats(commands)
    _add_dump(commands)
    _add_trace(commands)
    _add_unpin(commands)
    return parser


def _add_stats(commands: Any) -> None:
    command = commands.add_parser("stats", help="what the switch counted, and how long a packet takes")
    _add_connection(command)
    command.add_argument("--json", action="store_true", help="as JSON")
    text = "how long packets are timed, default: %(default)s; 0 for not at all"
    command.add_argument("--seconds", type=float, default=1.0, metavar="N", help=text)
    command.set_defaults(run=_stats)


def _add_dump(commands: Any) -> None:
    command = commands.add_parser("dump-c", help="the code that the program became")
    _add_connection(command)
    group = command.add_argument_group("a program instead of a running switch, as the XDP engine would run it")
    group.add_argument("--p4info", type=Path, metavar="FILE", help="P4Info in text format")
    group.add_argument("--config", type=Path, metavar="FILE", help="the program compiled to BMv2 JSON")
    group.add_argument("--cpu-port", type=int, metavar="PORT", help="as the switch's")
    group.add_argument("--drop-port", type=int, default=511, metavar="PORT", help="as the switch's")
    command.set_defaults(run=_dump)


def _add_trace(commands: Any) -> None:
    command = commands.add_parser(
        "trace", help="packets, the tables they hit and what became of them", epilog=f"example filter: {_EXAMPLE}"
    )
    _add_connection(command)
    add = command.add_argument
    add("--filter", default="", metavar="EXPR", help="which packets, in the P4 program's own terms; default: all")
    add("--count", type=int, default=0, metavar="N", help="end after so many packets")
    add("--snaplen", type=int, metavar="N", help=f"bytes of each frame, default: {_HEADERS}, all with -w")
    add("--both", action="store_true", help="with the frames that left, in --json and -w")
    add("--json", action="store_true", help="one JSON object for each packet")
    add(
        "-w",
        dest="file",
        metavar="FILE",
        help="write a pcapng file; - for standard output, as in `-w - | wireshark -ki -`",
    )
    command.set_defaults(run=_trace)


def _add_unpin(commands: Any) -> None:
    command = commands.add_parser("unpin", help="end the forwarding that a switch started with --pin left behind")
    command.add_argument("path", type=Path, metavar="PATH", help="what --pin was given")
    command.set_defaults(run=_unpin)


def _add_connection(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--grpc-server-addr", default="127.0.0.1:9559", metavar="HOST:PORT", help="the switch, default: %(default)s")
    group = command.add_argument_group("TLS")
    group.add_argument("--grpc-server-ssl", action="store_true", help="the switch serves over TLS")
    group.add_argument("--grpc-server-cacert", type=Path, metavar="FILE", help="what signs the switch's certificate")
    group.add_argument(
        "--grpc-server-cert", type=Path, metavar="FILE", help="this client's certificate, if it needs one"
    )
    group.add_argument("--grpc-server-key", type=Path, metavar="FILE", help="this client's private key")


def _inquiry(given: argparse.Namespace) -> Inquiry:
    files = (given.grpc_server_cacert, given.grpc_server_cert, given.grpc_server_key)
    if not given.grpc_server_ssl and any(files):
        raise InquiryError("TLS files mean nothing without --grpc-server-ssl", wrong_question=True)
    return Inquiry(given.grpc_server_addr, ClientTls(*files) if given.grpc_server_ssl else None)


def _stats(given: argparse.Namespace) -> None:
    with _inquiry(given) as switch:
        stats = switch.stats(given.seconds)
    print(json.dumps(stats, indent=2) if given.json else stats_text(stats))


def _dump(given: argparse.Namespace) -> None:
    if given.p4info is not None or given.config is not None:
        print(_translated(given), end="")
        return
    with _inquiry(given) as switch:
        answer = switch.source()
    if answer["language"] == "python":
        print("softswitch: this switch runs on the python engine: here is its Python", file=sys.stderr)
    print(answer["source"], end="")


def _translated(given: argparse.Namespace) -> str:
    """The C of a program in files."""
    if given.p4info is None or given.config is None:
        raise InquiryError("--p4info and --config go together", wrong_question=True)
    try:
        P4Info.load(given.p4info)
        program = read_program(given.config)
        cpus = 1 << ((os.cpu_count() or 1) - 1).bit_length()
        context = Context(
            program, ActionNumbers(program), drop_port=given.drop_port, cpu_port=given.cpu_port, cpus=cpus
        )
        return generate(context).text
    except PipelineError as error:
        raise InquiryError(str(error)) from error


def _trace(given: argparse.Namespace) -> None:
    snaplen = given.snaplen
    if snaplen is None:
        snaplen = MAX_FRAME if given.file else _HEADERS
    if given.json and given.file == "-":
        raise InquiryError("--json and -w - both want standard output", wrong_question=True)
    request = TraceRequest(given.filter, given.count, snaplen, given.both)
    told = lost = 0
    with _inquiry(given) as switch, _output(given.file) as file:
        answers = switch.trace(request)
        show = _show(next(answers), file, given)
        try:
            for answer in answers:
                for document in answer["records"]:
                    show(document)
                told, lost = told + len(answer["records"]), lost + answer["lost"]
        finally:
            sys.stdout.flush()
            text = f"softswitch: {told} packets traced"
            print(f"{text}, {lost} lost: narrow the filter" if lost else text, file=sys.stderr)


def _unpin(given: argparse.Namespace) -> None:
    folder = PinFolder(given.path, make=False)
    interfaces = folder.clear()
    folder.close()
    with contextlib.suppress(OSError):  # somebody else's pins are in it
        given.path.rmdir()
    print(
        f"softswitch: {', '.join(interfaces)}: no program any more" if interfaces else "softswitch: nothing forwarded"
    )


def _show(
    greeting: dict[str, Any], file: BinaryIO | None, given: argparse.Namespace
) -> Callable[[dict[str, Any]], None]:
    """What is done with each record."""
    ports = {port["number"]: port["name"] for port in greeting["ports"]}
    lines = Lines(greeting["tables"], greeting["actions"], ports, greeting["cpu_port"])
    capture = None if file is None else Capture(file, lines, ports, greeting["cpu_port"])
    print(
        f"softswitch: tracing {greeting['program'] or 'the program'} on the {greeting['engine']} engine",
        file=sys.stderr,
    )

    def show(document: dict[str, Any]) -> None:
        record = from_document(document)
        if capture is not None:
            capture.add(record)
        if given.json:
            print(json.dumps(document), flush=True)
        elif given.file != "-":
            print(lines.line(record), flush=True)

    return show


@contextlib.contextmanager
def _output(name: str | None) -> Iterator[BinaryIO | None]:
    if name is None:
        yield None
    elif name == "-":
        yield sys.stdout.buffer
    else:
        with Path(name).open("wb") as file:
            yield file
