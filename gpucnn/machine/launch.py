"""How this process was started: as one of several by ``mpiexec``, ``mpirun`` or ``srun``, or alone.

They set variables in the environment, which are read before MPI itself is imported: ordinary runs
need no MPI.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

_VARIABLES = (
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),  # Open MPI
    ("PMI_SIZE", "PMI_RANK"),  # MPICH, Intel MPI, Slurm's PMI-1 and PMI-2
    ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),  # MVAPICH
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),  # srun, also without MPI; not the script of a job
)
"""The number of processes, and that of this process, from 0."""


@dataclass(frozen=True)
class Launch:
    """This process is number ``rank`` of the ``size`` that were started together, 2 or more."""

    size: int
    rank: int


def find_launch(environ: Mapping[str, str] = os.environ) -> Launch | None:
    """Return how this process was started with others; None if it was started alone."""
    for of_size, of_rank in _VARIABLES:
        size, rank = environ.get(of_size, ""), environ.get(of_rank, "")
        if size.isdecimal() and rank.isdecimal() and int(rank) < int(size) > 1:
            return Launch(int(size), int(rank))
    return None


def warn_of_others(hint: str, stacklevel: int = 2) -> None:
    """Warn, on the first of several processes that were started together, that each is alone.

    ``hint`` is what to do about it. The warning names the caller of the caller by default.
    """
    launch = find_launch()
    if launch is not None and launch.rank == 0:
        warnings.warn(
            f"{launch.size} processes were started together, and each trains by itself: {hint}",
            RuntimeWarning,
            stacklevel=stacklevel + 1,
        )
