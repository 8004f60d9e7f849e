"""Tables in memory shared with the kernel: this side of `runtime/tables.h` and `runtime/meters.h`.

Programs read while this process writes, without locks: a row is filled before its number is stored where programs
find it, by one store of 32 or 64 bits. That rests on stores being seen in their order, as on x86.
"""

from softswitch.engine.xdp.memory.declarations import IndexText, index_text
from softswitch.engine.xdp.memory.exact import ExactMirror, bucket_count
from softswitch.engine.xdp.memory.keys import HASH_WORDS, random_hash_keys
from softswitch.engine.xdp.memory.mirror import Groups, RowMirror, Shared
from softswitch.engine.xdp.memory.prefix import PrefixMirror
from softswitch.engine.xdp.memory.rows import Grace, RowMemory, row_count
from softswitch.engine.xdp.memory.ternary import RangeMirror, TernaryMirror, vector_mirror

__all__ = [
    "HASH_WORDS",
    "ExactMirror",
    "Grace",
    "Groups",
    "IndexText",
    "PrefixMirror",
    "RangeMirror",
    "RowMemory",
    "RowMirror",
    "Shared",
    "TernaryMirror",
    "bucket_count",
    "index_text",
    "random_hash_keys",
    "row_count",
    "vector_mirror",
]
