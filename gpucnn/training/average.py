"""The exponential moving average of a model's weights in a run, for evaluation and files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gpucnn.backends.contract.checks import Array
from gpucnn.nn.sequential import Sequential


def averaging_rate(decay: float, step: int) -> float:
    """Return by how much of the way the average moves towards the weights in step ``step``, from 1.

    It is 1 minus the decay, which begins with 2/11 and rises as (1 + step) / (10 + step), as in
    TensorFlow's ``ExponentialMovingAverage(num_updates=...)``: the initial weights, which are
    random, are soon forgotten.
    """
    return 1 - min(decay, (1 + step) / (10 + step))


class WeightAverage:
    """The moving average of a model's parameters and of its buffers of floating-point numbers.

    Running statistics of layers are averaged as well, like ``AveragedModel(use_buffers=True)`` of
    ``torch.optim.swa_utils`` does, because they belong to the weights of the same steps. Buffers of
    integers, which count, are those of the last step.

    The model has one of two sets of values: those that training changes, or, while ``shown``, the
    averages. Arrays keep their addresses, which a captured step refers to, and swap their contents.
    """

    def __init__(self, model: Sequential) -> None:
        self.model = model
        self.shown = False
        self._hidden = [self._copy(array) for array in self._arrays()]
        """The set of values that the model does not have"""

    def update(self, rates: Array, failed_step: Array) -> None:
        """Move the averages towards the weights: see ``Backend.ema_step``."""
        for average, array in zip(self._hidden, self._arrays(), strict=True):
            self.model.backend.ema_step(average, array, rates, failed_step)

    def show(self, shown: bool = True) -> None:
        """Give the model the averages, or if not ``shown`` the weights that training changes."""
        if self.shown != shown:
            for hidden, array in zip(self._hidden, self._arrays(), strict=True):
                before = self._copy(array)
                array[...] = hidden
                hidden[...] = before
            self.shown = shown

    @contextmanager
    def showing(self, shown: bool) -> Iterator[None]:
        """``show`` within the block."""
        before = self.shown
        self.show(shown)
        try:
            yield
        finally:
            self.show(before)

    def restore(self, averages: Mapping[str, Any], raw: Mapping[str, Any]) -> None:
        """Set both from arrays by their names; the averages are not shown then."""
        self.model.load_state_dict(averages)
        for hidden, array in zip(self._hidden, self._arrays(), strict=True):
            hidden[...] = array
        self.model.load_state_dict(raw)
        self.shown = False

    def _arrays(self) -> list[Array]:
        """Return the model's arrays of which there are averages."""
        model = self.model
        buffers = [buffer.data for _, buffer in model.named_buffers() if buffer.dtype is None]
        return [model.flat_parameters, *buffers]

    def _copy(self, array: Array) -> Array:
        copy = self.model.backend.empty(array.shape)
        copy[...] = array
        return copy
