"""Where the compiled forwarding program is: P4Info and BMv2 JSON, in a source tree or in an installed package."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["CompiledProgram", "ProgramMissingError", "find_compiled_program"]

_JSON = "depot.json"
_P4INFO = "depot.p4info.txtpb"


class ProgramMissingError(Exception):
    """The compiled program is neither in the package nor in a source tree around it."""


@dataclass(frozen=True, slots=True)
class CompiledProgram:
    """The two files that a P4Runtime target loads."""

    p4info: Path
    """P4Info in protobuf text format."""
    json: Path
    """The device configuration: p4c's JSON for BMv2."""


def find_compiled_program() -> CompiledProgram:
    """The compiled `depot.p4` that belongs to this version of the package.

    An installed package carries it in `depot/_p4/` (see `setup.py`); a source tree or an editable install has it in
    `p4src/build/`. Raises `ProgramMissingError` when it is in neither place.
    """
    package = Path(__file__).resolve().parent
    places = (package / "_p4", package.parents[1] / "p4src" / "build")
    for place in places:
        program = CompiledProgram(p4info=place / _P4INFO, json=place / _JSON)
        if program.p4info.is_file() and program.json.is_file():
            return program
    looked = " nor ".join(str(place) for place in places)
    raise ProgramMissingError(
        f"compiled program ({_JSON}, {_P4INFO}) neither in {looked}: run `make p4` in the source tree"
    )
