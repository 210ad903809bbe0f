"""How many launches a training step takes: on a GPU they are what LeNet-5 waits for."""

from __future__ import annotations

from typing import Any

import pytest

import gpucnn
from gpucnn.backends import kernels
from gpucnn.backends.base import Backend


@pytest.mark.parametrize("optimizer", [gpucnn.optim.SGD(momentum=0.9), gpucnn.optim.Adam()])
def test_a_step_of_lenet_takes_at_most_thirty(
    monkeypatch: pytest.MonkeyPatch, backend64: Backend, optimizer: gpucnn.optim.Optimizer
) -> None:
    if backend64.name == "numpy":
        pytest.skip("NumPy launches nothing")
    names: list[str] = []
    launch = kernels._Kernel.launch

    def counted(self: Any, *arguments: Any) -> None:
        names.append(self.signature.name)
        launch(self, *arguments)

    data = gpucnn.data.mnist().limit(128)
    backend = gpucnn.get_backend(backend64.name)
    backend.captures = False  # so that a step's launches are in one event
    model = gpucnn.models.lenet5().to(backend)
    events = gpucnn.fit(model, data, batch_size=64, optimizer=optimizer)
    next(event for event in events if event.name == "step")
    monkeypatch.setattr(kernels._Kernel, "launch", counted)
    assert next(events).name == "step"
    assert len(names) <= 30, names
