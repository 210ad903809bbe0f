"""How many launches a training step takes: on a GPU they are what LeNet-5 waits for."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import BACKENDS, backend_or_skip

import gpucnn
from gpucnn import models
from gpucnn.backends import kernels

OPTIMIZERS = [gpucnn.optim.SGD(momentum=0.9), gpucnn.optim.Adam()]


def launches(
    monkeypatch: pytest.MonkeyPatch, name: str, optimizer: gpucnn.optim.Optimizer, **options: bool
) -> list[str]:
    """Return the kernels of a run's first step, which is never a replay."""
    names: list[str] = []
    launch = kernels._Kernel.launch

    def counted(self: Any, *arguments: Any) -> None:
        names.append(self.signature.name)
        launch(self, *arguments)

    backend = backend_or_skip(name)
    for option, value in options.items():
        setattr(backend, option, value)
    data, model = gpucnn.data.mnist().limit(128), models.lenet5().to(backend)
    events = gpucnn.fit(model, data, batch_size=64, optimizer=optimizer, checkpoint_every=1)
    assert next(events).name == "start"
    with monkeypatch.context() as patch:
        patch.setattr(kernels._Kernel, "launch", counted)
        names.clear()
        assert next(events).name == "step"
    return names


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "numpy"])
@pytest.mark.parametrize(
    ("options", "most"), [({"fuses": False}, 30), ({}, 6)], ids=["general", "fused"]
)
def test_a_step_of_lenet(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    options: dict[str, bool],
    most: int,
    optimizer: gpucnn.optim.Optimizer,
) -> None:
    names = launches(monkeypatch, name, optimizer, **options)
    assert len(names) - names.count("finite_flags") <= most, names
    assert names[names.count("finite_flags")] == "begin_step"
