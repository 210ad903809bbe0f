"""The number of launches of a training step, which bounds LeNet-5's speed on a GPU."""

from __future__ import annotations

from typing import Any

import pytest
from available import BACKENDS, backend_or_skip

import gpucnn
from gpucnn import models, training


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "numpy"])
@pytest.mark.parametrize(
    ("optimizer", "fuses", "limit"),
    [
        (gpucnn.optim.SGD(momentum=0.9), False, 30),
        (gpucnn.optim.SGD(momentum=0.9), True, 6),
        (gpucnn.optim.Adam(), True, 6),
    ],
    ids=["SGD, layer by layer", "SGD, fused", "Adam, fused"],
)
def test_a_step_of_lenet5(
    optimizer: gpucnn.optim.Optimizer, fuses: bool, limit: int, name: str, launched: list[str]
) -> None:
    """Counts the first step of a run, which is launched and not replayed."""
    backend: Any = backend_or_skip(name)
    backend.fuses = fuses
    data, model = gpucnn.data.mnist().limit(64), models.lenet5().to(backend)
    events = training.events(model, data, batch_size=32, optimizer=optimizer, checkpoint_every=1)
    assert next(events).name == "start"
    launched.clear()
    assert next(events).name == "step"
    checks = launched.count("finite_flags")  # of the weights before the first step
    assert len(launched) - checks <= limit, launched
    assert launched[checks] == "begin_step"
