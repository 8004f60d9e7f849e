"""Sessions that would notice if they were cut, moved or altered: client and server of the system tests.

    python session_traffic.py serve NAME PORT      answers TCP and UDP, both families, under a member's name
    python session_traffic.py drive                holds sessions, told by JSON lines on standard input (see `Driver`)

A TCP session is a sequence of records, each answered before the next. Both directions carry a sequence number, the
checksum of the record and the checksum of everything since the session began, so a stream that is not the one
uninterrupted conversation of one client with one server ends in an error that is reported.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast
from zlib import crc32

_RECORD = struct.Struct("!IIQ")
"""Length of the payload, its checksum, sequence number."""
_ANSWER = struct.Struct("!16sIIQI")
"""Member's name, length of the payload, its checksum, sequence number, checksum of all the client has sent."""
_LAST = 1 << 63
"""Added to the sequence number of a session's last record."""
_STREAM = 1 << 62
"""Added to the sequence number of a record after which the client only listens, and the server never stops."""
_STREAM_PAUSE, _STREAM_BLOCK = 0.05, 1000
_BACKLOG = 1024
_GLANCE = 0.02
"""Seconds between looks at all sessions; an event per record would cost more."""


def payload(sequence: int, size: int) -> bytes:
    """Bytes that differ from record to record."""
    seed = struct.pack("!Q", sequence * 0x9E3779B97F4A7C15 % (1 << 64))
    return (seed * (size // 8 + 1))[:size]


# ---------------------------------------------------------------------------------------------------------- server


async def _serve_session(name: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    total, expected = 0, 0
    try:
        while True:
            size, checksum, sequence = _RECORD.unpack(await reader.readexactly(_RECORD.size))
            data = await reader.readexactly(size)
            number = sequence & ~(_LAST | _STREAM)
            if crc32(data) != checksum or number != expected:
                print(f"record {expected}: {number}, checksum {crc32(data)} {checksum}", file=sys.stderr)
                writer.transport.abort()
                return
            total, expected = crc32(data, total), expected + 1
            answer = payload(number, size)
            writer.write(_ANSWER.pack(name, len(answer), crc32(answer), sequence, total) + answer)
            await writer.drain()
            while sequence & _STREAM:
                writer.write(bytes(_STREAM_BLOCK))
                await writer.drain()
                await asyncio.sleep(_STREAM_PAUSE)
            if sequence & _LAST:
                break  # the server closes first: the client's port is free again at once
    except (OSError, asyncio.IncompleteReadError):
        pass  # a health check, or a client that went away
    finally:
        writer.close()


class _DatagramServer(asyncio.DatagramProtocol):
    def __init__(self, name: bytes) -> None:
        self.name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # 3.11's is no subclass of it

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.transport.sendto(self.name + data, address)


async def serve(name: str, port: int) -> None:
    """Answer for ever."""
    loop = asyncio.get_running_loop()
    mark = name.encode().ljust(16, b"\0")
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG)
    datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    datagrams.bind(("::", port))
    await loop.create_datagram_endpoint(lambda: _DatagramServer(mark), sock=datagrams)
    server = await asyncio.start_server(lambda r, w: _serve_session(mark, r, w), sock=listener, backlog=_BACKLOG)
    await server.serve_forever()


# ---------------------------------------------------------------------------------------------------------- client


@dataclass(eq=False)
class Session:
    """One TCP session and what became of it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    pause: float
    """Seconds between records."""
    size: int
    """Bytes of a record."""
    member: str = ""
    """Who answered first; must answer always."""
    records: int = 0
    """Records answered."""
    total: int = 0
    """Checksum of all that was sent."""
    lost: str | None = None
    """Why it ended, if it did without being told to."""
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: the next record is the last."""
    ended: bool = False
    """Ended well."""

    @property
    def name(self) -> str:
        """The client's address and port, and the address it speaks with; one port may serve two of these."""
        host, port = self.writer.get_extra_info("sockname")[:2]
        return f"{host} {port} {self.writer.get_extra_info('peername')[0]}"

    async def exchange(self, mark: int = 0) -> None:
        """Send a record, marked or not, and check its answer. Raises OSError, EOFError, ValueError, TimeoutError."""
        data = payload(self.records * 2 + 1, self.size)
        self.total = crc32(data, self.total)
        mark |= self.records
        self.writer.write(_RECORD.pack(len(data), crc32(data), mark) + data)
        name, size, checksum, sequence, total = _ANSWER.unpack(await self.reader.readexactly(_ANSWER.size))
        answer = await self.reader.readexactly(size)
        member = name.rstrip(b"\0").decode()
        if sequence != mark or total != self.total or crc32(answer) != checksum:
            raise ValueError(f"record {self.records} of {self.member}: wrong answer {sequence:x} by {member}")
        if self.member not in ("", member):
            raise ValueError(f"moved from {self.member} to {member}")
        self.member = member
        self.records += 1

    async def listen(self, patience: float) -> None:
        """Have the server send for ever and say nothing more."""
        try:
            await self.exchange(_STREAM)
            while True:
                async with asyncio.timeout(patience):
                    await self.reader.readexactly(_STREAM_BLOCK)
        except TimeoutError:
            self.lost = f"no answer for {patience:g} s ({self.member})"
        except (OSError, EOFError, ValueError) as error:
            self.lost = f"{type(error).__name__}: {error} ({self.member})"
        finally:
            self.writer.close()

    async def live(self, patience: float) -> None:
        """Exchange records until told to end."""
        try:
            while not self.ended:
                last = self.ending.is_set()
                async with asyncio.timeout(patience):
                    await self.exchange(_LAST if last else 0)
                    if last:
                        if await self.reader.read(1):
                            raise ValueError("bytes after the last answer")
                        self.ended = True
                if not last:
                    await _wait(self.ending, self.pause)
        except TimeoutError:
            self.lost = f"no answer for {patience:g} s ({self.member})"
        except asyncio.IncompleteReadError:
            self.lost = f"closed by {self.member}"
        except (OSError, ValueError) as error:
            self.lost = f"{type(error).__name__}: {error} ({self.member})"
        finally:
            self.writer.close()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


async def open_session(address: str, port: int, pause: float, size: int, local: socket.socket | None = None) -> Session:
    """Connect, from the local socket if one is given. Raises OSError, TimeoutError."""
    async with asyncio.timeout(10):
        if local is None:
            reader, writer = await asyncio.open_connection(address, port)
        else:
            await asyncio.get_running_loop().sock_connect(local, (address, port))
            reader, writer = await asyncio.open_connection(sock=local)
    return Session(reader, writer, pause, size)


async def take_port(address: str, source_port: int) -> socket.socket:
    """A socket with this local port, as soon as the kernel has seen the end of the last one. Raises TimeoutError."""
    async with asyncio.timeout(5):
        while True:
            local = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            local.setblocking(False)
            try:
                local.bind(("", source_port))
            except OSError:
                local.close()
                await asyncio.sleep(_GLANCE)
            else:
                return local


class Driver:
    """Holds the sessions; every command is one method, `{"do": name, …}` in, one JSON object out."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.sockets: list[socket.socket] = []

    async def open(
        self,
        address: str,
        port: int,
        count: int,
        pauses: Sequence[float],
        sizes: Sequence[int],
        patience: float,
        listen: bool = False,
    ) -> dict[str, object]:
        """Hold `count` more sessions, of each pause and size in turn; answers when all have exchanged a record.

        listen: they say no more after it, and the server never stops.
        """
        failed = []
        for index in range(count):
            try:
                session = await open_session(address, port, pauses[index % len(pauses)], sizes[index % len(sizes)])
                self.sessions.append(session)
                doing = session.listen(patience) if listen else session.live(patience)
                self.tasks.append(asyncio.create_task(doing))
            except (OSError, TimeoutError) as error:
                failed.append(f"{type(error).__name__}: {error}")
        while any(not session.records and session.lost is None for session in self.sessions):  # noqa: ASYNC110
            await asyncio.sleep(_GLANCE)
        return {"failed": failed} | await self.report()

    async def report(self) -> dict[str, object]:
        """What all the sessions are doing."""
        alive = [session for session in self.sessions if session.lost is None]
        return {
            "alive": len(alive),
            "lost": [session.lost for session in self.sessions if session.lost is not None],
            "members": Counter(session.member for session in alive),
            "records": sum(session.records for session in self.sessions),
            "sessions": {session.name: session.member for session in alive if not session.ended},
        }

    async def progress(self, records: int, seconds: float) -> dict[str, object]:
        """Wait until every session that lives has exchanged so many more records, or is lost."""
        goals = {id(session): session.records + records for session in self.sessions}
        deadline = time.monotonic() + seconds

        def behind() -> list[Session]:
            return [s for s in self.sessions if s.lost is None and s.records < goals[id(s)]]

        while behind() and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_GLANCE)
        return {"behind": len(behind())} | await self.report()

    async def finish(self, seconds: float) -> dict[str, object]:
        """End every session with a last record, answered; forget them."""
        for session in self.sessions:
            session.ending.set()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=seconds)
        ended = sum(session.ended for session in self.sessions)
        answer = {"ended": ended} | await self.report()
        for task in self.tasks:
            task.cancel()
        self.sessions, self.tasks = [], []
        return answer

    async def probe(self, address: str, port: int, count: int, source_port: int = 0) -> dict[str, object]:
        """New sessions one after the other, of one record each: who served them, how long each took, what failed."""
        members, failed, seconds = [], [], []
        for _ in range(count):
            local = await take_port(address, source_port) if source_port else None
            start = time.monotonic()
            try:
                session = await open_session(address, port, 0, 64, local)
                async with asyncio.timeout(10):
                    await session.exchange(_LAST)
                    await session.reader.read(1)
                session.writer.close()
                await session.writer.wait_closed()
                members.append(session.member)
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                failed.append(f"{type(error).__name__}: {error}")
            seconds.append(time.monotonic() - start)
        return {"members": members, "failed": failed, "seconds": seconds}

    async def open_datagrams(self, address: str, port: int, count: int) -> dict[str, object]:
        """Hold `count` more UDP sockets connected to an address."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for _ in range(count):
            datagrams = socket.socket(family, socket.SOCK_DGRAM)
            datagrams.setblocking(False)
            datagrams.connect((address, port))
            self.sockets.append(datagrams)
        return {"open": len(self.sockets)}

    async def datagrams(self, seconds: float) -> dict[str, object]:
        """One datagram on every UDP socket: which member answered, "" for none in time."""
        loop = asyncio.get_running_loop()

        async def ask(number: int, datagrams: socket.socket) -> str:
            question = struct.pack("!Q", number)
            try:
                await loop.sock_sendall(datagrams, question)
                async with asyncio.timeout(seconds):
                    answer = await loop.sock_recv(datagrams, 2048)
            except (OSError, TimeoutError):
                return ""
            return answer[:16].rstrip(b"\0").decode() if answer[16:] == question else "altered"

        return {"members": await asyncio.gather(*(ask(n, s) for n, s in enumerate(self.sockets)))}

    async def close_datagrams(self) -> dict[str, object]:
        """Close every UDP socket."""
        for datagrams in self.sockets:
            datagrams.close()
        self.sockets = []
        return {}


async def drive() -> None:
    """Obey standard input until it ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    driver = Driver()
    while line := await reader.readline():
        command = json.loads(line)
        answer = await getattr(driver, command.pop("do"))(**command)
        print(json.dumps(answer), flush=True)


def main(arguments: Sequence[str]) -> None:
    """Serve or drive, as the command line says."""
    if arguments[:1] == ["serve"] and len(arguments) == 3:
        asyncio.run(serve(arguments[1], int(arguments[2])))
    elif arguments == ["drive"]:
        asyncio.run(drive())
    else:
        raise SystemExit("usage: session_traffic.py serve NAME PORT | drive")


if __name__ == "__main__":
    main(sys.argv[1:])
