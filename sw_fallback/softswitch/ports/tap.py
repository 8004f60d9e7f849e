"""A TAP interface as a port: the kernel's side of the wire is a network interface of this machine."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from softswitch.ports.interface import MAX_NAME, set_up
from softswitch.ports.port import PortError, PortStats

__all__ = ["TapPort"]

_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_READ_SIZE = 65536
_CLONE_DEVICE = "/dev/net/tun"


class TapPort:
    """A port that owns a TAP interface, made on `open` if it does not exist, and brings it up."""

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.stats = PortStats()
        self._fd: int | None = None

    def open(self) -> None:
        """Attach to the TAP interface. Raises `PortError`."""
        if len(self.name.encode()) > MAX_NAME:
            raise PortError(f"port {self.number}: interface name {self.name!r} is longer than {MAX_NAME} bytes")
        try:
            fd = os.open(_CLONE_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise PortError(f"port {self.number}: cannot open {_CLONE_DEVICE}: {error.strerror}") from error
        try:
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", self.name.encode(), _IFF_TAP | _IFF_NO_PI))
            set_up(self.name)
        except OSError as error:
            os.close(fd)
            raise PortError(f"port {self.number}: cannot use tap {self.name!r}: {error.strerror}") from error
        self._fd = fd

    def fileno(self) -> int | None:
        """Readable while frames wait."""
        return self._fd

    def receive(self, limit: int) -> list[bytes]:
        """At most `limit` waiting frames."""
        frames: list[bytes] = []
        while self._fd is not None and len(frames) < limit:
            try:
                frames.append(os.read(self._fd, _READ_SIZE))
            except BlockingIOError:
                break
            except OSError:
                self.close()  # the interface was deleted: EBADFD
        self.stats.received += len(frames)
        return frames

    def send(self, frame: bytes) -> None:
        """Give the frame to the kernel."""
        if self._fd is None:
            self.stats.send_dropped += 1
            return
        try:
            os.write(self._fd, frame)
            self.stats.sent += 1
        except OSError as error:
            self.stats.send_dropped += 1
            if error.errno == errno.EBADFD:
                self.close()

    def update_counters(self) -> None:
        """Nothing: the kernel counts for the interface (`ip -s link`)."""

    def close(self) -> None:
        """Detach; an interface made by `open` goes away."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
