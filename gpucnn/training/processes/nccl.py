"""Ranks that use a GPU each, whose gradients NCCL adds on the devices.

NCCL gives every rank the same bits. It does not promise the order in which it adds: the same number
of ranks gives the same bits with the same version of NCCL on the same machines, and other bits than
sums in the order of ranks may have. Of two ranks both are the same, since a + b is b + a.

The host takes part in no sum, so steps are captured and replayed. All else that ranks exchange goes
through another group, such as MPI's, which also passes on NCCL's id.
"""

from __future__ import annotations

import importlib
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import numpy as np

from gpucnn.backends import Backend, get_backend, prefer_gpu
from gpucnn.backends.contract.checks import Array
from gpucnn.errors import SettingError, WorkerError
from gpucnn.training.processes.group import Alone, Group

T = TypeVar("T")

WATCH_SECONDS = 0.2
"""How often a rank looks whether the others are still there while it may wait for its device."""

REASON_SECONDS = 1.0
"""How long after an error of NCCL the other group is asked for its reason."""

ABORT_SECONDS = 2.0
"""How long a call of NCCL that does not return delays the end of a rank."""


class Nccl(Group):
    """Ranks with a GPU each; ``control`` is the group through which the hosts exchange the rest.

    The communicator is that of the device that is current when the group is made.

    Raises:
        WorkerError: from any method, another rank has failed or ended.
    """

    capturable: ClassVar[bool] = True

    def __init__(self, control: Group, cupy: Any, unique_id: bytes) -> None:
        self.rank, self.size, self.local_rank = control.rank, control.size, control.local_rank
        self._control, self._cuda, self._nccl = control, cupy.cuda, _binding()
        self._types = {
            np.dtype(np.float32): self._nccl.NCCL_FLOAT32,
            np.dtype(np.float64): self._nccl.NCCL_FLOAT64,
        }
        self._communicator = self._nccl.NcclCommunicator(self.size, unique_id, self.rank)
        self._beside = self._cuda.Stream(non_blocking=True)
        self._ready = self._cuda.Event(disable_timing=True)
        self._calling, self._talking = threading.RLock(), threading.RLock()
        self._failure: WorkerError | None = None
        self._ending = threading.Lock()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="NCCL watch", daemon=True)

    def watch(self) -> None:
        """Begin to look for failures of other ranks."""
        self._watcher.start()

    def abandon(self) -> None:
        """End the communicator and what waits on the device for other ranks."""
        self._end(WorkerError("the communicator of NCCL has ended"))

    def sum(self, *arrays: Array) -> None:
        """As in ``Group``, but added in an order that NCCL chooses; arrays of the device.

        The current stream does it; the call does not wait for the device.
        """
        self._enqueue(arrays, self._cuda.get_current_stream())

    def begin_sum(self, *arrays: Array) -> None:
        """As ``sum``, beside later work of the current stream, until ``end_sums``."""
        self._ready.record()
        self._beside.wait_event(self._ready)
        self._enqueue(arrays, self._beside)

    def end_sums(self) -> None:
        """Have later work of the current stream wait for the sums that were begun."""
        self._ready.record(self._beside)
        self._cuda.get_current_stream().wait_event(self._ready)

    def _enqueue(self, arrays: tuple[Array, ...], stream: Any) -> None:
        with self._calling, self._translated():
            self._nccl.groupStart()
            try:
                for array in arrays:
                    assert array.flags.c_contiguous
                    start, kind = array.data.ptr, self._types[array.dtype]
                    self._communicator.allReduce(
                        start, start, array.size, kind, self._nccl.NCCL_SUM, stream.ptr
                    )
            finally:
                self._nccl.groupEnd()

    def broadcast(self, value: T) -> T:
        """As in ``Group``."""
        with self._conversation() as control:
            return control.broadcast(value)

    def gather(self, value: T) -> list[T]:
        """As in ``Group``."""
        with self._conversation() as control:
            return control.gather(value)

    def any(self, flag: bool) -> bool:
        """As in ``Group``."""
        with self._conversation() as control:
            return control.any(flag)

    def barrier(self) -> None:
        """As in ``Group``."""
        with self._conversation() as control:
            control.barrier()

    def check(self) -> None:
        """As in ``Group``."""
        with self._conversation() as control:
            control.check()

    def fail(self, error: BaseException) -> None:
        """As in ``Group``."""
        with self._talking:  # first, so that others learn the reason before they miss this rank
            self._control.fail(error)
        self._end(WorkerError(f"rank {self.rank} failed: {error}"))

    def release(self) -> None:
        """End the communicator when all sums are done; the group that it was made of stays."""
        self._over.set()
        self._watcher.join()
        with self._calling:
            if self._failure is None:
                self._failure = WorkerError("the communicator of NCCL has ended")
                self._communicator.destroy()

    def close(self) -> None:
        """As in ``Group``."""
        self.release()
        self._control.close()

    # --- the end of others ----------------------------------------------------------------------
    @contextmanager
    def _conversation(self) -> Iterator[Group]:
        """Hold ``control``, which serves one thread at a time; WorkerError after a failure."""
        with self._talking, self._translated():
            yield self._control

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise NCCL's errors as WorkerError, or the failure that ended the communicator."""
        try:
            self._raise_failure()
            yield
        except self._nccl.NcclError as error:
            self._end(self._reason(error))
            self._raise_failure()
        except WorkerError as error:
            self._end(error)
            self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _watch(self) -> None:
        """Look for failures of others: a rank that waits for its device notices none."""
        while not self._over.wait(WATCH_SECONDS):
            try:
                with self._no_calls():
                    self._communicator.check_async_error()
                if self._talking.acquire(blocking=False):  # else the main thread will notice
                    try:
                        self._control.check()
                    finally:
                        self._talking.release()
            except WorkerError as error:
                self._end(error)
            except self._nccl.NcclError as error:
                self._end(self._reason(error))

    def _reason(self, error: Exception) -> WorkerError:
        """Return what ``control`` reports after an error of NCCL, which names no rank."""
        until = time.monotonic() + REASON_SECONDS
        while time.monotonic() < until:
            if self._talking.acquire(timeout=REASON_SECONDS):
                try:
                    self._control.check()
                except WorkerError as reason:
                    return reason
                finally:
                    self._talking.release()
            time.sleep(WATCH_SECONDS / 4)
        return WorkerError(f"NCCL reports: {error}")

    def _end(self, failure: WorkerError) -> None:
        """Abort the communicator, so that what waits for other ranks on the device ends."""
        self._over.set()
        with self._ending:
            if self._failure is not None:
                return
            self._failure = failure
        with self._no_calls():
            # Its call may last until the graphs that contain its sums are destroyed.
            abort = threading.Thread(target=self._communicator.abort, daemon=True)
            abort.start()
            abort.join(ABORT_SECONDS)

    @contextmanager
    def _no_calls(self) -> Iterator[None]:
        """Wait until no thread is in a call of NCCL, unless one does not return."""
        free = self._calling.acquire(timeout=ABORT_SECONDS)
        try:
            yield
        finally:
            if free:
                self._calling.release()


def nccl(group: Group | None = None) -> Nccl:
    """Return the ranks of ``group``, one GPU each, with sums by NCCL; all ranks call it.

    The current GPU becomes that of number ``local_rank``. Without a group it is a single rank.

    Raises:
        BackendError: CUDA does not work.
        SettingError: on all ranks, if NCCL does not work on one of them; it says why.
    """
    group = group or Alone()
    prefer_gpu(group.local_rank)
    get_backend("cuda")  # takes the GPU, or says what is missing
    found = with_nccl(group)
    if isinstance(found, Nccl):
        return found
    raise SettingError(f"NCCL cannot be used: {found.why_host}")


def added_on_gpus(group: Group, backend: Backend) -> Group:
    """Return ``group``, with sums by NCCL if several ranks compute on GPUs and it works there."""
    if isinstance(group, Nccl) and backend.name != "cuda":
        raise SettingError(
            f"NCCL adds gradients of GPUs, and the backend is {backend.name}: take cuda "
            "(--backend cuda), or omit --group nccl"
        )
    if group.size == 1 or backend.name != "cuda" or isinstance(group, Nccl):
        return group
    return with_nccl(group)


def with_nccl(control: Group) -> Group:
    """Return ``control`` with sums by NCCL on the current GPUs; all ranks call it.

    Where it does not work on one of them, ``control`` itself is returned, with ``why_host``.
    """
    cupy = importlib.import_module("cupy")
    reason, unique_id = _why_not(control, cupy), b""
    try:
        if reason is None and control.rank == 0:
            unique_id = _binding().get_unique_id()
    except Exception as error:  # NCCL's, and those of the system
        reason = _first_line(error)
    if _agree(control, reason):
        return control
    unique_id, made = control.broadcast(unique_id), None
    try:
        made = Nccl(control, cupy, unique_id)
        trial = cupy.ones(1, np.float32)
        made.sum(trial)
        if float(trial[0]) != control.size:
            reason = f"it added {control.size} ones to {float(trial[0]):g}"
    except Exception as error:
        reason = _first_line(error)
    if _agree(control, reason) or made is None:
        if made is not None:
            made.abandon()
        return control
    made.watch()
    return made


def _why_not(control: Group, cupy: Any) -> str | None:
    """Return why NCCL cannot be used here, None if nothing is known against it."""
    gpus = control.gather((socket.gethostname(), cupy.cuda.Device().pci_bus_id))
    for rank, gpu in enumerate(gpus):
        if (first := gpus.index(gpu)) < rank:
            return f"NCCL needs a GPU for each process, and ranks {first} and {rank} share one"
    if not _binding().available:
        wheel = f"nvidia-nccl-cu{cupy.cuda.runtime.runtimeGetVersion() // 1000}"
        return f"NCCL is not installed: pip install {wheel}"
    return None


def _binding() -> Any:
    """Return CuPy's module for NCCL; without NCCL, its ``available`` is False."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where NCCL is not installed
        return importlib.import_module("cupy.cuda.nccl")


def _agree(control: Group, reason: str | None) -> bool:
    """Set ``why_host`` to the first rank's reason that has one; return whether there is one."""
    found = (reason for reason in control.gather(reason) if reason is not None)
    control.why_host = next(found, None)
    return control.why_host is not None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
