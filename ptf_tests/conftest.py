"""The software switch as a library, on each engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from depot.program import find_compiled_program
from ptf_tests.library_target import Engine, LibraryTarget
from softswitch.engine.xdp.availability import why_not


@pytest.fixture(scope="module", params=["python", pytest.param("xdp", marks=pytest.mark.kernel)])
def target(request: pytest.FixtureRequest) -> Iterator[LibraryTarget]:
    """One switch for a module's tests."""
    engine: Engine = request.param
    reason = why_not() if engine == "xdp" else None
    if reason is not None:
        pytest.skip(reason)
    target = LibraryTarget(find_compiled_program(), engine)
    yield target
    target.close()
