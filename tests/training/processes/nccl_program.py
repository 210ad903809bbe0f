"""A run of two ranks that are threads of one process, each with a GPU: what test_nccl.py checks.

It prints a line ``name = found`` for each check.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import repeat
from typing import Any

import cupy
import numpy as np
from groups import Threads, together
from small import small_data

from gpucnn import nn, training
from gpucnn.backends import get_backend
from gpucnn.errors import DivergedError, WorkerError
from gpucnn.optim import SGD
from gpucnn.training import run as run_module
from gpucnn.training.processes import nccl
from gpucnn.training.processes.device import DeviceGradients
from gpucnn.training.processes.group import Alone, Group

BATCH = 23  # of 70 images: the last batch has one, and rank 1 none of it
LOCK = threading.Lock()


class Custom(nn.Sequential):
    """A class of its own, whose steps are not captured."""


def network(kind: type[nn.Sequential] = nn.Sequential) -> nn.Sequential:
    layers = [nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten()]
    layers += [nn.Linear(108, 20), nn.ReLU(), nn.Dropout(0.3), nn.Linear(20, 4)]
    return kind(layers, (1, 8, 8), seed=0)


def train(group: Group, model: nn.Sequential | None = None, **options: Any) -> tuple[Any, ...]:
    """Return the first event, the weights, and the figures of each epoch."""
    model = model or network()
    with LOCK:
        cupy.cuda.Device(group.local_rank).use()  # of this thread
        model.to(get_backend("cuda"))
    settings = {"epochs": 2, "batch_size": BATCH, "seed": 1, **options}
    found = list(training.events(model, small_data(70), group=group, **settings))
    figures = [event for event in found if isinstance(event, training.EpochEnded)]
    return found[0], model.state_dict(), [(each.train_loss, each.test_loss) for each in figures]


def is_same(first: tuple[Any, ...], second: tuple[Any, ...]) -> bool:
    weights = all(first[1][name].tobytes() == second[1][name].tobytes() for name in first[1])
    return weights and first[2] == second[2]


def check(name: str, found: object) -> None:
    print(f"{name} = {found}", flush=True)


def both(work: Callable[[Threads], Any]) -> list[Any]:
    found = together(2, work)
    for each in found:
        if isinstance(each, BaseException) and not isinstance(each, WorkerError | DivergedError):
            raise each
    return found


def without_nccl(work: Callable[[], list[Any]]) -> list[Any]:
    usual = run_module.added_on_gpus
    run_module.added_on_gpus = lambda group, _: group
    try:
        return work()
    finally:
        run_module.added_on_gpus = usual


def bits() -> None:
    host = without_nccl(lambda: both(train))
    check("host", host[0][0].eager)
    captured = both(train)
    check("captured", [each[0].eager for each in captured])
    check("same", [is_same(each, host[0]) for each in captured])
    least = DeviceGradients.__init__.__defaults__
    DeviceGradients.__init__.__defaults__ = (256,)
    check("slices", [is_same(each, host[0]) for each in both(train)])
    eager = both(lambda group: train(group, network(Custom)))
    check("eager", (eager[0][0].eager, [is_same(each, host[0]) for each in eager]))
    DeviceGradients.__init__.__defaults__ = least
    check("one rank", is_same(train(nccl.nccl()), train(Alone())))


def faults() -> None:
    diverged = both(lambda group: train(group, optimizer=SGD(lr=1e30)))
    check("diverged", len({str(each) for each in diverged}) == 1 and type(diverged[0]).__name__)

    def work(group: Threads) -> tuple[Any, ...]:
        calls = iter([False] * 20 if group.rank else repeat(False))
        return train(group, epochs=10**6, should_stop=lambda: next(calls))

    ended = together(2, work)
    check("ended", [type(each).__name__ for each in ended])


def waits() -> None:
    """Rank 0 waits for its device, which waits for a rank that has failed elsewhere."""

    def work(group: Threads) -> str:
        cupy.cuda.Device(group.local_rank).use()
        ranks = nccl.with_nccl(group)
        assert isinstance(ranks, nccl.Nccl)
        if group.rank == 1:
            group.fail(OSError("a disk"))
            return "failed"
        x = cupy.ones(3, np.float32)
        ranks.sum(x)
        cupy.cuda.get_current_stream().synchronize()
        ranks.barrier()
        return "no error"

    began = time.monotonic()
    check("waits", [str(each) for each in together(2, work)])
    check("no longer", time.monotonic() - began < 10)


bits()
faults()
waits()
