"""The python engine and the XDP engine differ in nothing, whatever packets and writes they are fed."""

import os

import pytest
from sw_fallback.tests.engine_pair import EnginePair, EnginesDiffer

from depot.program import find_compiled_program
from ptf_tests.case import CPU_PORT
from ptf_tests.differential import compare
from ptf_tests.differential_moves import Depot, Traffic
from softswitch.engine.xdp.availability import why_not

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: loads programs into the kernel"),
]


@pytest.fixture(autouse=True)
def _able() -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)


def test_the_engines_are_equal() -> None:
    print(compare(5000, first_seed=1))


@pytest.mark.soak
def test_the_engines_stay_equal() -> None:
    """A short run in `make test`, a hundred thousand packets of another seed each time in `make soak`."""
    long = "SOAK_SECONDS" in os.environ
    print(compare(100_000 if long else 1000, first_seed=int.from_bytes(os.urandom(3), "big") if long else 2))


@pytest.fixture
def pair() -> EnginePair:
    program = find_compiled_program()
    return EnginePair(program.p4info, program.json, cpu_port=CPU_PORT)


def test_a_lost_entry_is_seen(pair: EnginePair) -> None:
    depot = Depot(pair)
    depot.play([Traffic(1, flows=0, count=20)])
    admission = depot.names.tables["admission_table"].preamble.id
    for entry in list(pair.xdp.entries(admission)):
        pair.xdp.delete(entry.key)
    with pytest.raises(EnginesDiffer, match="packet "):
        Traffic(1, flows=0, count=20).play(depot)
    pair.close()


def test_a_lost_count_is_seen(pair: EnginePair) -> None:
    depot = Depot(pair)
    depot.play([Traffic(1, flows=0, count=20)])
    key = next(key for key in depot.held if key.table_id == depot.names.tables["vip_table"].preamble.id)
    pair.xdp.set_direct_counter(key, type(pair.xdp.direct_counter(key))(7, 7))
    with pytest.raises(EnginesDiffer, match="counter of"):
        pair.compare_tables()
    pair.close()


def test_a_turned_bit_of_the_flow_cache_is_seen(pair: EnginePair) -> None:
    depot = Depot(pair)
    depot.play([])
    register = next(r for r in depot.info.registers.values() if r.width > 64)
    pair.xdp.set_register(register.id, 12345, 1 << 100)
    with pytest.raises(EnginesDiffer, match="a cell that is zero"):
        pair.compare_registers()
    pair.close()
