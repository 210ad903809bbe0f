"""Plants the faults of ``kernels.py`` and shows how ``gpucnn check`` finds each.

``python tests/planted/kernels_run.py [TEXT]`` plants those whose name contains TEXT, two at a time,
and prints a line for each: its name, and the first failure. The exit status is 1 if one is missed.
All of them take a few minutes. ``--fast`` runs the emulator's fast mode, ``--times`` adds seconds.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from planted.kernels import KERNEL_FAULTS, KernelFault

from gpucnn.backends.cuda import loader, sources
from gpucnn.testing.checking import check, get_backends
from gpucnn.testing.running import Outcome


@contextmanager
def planted(fault: KernelFault, folder: Path) -> Iterator[None]:
    """Load kernels from a copy of kernels/ in ``folder`` that has the fault."""
    copy = folder / "kernels"
    shutil.copytree(sources.kernel_folder(), copy)
    fault.plant(copy)
    with patch.object(loader, "kernel_folder", lambda: copy):
        yield


def first_failure(fault: KernelFault, folder: Path, checked: bool = True) -> Outcome | None:
    """Return the first failure that ``gpucnn check`` finds with the fault, None if it misses it."""
    with planted(fault, folder):
        for backend in get_backends("emulated"):
            for outcome in check(backend, fault.ops, checked=checked):
                if outcome.failure:
                    return outcome
    return None


def _examine(number: int, checked: bool) -> tuple[str, str, float]:
    fault, began = KERNEL_FAULTS[number], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = first_failure(fault, Path(folder), checked)
    seconds = time.perf_counter() - began
    return fault.name, "" if found is None else f"{found.case}: {found.failure}", seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", nargs="?", default="")
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--times", action="store_true")
    options = parser.parse_args()
    numbers = [n for n, fault in enumerate(KERNEL_FAULTS) if options.text in fault.name]
    missed = 0
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        checked = [not options.fast] * len(numbers)
        for name, failure, seconds in pool.map(_examine, numbers, checked):
            missed += not failure
            took = f" | {seconds:.1f} s" if options.times else ""
            print(f"| {name} | {failure or 'MISSED'}{took} |", flush=True)
    print(f"{len(numbers) - missed} of {len(numbers)} found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
