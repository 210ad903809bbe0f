"""The profile of one training step of a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gpucnn import emulator
from gpucnn.backends import get_backend
from gpucnn.config import check_integer
from gpucnn.data import Split
from gpucnn.emulator import Profile
from gpucnn.errors import ShapeError
from gpucnn.nn.sequential import Sequential
from gpucnn.training.batches import Batches
from gpucnn.training.settings import Settings
from gpucnn.training.steps import Steps, plan_epoch


def profile_step(
    model: Sequential,
    batch_size: int = 64,
    *,
    fused: bool = True,
    notify: Callable[[], None] | None = None,
) -> Profile:
    """Run a training step of a model in the emulator, and return what its kernels did.

    The images are random, and the settings the default ones. The model is moved to the emulated
    backend and changed.

    Args:
        model: a network that ends with one output per class.
        batch_size: images in the step.
        fused: use kernels that compute several layers together, where there are some, as in
            training; otherwise each layer's own kernels.
        notify: called once if kernels must be compiled first, which takes seconds.

    Raises:
        BackendError: the emulator does not run here.
        ShapeError: the output of the model is not (N, classes).
        SettingError: ``batch_size`` is not a positive integer.
    """
    check_integer("batch_size", batch_size, 1)
    if len(model.output_shape) != 1:
        raise ShapeError(
            f"the output of the model must be (N, classes), got (N, "
            f"{', '.join(map(str, model.output_shape))})"
        )
    backend: Any = get_backend("emulated", notify=notify)
    backend.fuses = fused
    model.to(backend)
    if model.normalization is None:
        channels = model.input_shape[0]
        model.normalization = ((0.5,) * channels, (0.25,) * channels)
    random = np.random.default_rng(0)
    split = Split(
        random.integers(0, 256, (batch_size, *model.input_shape), np.uint8),
        random.integers(0, model.output_shape[0], batch_size),
    )
    settings = Settings(batch_size=batch_size)
    settings.optimizer.reset(backend, model.flat_size)
    steps = Steps(Batches(model, split, batch_size), settings)
    steps.begin_epoch(plan_epoch(settings, 0, 1), 0, 0)
    with emulator.profiling() as profile:
        steps.run(0, 1)
    return profile
