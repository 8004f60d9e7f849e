"""A network interface as a port, through AF_PACKET and a receive ring shared with the kernel (packet(7)).

The ring (TPACKET_V2 with a virtio header) costs no system call for a frame and says what a plain read hides: a VLAN
tag the kernel took off, a checksum the sender left to hardware, a frame that is many segments in one. Tags are put
back and checksums finished, so the switch sees what would be on a wire; merged segments are counted and dropped.
"""

from __future__ import annotations

import errno
import logging
import mmap
import socket
import struct

from softswitch.ports.interface import MAX_NAME, mtu
from softswitch.ports.port import PortError, PortStats

__all__ = ["PacketSocketPort", "finish_checksum"]

_LOG = logging.getLogger("softswitch.ports")

# linux/if_packet.h; the socket module does not carry these
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP = 1
_PACKET_RX_RING = 5
_PACKET_STATISTICS = 6
_PACKET_VERSION = 10
_PACKET_VNET_HDR = 15
_PACKET_IGNORE_OUTGOING = 23
_PACKET_MR_PROMISC = 1
_TPACKET_V2 = 1
_ETH_P_ALL = 0x0003

_HEADER = struct.Struct("=IIIHHIIHH")
"""tpacket2_hdr: status, length, captured length, offset of the frame, offset of its payload, seconds, nanoseconds,
VLAN tag, VLAN protocol."""
_VIRTIO = struct.Struct("=BBHHHH")
"""virtio_net_hdr: flags, segmentation type, header length, segment size, checksum start, checksum offset."""
_NO_OFFLOAD = bytes(_VIRTIO.size)
_STATUS_KERNEL = 0
_STATUS_USER = 1 << 0
_STATUS_VLAN_VALID = 1 << 4
_STATUS_VLAN_TPID_VALID = 1 << 6
_NEEDS_CHECKSUM = 1
_OVERHEAD = 128
"""Room before a frame in its ring slot: tpacket2_hdr, sockaddr_ll, virtio header, alignment."""
_ETHERNET_AND_TAGS = 14 + 8
"""What a frame has beside its payload of at most one MTU: Ethernet header and two VLAN tags."""
_SLOTS = 4096
_BLOCK = 1 << 18
_ETHERTYPE_VLAN = 0x8100
_UDP_CHECKSUM_OFFSET = 6


class PacketSocketPort:
    """A port on an existing network interface, in promiscuous mode."""

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.stats = PortStats()
        self._socket: socket.socket | None = None
        self._ring: mmap.mmap | None = None
        self._slot = 0
        self._slot_size = 0
        self._slots = 0
        self._limit = 0

    def open(self) -> None:
        """Bind to the interface. Raises `PortError` naming the port and the interface."""
        if len(self.name.encode()) > MAX_NAME:
            raise PortError(f"port {self.number}: interface name {self.name!r} is longer than {MAX_NAME} bytes")
        try:
            self._open()
        except PermissionError as error:
            self.close()
            text = f"port {self.number}: interface {self.name!r} needs root (CAP_NET_RAW): {error.strerror}"
            raise PortError(text) from error
        except OSError as error:
            self.close()
            if error.errno in (None, errno.ENODEV, errno.ENXIO):  # None: if_nametoindex found no such name
                text = f"port {self.number}: no interface {self.name!r} in this network namespace (see `ip link`)"
                raise PortError(text) from error
            raise PortError(f"port {self.number}: cannot open interface {self.name!r}: {error.strerror}") from error

    def _open(self) -> None:
        # protocol 0: nothing is received before the ring is there and the socket is bound
        self._socket = sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        sock.setblocking(False)
        index = socket.if_nametoindex(self.name)
        self._limit = mtu(self.name) + _ETHERNET_AND_TAGS
        self._slot_size = 1 << (self._limit + _OVERHEAD - 1).bit_length()
        block = max(_BLOCK, self._slot_size)
        blocks = max(1, _SLOTS * min(self._slot_size, 2048) // block)
        self._slots = blocks * (block // self._slot_size)
        self._slot = 0
        sock.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
        sock.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        request = struct.pack("=IIII", block, blocks, self._slot_size, self._slots)
        sock.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
        self._ring = mmap.mmap(sock.fileno(), block * blocks, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        sock.bind((self.name, _ETH_P_ALL))
        membership = struct.pack("=iHH8s", index, _PACKET_MR_PROMISC, 0, b"")
        sock.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)

    def fileno(self) -> int | None:
        """Readable while frames wait."""
        return None if self._socket is None else self._socket.fileno()

    def receive(self, limit: int) -> list[bytes]:
        """At most `limit` waiting frames."""
        ring = self._ring
        frames: list[bytes] = []
        if ring is None:
            return frames
        for _ in range(limit):
            start = self._slot * self._slot_size
            status, length, captured, offset, _, _, _, tag, tag_protocol = _HEADER.unpack_from(ring, start)
            if not status & _STATUS_USER:
                break
            first = start + offset
            frame = ring[first : first + captured]
            flags, segmented, _, _, sum_start, sum_offset = _VIRTIO.unpack_from(ring, first - _VIRTIO.size)
            ring[start : start + 4] = b"\0\0\0\0"
            self._slot = (self._slot + 1) % self._slots
            if segmented or length > self._limit or captured < length:
                self.stats.oversized += 1
                continue
            if flags & _NEEDS_CHECKSUM:
                frame = finish_checksum(frame, sum_start, sum_offset)
                self.stats.completed_checksums += 1
            if status & _STATUS_VLAN_VALID:
                protocol = tag_protocol if status & _STATUS_VLAN_TPID_VALID else _ETHERTYPE_VLAN
                frame = frame[:12] + struct.pack("!HH", protocol, tag) + frame[12:]
            frames.append(frame)
        self.stats.received += len(frames)
        if not frames:
            self._take_error()
        return frames

    def send(self, frame: bytes) -> None:
        """Give the frame to the kernel."""
        if self._socket is None:
            self.stats.send_dropped += 1
            return
        try:
            self._socket.send(_NO_OFFLOAD + frame)
            self.stats.sent += 1
        except OSError as error:
            # ENETDOWN: down for now; ENOBUFS, EAGAIN: queue full; EMSGSIZE, EINVAL: not a frame of this link
            self.stats.send_dropped += 1
            if error.errno in (errno.ENXIO, errno.ENODEV):
                self._gone()

    def update_counters(self) -> None:
        """Add to `stats.receive_dropped` what the kernel dropped because the ring was full."""
        if self._socket is not None:
            counted = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
            self.stats.receive_dropped += struct.unpack("=II", counted)[1]

    def close(self) -> None:
        """Leave the interface."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _take_error(self) -> None:
        """Readable without a frame: the kernel reports that the interface went down, or away for good."""
        if self._socket is None:
            return
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not error:
            return
        try:
            socket.if_nametoindex(self.name)
        except OSError:
            self._gone()
        else:
            _LOG.warning("port %d: interface %s: %s", self.number, self.name, errno.errorcode.get(error, error))

    def _gone(self) -> None:
        _LOG.warning("port %d: interface %s is gone; waiting for it to come back", self.number, self.name)
        self.close()


def finish_checksum(frame: bytes, start: int, offset: int) -> bytes:
    """The frame with the Internet checksum (RFC 1071) over all octets from `start` put at `start + offset`.

    The field holds the pseudo header's sum, as the kernel leaves it for hardware. What does not lie inside the frame
    is left alone.
    """
    place = start + offset
    if place + 2 > len(frame):
        return frame
    covered = frame[start:] if (len(frame) - start) % 2 == 0 else frame[start:] + b"\0"
    # a one's complement sum of 16-bit words is the whole number modulo 2^16 - 1
    checksum = 0xFFFF - int.from_bytes(covered, "big") % 0xFFFF
    if checksum == 0xFFFF and offset != _UDP_CHECKSUM_OFFSET:
        checksum = 0
    return frame[:place] + checksum.to_bytes(2, "big") + frame[place + 2 :]
