"""The folder of pins: who may use it, what is in it, and how a program's pins come and go."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from finsy.proto import p4r
from google.protobuf.message import DecodeError

from softswitch.engine.xdp.kernel import Attachment, KernelError, Map, open_pin, pin, pin_folder
from softswitch.engine.xdp.legacy import Legacy
from softswitch.errors import SoftswitchError
from softswitch.pinned.log import Log

__all__ = ["Generation", "PinError", "PinFolder"]

_LINKS = "links"
_PROGRAM = "program"
_JOURNAL = "journal"


class PinError(SoftswitchError):
    """The folder cannot be used, or what is in it cannot."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What one program left."""

    number: int
    config: p4r.ForwardingPipelineConfig
    given: str
    """Names the program that its process was started with; empty: it was started without."""
    legacy: Legacy
    journal: Log

    def close(self) -> None:
        """Let go of the memory."""
        self.legacy.close()
        self.journal.close()


class PinFolder:
    """One folder of a BPF file system, for one process at a time."""

    def __init__(self, path: Path, *, make: bool = True) -> None:
        """Raises `PinError`: not on a BPF file system, not there and not to be made, or used by another process."""
        self.path = path
        if not make and not path.is_dir():
            raise PinError(f"{path}: there is no such folder")
        try:
            pin_folder(path)
            self._lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except KernelError as error:
            raise PinError(str(error)) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise PinError(f"{path} belongs to a softswitch that is running") from error

    def close(self) -> None:
        """Let others use the folder."""
        os.close(self._lock)

    # Programs

    def numbers(self) -> list[int]:
        """Of the programs that are here whole, the newest last."""
        return sorted(number for number in self._numbers() if (self._folder(number) / _PROGRAM).exists())

    def next_number(self) -> int:
        """What the next program is pinned under."""
        return max(self._numbers(), default=0) + 1

    def open(self, number: int) -> Generation:
        """Raises `PinError` where it cannot be read."""
        folder = self._folder(number)
        try:
            with Map(open_pin(folder / _PROGRAM)) as memory:
                head, config = Log(memory)
            description = json.loads(head)
            legacy = Legacy(_open_all(folder / "maps"), _open_all(folder / "ledgers"), description["memory"])
            journal = Log(Map(open_pin(folder / _JOURNAL)))
            return Generation(
                number, p4r.ForwardingPipelineConfig.FromString(config), description["given"], legacy, journal
            )
        except (KernelError, ValueError, KeyError, DecodeError, OSError) as error:
            raise PinError(f"{folder} cannot be read: {error}") from error

    def write(
        self, number: int, legacy: Legacy, journal: Log, given: str, config: p4r.ForwardingPipelineConfig
    ) -> None:
        """Pin a program. Raises `KernelError`, and then nothing of it is left."""
        folder = self._folder(number)
        try:
            for kind, maps in (("maps", legacy.maps), ("ledgers", legacy.ledgers)):
                place = pin_folder(folder / kind)
                for name, each in maps.items():
                    pin(each.fd, place / name)
            self.write_journal(number, journal)
            self.write_program(number, legacy, given, config)
        except KernelError:
            self.remove(number)
            raise

    def write_program(self, number: int, legacy: Legacy, given: str, config: p4r.ForwardingPipelineConfig) -> None:
        """Pin what makes it a whole one; what was there is replaced in one step."""
        head = json.dumps({"given": given, "memory": legacy.description}).encode()
        log = Log.create(_PROGRAM, 0, (head, config.SerializeToString()))
        pin(log.map.fd, self._folder(number) / _PROGRAM)
        log.close()

    def write_journal(self, number: int, journal: Log) -> None:
        """Pin a journal; the one that was there is replaced in one step."""
        pin(journal.map.fd, self._folder(number) / _JOURNAL)

    def remove(self, number: int) -> None:
        """Unpin a program."""
        folder = self._folder(number)
        with suppress(FileNotFoundError):
            (folder / _PROGRAM).unlink()  # from now on it is no whole one
        shutil.rmtree(folder, ignore_errors=True)

    def remove_others(self, number: int | None) -> None:
        """Unpin every program but one."""
        for each in self._numbers():
            if each != number:
                self.remove(each)

    def _numbers(self) -> Iterator[int]:
        return (int(path.name) for path in self.path.iterdir() if path.name.isdecimal())

    def _folder(self, number: int) -> Path:
        return self.path / str(number)

    # Links

    def link(self, interface: str) -> Attachment | None:
        """The attachment to an interface that is pinned here. Raises `KernelError` for something else there."""
        place = self._link(interface)
        return Attachment.open(place) if place.exists() else None

    def keep_link(self, interface: str, attachment: Attachment) -> None:
        """Let an attachment outlive this process. Raises `KernelError`."""
        pin_folder(self.path / _LINKS)
        attachment.pin(self._link(interface))

    def interfaces(self) -> list[str]:
        """Those with an attachment here."""
        with suppress(FileNotFoundError):
            return sorted(path.name.replace(":", ".") for path in (self.path / _LINKS).iterdir())
        return []

    def drop_link(self, interface: str) -> None:
        """Let an attachment go with the last process that has it open."""
        with suppress(FileNotFoundError):
            self._link(interface).unlink()

    def _link(self, interface: str) -> Path:
        # the file system keeps names with dots for itself; no interface has a colon in its name
        return self.path / _LINKS / interface.replace(".", ":")

    # The end

    def clear(self) -> list[str]:
        """Unpin everything, attachments first; the interfaces they were of."""
        interfaces = self.interfaces()
        for interface in interfaces:
            self.drop_link(interface)
        self.remove_others(None)
        with suppress(OSError):
            (self.path / _LINKS).rmdir()
        return interfaces


def _open_all(folder: Path) -> dict[str, Map]:
    if not folder.is_dir():
        return {}
    return {path.name: Map(open_pin(path)) for path in folder.iterdir()}
