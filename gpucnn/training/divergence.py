"""NaN and infinity in a run: which step and which layer they come from."""

from __future__ import annotations

import numpy as np

from gpucnn.backends.contract.checks import Array
from gpucnn.errors import DivergedError
from gpucnn.nn.layers.structure import trace
from gpucnn.nn.losses import Loss
from gpucnn.nn.parameters import FlatParameters
from gpucnn.training.batches import Batches


def raise_if_failed(failed_step: int, batches: Batches, loss: Loss) -> None:
    """Raise DivergedError if a step failed, 0 if none; the weights must be those before it.

    ``batches`` must be in the order of the failed step's epoch.
    """
    if not failed_step:
        return
    epoch, index = divmod(failed_step - 1, len(batches))
    with np.errstate(all="ignore"), batches.model.keeping_buffers():
        found = _first_nonfinite(batches, index, loss)
    raise DivergedError(
        f"epoch {epoch + 1}, step {failed_step}: {found} contains NaN or infinity; "
        "a lower learning rate may help"
    )


def raise_if_overflowed(model: FlatParameters, step: int) -> None:
    """Raise DivergedError if a weight is NaN or infinite after step ``step``, 0 before any."""
    be = model.backend
    if be.all_finite(model.flat_parameters):
        return
    for name, parameter in model.named_parameters():
        if not be.all_finite(parameter.data):
            if not step:
                raise DivergedError(
                    f"{name!r} contains NaN or infinity before the first step: the model's weights "
                    "cannot be trained"
                )
            raise DivergedError(
                f"step {step}: the update made {name!r} NaN or infinite; "
                "a lower learning rate may help"
            )


def _first_nonfinite(batches: Batches, index: int, loss: Loss) -> str:
    """Return what is NaN or infinite first in a step on batch ``index``, by its name."""
    model = batches.model
    be = model.backend
    images, target = batches.batch(index)
    found: list[str] = []

    def check(name: str, x: Array) -> None:
        if not found and not be.all_finite(x):
            found.append(name)

    trace(model.layers, be, images, check)
    if found:
        return f"the output of layer {found[0]!r}"
    scores, saved = model.forward(images, training=True)
    model.backward(loss.backward(be, scores, target), saved)
    for name, parameter in reversed(list(model.named_parameters())):
        if not be.all_finite(parameter.grad):
            return f"the gradient of {name!r}"
    return "the loss"
