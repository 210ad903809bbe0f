"""Dropout of elements and of channels. The output has the shape of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.config import check_number
from gpucnn.errors import ShapeError
from gpucnn.nn.layers.base import Layer, Shape, TrainingPass
from gpucnn.rng import Stream


class _Dropout(Layer):
    """Base of layers that multiply by a random mask in training; ``backward`` draws it again."""

    random = True
    op: ClassVar[str]
    p: float

    def __post_init__(self) -> None:
        check_number(f"{type(self).__name__}: p", self.p, 0.0, 1.0)

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        if training is None or training.evaluation:
            return x, None
        key, step = training.key(Stream.DROPOUT), training.step
        return getattr(be, self.op)(x, self.p, key, step), (key, step)

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        if not input_grad or saved is None:
            return grad if input_grad else None
        key, step = saved
        return getattr(be, f"{self.op}_backward")(grad, self.p, key, step)


@dataclass(eq=False, repr=False)
class Dropout(_Dropout):
    """Zeroes each element with probability p in training and scales the others by 1 / (1 - p).

    The mask is a function of the training pass and of the layer's place in the model.
    """

    op = "dropout"

    p: float = 0.5


@dataclass(eq=False, repr=False)
class Dropout2d(_Dropout):
    """Zeroes whole channels of a sample, each with probability p; otherwise as ``Dropout``.

    For feature maps, whose neighbouring pixels are alike (Tompson et al., 2015).
    """

    op = "dropout2d"

    p: float = 0.5

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 3:
            raise ShapeError(f"Dropout2d takes (C, H, W), got {shape}; for features use Dropout")
        return shape
