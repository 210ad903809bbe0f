"""Which group of processes a run has: those that were started with this one, or none."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from gpucnn.errors import SettingError, unknown
from gpucnn.machine.launch import find_launch
from gpucnn.training.processes.group import Alone, Group
from gpucnn.training.processes.nccl import nccl

START_SECONDS = 600
"""How long a process waits for those that were started with it."""

GROUPS = ("auto", "mpi", "nccl", "alone")


def make_group(name: str = "auto") -> Group:
    """Return the processes that ``mpiexec`` started with this one, for ``fit(..., group=...)``.

    All of them must call it.

    Args:
        name: "auto" takes MPI if this process was started by ``mpiexec``, ``mpirun`` or ``srun``
            with others, and is alone if not; "mpi" always takes MPI; "alone" never does, so that
            each process trains by itself. "nccl" is "auto" with sums by NCCL on GPUs, which runs
            on CUDA take by themselves where it works; it also takes it for a single process.

    Raises:
        SettingError: the name is unknown, mpi4py is not installed, or it belongs to another MPI
            than what started the processes; NCCL does not work.
    """
    if name not in GROUPS:
        raise unknown("group", name, GROUPS)
    if name == "nccl":
        return nccl(make_group())
    launch = find_launch()
    if name == "alone" or (name == "auto" and launch is None):
        return Alone()
    size = launch.size if launch else 1
    try:
        with ending_at_once():
            from gpucnn.training.processes.mpi import Mpi
    except (ImportError, RuntimeError) as error:  # RuntimeError: there is no library of MPI
        raise SettingError(
            f"{size} processes were started together, and need mpi4py and MPI to train together: "
            f"pip install 'gpucnn[mpi]' (and mpich, without an MPI on this machine); {error}. "
            "With --group alone each would train by itself"
        ) from None
    with ending_at_once():
        group = Mpi()
    if group.size != size:
        found = group.size
        group.close()
        raise SettingError(
            f"{size} processes were started together, but MPI finds {found}: start them by the "
            "mpiexec of the MPI that mpi4py was built for, under Slurm with srun --mpi=pmi2 or "
            "--mpi=pmix; with --group alone each would train by itself"
        )
    return group


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Have signals end the process within the block, and a wait of more than START_SECONDS.

    MPI starts without letting Python run: a handler of signals would never be called, if one of the
    other processes has ended before it joined.
    """
    names = ("SIGINT", "SIGTERM", "SIGALRM")
    before = {}
    try:
        for name in names:
            if hasattr(signal, name):  # not all on Windows
                number = getattr(signal, name)
                before[number] = signal.signal(number, signal.SIG_DFL)
    except ValueError:  # another thread than the main one: signals are not its affair
        yield
        return
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, START_SECONDS)
    try:
        yield
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
