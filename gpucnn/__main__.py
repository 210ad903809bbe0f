"""The entry point of ``gpucnn`` and ``python -m gpucnn``."""

import os
import sys
from collections.abc import Sequence

from gpucnn.machine import openblas


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    openblas.prepare(os.environ)  # before NumPy is imported
    from gpucnn.cli.main import run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
