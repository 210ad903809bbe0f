"""The number of threads of NumPy's BLAS: one while gpucnn computes.

More threads do not speed up matrix products of the usual sizes here. They occupy cores that worker
processes and the threads of ``evaluate`` use better, spin while they wait for work, and make the
last bits of a result depend on the number of cores.

Most BLAS libraries have one number of threads for the whole process, and several Python threads
may compute at once. ``threadpoolctl.threadpool_limits`` alone would be wrong then: the first
computation that ends would lift the limit of the others, and the last would leave it in place.
Computations are therefore counted; the first one sets the limit and the last one lifts it. While
one is active, the limit holds for all of the process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import cache
from typing import Any


class _Active:
    """How many computations are active, and the numbers of threads before the first."""

    count = 0
    before: tuple[int, ...] = ()


class _ActiveInThread(_Active, threading.local):
    """The same for each Python thread."""


class OneThread:
    """A context in which ``libraries`` (threadpoolctl's ``LibController``) use one thread each.

    It may be entered several times, also by several Python threads.
    """

    def __init__(self, libraries: Iterable[Any]) -> None:
        shared: list[Any] = []
        own: list[Any] = []
        for library in libraries:
            # With OpenMP each Python thread has a number of its own.
            openmp = getattr(library, "threading_layer", None) == "openmp"
            (own if openmp else shared).append(library)
        self._groups = [(shared, _Active())] + ([(own, _ActiveInThread())] if own else [])
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            for libraries, active in self._groups:
                if active.count == 0:
                    active.before = tuple(library.get_num_threads() for library in libraries)
                    for library, number in zip(libraries, active.before, strict=True):
                        if number != 1:
                            _set_threads(library, 1)
                active.count += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            for libraries, active in self._groups:
                active.count -= 1
                if active.count == 0:
                    for library, number in zip(libraries, active.before, strict=True):
                        # A number other than 1 was set by the user meanwhile and is kept.
                        if library.get_num_threads() == 1 != number:
                            _set_threads(library, number)


@cache
def one_thread() -> OneThread:
    """Return the context for the BLAS libraries in this process; the first call finds them."""
    from threadpoolctl import ThreadpoolController

    return OneThread(ThreadpoolController().select(user_api="blas").lib_controllers)


def _set_threads(library: Any, number: int) -> None:
    # threadpoolctl 3.8 lets one Python thread alone set the number, but the computation that ends
    # last is often in another thread than the one that began first.
    release = getattr(library, "clear_controlling_thread", None)
    if release is not None:
        release(force=True)
    library.set_num_threads(number)
    if release is not None:
        release()
