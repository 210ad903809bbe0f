"""The command line. Only this package imports rich and writes to the terminal."""

from gpucnn.cli.main import run

__all__ = ["run"]
