"""The kernel's side of the XDP engine: objects, maps, attachments, rings and runs. It knows nothing of P4."""

from softswitch.engine.xdp.kernel.map import Map, possible_cpus
from softswitch.engine.xdp.kernel.object import Object
from softswitch.engine.xdp.kernel.run import Run, run, run_live
from softswitch.engine.xdp.libbpf import KernelError

__all__ = ["KernelError", "Map", "Object", "Run", "possible_cpus", "run", "run_live"]
