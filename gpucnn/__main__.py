"""``gpucnn`` and ``python -m gpucnn``."""

import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    # Before NumPy is imported: at these sizes a second BLAS thread gains nothing and takes a core,
    # and with one the weights do not depend on how many cores a machine has.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from gpucnn.cli import run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
