"""How many launches a training step takes: on a GPU they are what LeNet-5 waits for."""

from __future__ import annotations

import pytest
from available import BACKENDS, backend_or_skip

import gpucnn
from gpucnn import models, training

OPTIMIZERS = [gpucnn.optim.SGD(momentum=0.9), gpucnn.optim.Adam()]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "numpy"])
@pytest.mark.parametrize(
    ("options", "most"), [({"fuses": False}, 30), ({}, 6)], ids=["general", "fused"]
)
def test_a_step_of_lenet(
    launched: list[str],
    name: str,
    options: dict[str, bool],
    most: int,
    optimizer: gpucnn.optim.Optimizer,
) -> None:
    """Of a run's first step, which is never a replay."""
    backend = backend_or_skip(name)
    for option, value in options.items():
        setattr(backend, option, value)
    data, model = gpucnn.data.mnist().limit(128), models.lenet5().to(backend)
    events = training.events(model, data, batch_size=64, optimizer=optimizer, checkpoint_every=1)
    assert next(events).name == "start"
    launched.clear()
    assert next(events).name == "step"
    assert len(launched) - launched.count("finite_flags") <= most, launched
    assert launched[launched.count("finite_flags")] == "begin_step"
