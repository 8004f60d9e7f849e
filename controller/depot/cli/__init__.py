"""The command `depot`."""

from depot.cli.main import main

__all__ = ["main"]
