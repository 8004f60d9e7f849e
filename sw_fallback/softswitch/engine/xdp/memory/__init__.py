"""Tables in memory shared with the kernel: this side of what `runtime/` has in C.

Programs read while this process writes, without locks: a row is filled before its number is stored where programs
find it, by one store of 32 or 64 bits. That rests on stores being seen in their order, as on x86.
"""

from softswitch.engine.xdp.indexes import IndexText, index_text
from softswitch.engine.xdp.memory.cells import CounterCells, RegisterCells
from softswitch.engine.xdp.memory.exact import ExactMirror
from softswitch.engine.xdp.memory.inheritance import Inheritance, TableReader
from softswitch.engine.xdp.memory.keys import HASH_WORDS, random_hash_keys
from softswitch.engine.xdp.memory.ledger import Ledger
from softswitch.engine.xdp.memory.meters import MappedMeter, MeterCells
from softswitch.engine.xdp.memory.mirror import Groups, KeylessMirror, RowMirror, Shared
from softswitch.engine.xdp.memory.mirrors import Mirrors, table_mirror
from softswitch.engine.xdp.memory.prefix import PrefixMirror
from softswitch.engine.xdp.memory.profiles import ProfileMirror
from softswitch.engine.xdp.memory.rows import Grace, RowMemory
from softswitch.engine.xdp.memory.ternary import RangeMirror, TernaryMirror, vector_mirror
from softswitch.engine.xdp.sizes import bucket_count, profile_counts, row_count

__all__ = [
    "HASH_WORDS",
    "CounterCells",
    "ExactMirror",
    "Grace",
    "Groups",
    "IndexText",
    "Inheritance",
    "KeylessMirror",
    "Ledger",
    "MappedMeter",
    "MeterCells",
    "Mirrors",
    "PrefixMirror",
    "ProfileMirror",
    "RangeMirror",
    "RegisterCells",
    "RowMemory",
    "RowMirror",
    "Shared",
    "TableReader",
    "TernaryMirror",
    "bucket_count",
    "index_text",
    "profile_counts",
    "random_hash_keys",
    "row_count",
    "table_mirror",
    "vector_mirror",
]
