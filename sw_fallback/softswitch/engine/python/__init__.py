"""The python engine: needs no compiler and no privilege."""

from softswitch.engine.python.engine import PythonEngine, Stores

__all__ = ["PythonEngine", "Stores"]
