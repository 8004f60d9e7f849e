"""Build step: an installed `depot` carries the compiled forwarding program as `depot/_p4/`.

In a source tree and in an editable install nothing is copied: `depot.program` reads `p4src/build/` itself.
"""

from pathlib import Path
from shutil import copyfile

from setuptools import setup
from setuptools.command.build_py import build_py

COMPILED = Path("p4src", "build")
COMPILED_FILES = ("depot.json", "depot.p4info.txtpb")


class BuildWithProgram(build_py):
    """`build_py` that also copies the compiled program next to the package's modules."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for name in COMPILED_FILES:
            if not (COMPILED / name).is_file():
                raise SystemExit(f"{COMPILED / name} is missing: run `make p4` in the source tree first")
            target = self._target(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            copyfile(COMPILED / name, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs = super().get_outputs(include_bytecode)
        return outputs if self.editable_mode else [*outputs, *(str(self._target(name)) for name in COMPILED_FILES)]

    def _target(self, name: str) -> Path:
        return Path(self.build_lib, "depot", "_p4", name)


setup(cmdclass={"build_py": BuildWithProgram})
