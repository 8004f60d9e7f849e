"""Prints a line `INTERFACE DESTINATION` for every TCP reset that comes in by any interface of its network namespace.

The kernel filters, so watching costs nothing while nobody resets.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct

_ETH_P_ALL = 3
_SO_ATTACH_FILTER = 26
_PACKET_OUTGOING = 4

# Classic BPF (linux/filter.h): code, jump if true, jump if false, constant
_LOAD_HALF, _LOAD_BYTE, _IF_EQUAL, _IF_SET, _RETURN = 0x28, 0x30, 0x15, 0x45, 0x06
_ACCEPT, _REFUSE = 11, 12
_PROGRAM = [  # jumps are given as the instruction's number
    (_LOAD_HALF, 0, 0, 12),  # ethertype
    (_IF_EQUAL, 2, 6, 0x0800),
    (_LOAD_BYTE, 0, 0, 23),  # IPv4 protocol
    (_IF_EQUAL, 4, _REFUSE, 6),
    (_LOAD_BYTE, 0, 0, 47),  # TCP flags behind 20 bytes of IPv4
    (_IF_SET, _ACCEPT, _REFUSE, 0x04),
    (_IF_EQUAL, 7, _REFUSE, 0x86DD),
    (_LOAD_BYTE, 0, 0, 20),  # IPv6 next header
    (_IF_EQUAL, 9, _REFUSE, 6),
    (_LOAD_BYTE, 0, 0, 67),  # TCP flags behind 40 bytes of IPv6
    (_IF_SET, _ACCEPT, _REFUSE, 0x04),
    (_RETURN, 0, 0, 0xFFFF),
    (_RETURN, 0, 0, 0),
]


def assemble() -> bytes:
    """The filter as the kernel takes it: jumps relative to the next instruction."""
    code = b""
    for at, (operation, true, false, constant) in enumerate(_PROGRAM):
        jumps = (true - at - 1, false - at - 1) if operation in (_IF_EQUAL, _IF_SET) else (0, 0)
        code += struct.pack("=HBBI", operation, *jumps, constant)
    return code


def watch() -> None:
    """Print for ever."""
    program = assemble()
    code = ctypes.create_string_buffer(program)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as raw:
        attached = struct.pack("HL", len(program) // 8, ctypes.addressof(code))
        raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attached)
        with contextlib.suppress(BlockingIOError):  # what came before the filter was there
            while raw.recv(2048, socket.MSG_DONTWAIT):
                pass
        print("watching", flush=True)
        while True:
            frame, (interface, _, kind, *_) = raw.recvfrom(2048)
            if kind != _PACKET_OUTGOING:
                ipv4 = frame[12:14] == b"\x08\x00"
                address = frame[30:34] if ipv4 else frame[38:54]
                print(interface, socket.inet_ntop(socket.AF_INET if ipv4 else socket.AF_INET6, address), flush=True)


if __name__ == "__main__":
    watch()
