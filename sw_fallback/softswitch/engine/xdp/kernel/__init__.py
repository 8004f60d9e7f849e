"""The kernel's side of the XDP engine: objects, maps, attachments, rings and runs. It knows nothing of P4."""

from softswitch.engine.xdp.kernel.attachment import Attachment
from softswitch.engine.xdp.kernel.clocks import exact_now, tick_now
from softswitch.engine.xdp.kernel.map import BPF_ANY, BPF_EXIST, BPF_NOEXIST, Map, possible_cpus
from softswitch.engine.xdp.kernel.membarrier import membarrier_global
from softswitch.engine.xdp.kernel.object import Object
from softswitch.engine.xdp.kernel.pins import open_pin, pin, pin_folder, unpin
from softswitch.engine.xdp.kernel.ring_buffer import RingBuffer
from softswitch.engine.xdp.kernel.run import Run, run, run_live
from softswitch.engine.xdp.kernel.statistics import ProgramStatistics, program_statistics, statistics_enabled
from softswitch.engine.xdp.kernel.tracepoint import Tracepoint
from softswitch.engine.xdp.libbpf import KernelError, LibraryMissing

__all__ = [
    "BPF_ANY",
    "BPF_EXIST",
    "BPF_NOEXIST",
    "Attachment",
    "KernelError",
    "LibraryMissing",
    "Map",
    "Object",
    "ProgramStatistics",
    "RingBuffer",
    "Run",
    "Tracepoint",
    "exact_now",
    "membarrier_global",
    "open_pin",
    "pin",
    "pin_folder",
    "possible_cpus",
    "program_statistics",
    "run",
    "run_live",
    "statistics_enabled",
    "tick_now",
    "unpin",
]
