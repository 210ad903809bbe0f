"""The command line: the only room that knows a terminal."""

from gpucnn.cli.main import run

__all__ = ["run"]
