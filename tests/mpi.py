"""Programs that tests run as several ranks of MPI, where mpi4py and mpiexec are installed."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
"""The package mpich has its mpiexec next to Python."""


def _missing() -> str:
    if find_spec("mpi4py") is None:
        return "mpi4py is not installed: pip install mpi4py mpich"
    if shutil.which("mpiexec", path=PATH) is None:
        return "there is no mpiexec: pip install mpich"
    return ""


needs_mpi = pytest.mark.skipif(
    bool(_missing()) and os.environ.get("GPUCNN_REQUIRE_MPI") != "1", reason=_missing()
)


def mpiexec(size: int, *words: str) -> list[str]:
    """Return the command that runs Python with ``words`` as ``size`` ranks."""
    return [
        shutil.which("mpiexec", path=PATH) or "mpiexec",
        "-n",
        str(size),
        sys.executable,
        *words,
    ]


def rank_of(pid: int) -> int | None:
    """Return the rank of a process, None if it is none."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has ended
        return None
    found = [value for value in variables if value.startswith(b"PMI_RANK=")]
    return int(found[0].partition(b"=")[2]) if found else None
