"""A program's translation, ready to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from softswitch.engine.python.translate import Translation
from softswitch.trace.recorder import Recorder

__all__ = ["Code"]


@dataclass(frozen=True, slots=True)
class Code:
    """The functions of a translation."""

    translation: Translation
    scope: Mapping[str, object]
    """Its globals after it was run, functions too."""
    recorder: Recorder | None
    """What it tells of packets; None: it tells nothing."""

    @property
    def ingress(self) -> Callable[..., None]:
        """Where packets begin."""
        return self.function("ingress")

    def function(self, name: str) -> Callable[..., None]:
        """One of the functions. Raises TypeError where the program has no use for it."""
        function = self.scope.get(name)
        if not callable(function):
            raise TypeError(f"the translation has no {name} function")
        return function
