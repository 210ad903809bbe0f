"""Activations and softmax. The output has the shape of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.config import check_number
from gpucnn.nn.layers.base import Fields, Layer, Shape, TrainingPass


class _Activation(Layer):
    """An operation whose gradient is a function of its output."""

    op: ClassVar[str]

    def _spec(self, shape: Shape) -> tuple[str, dict[str, Any]]:
        return self.op, {}

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        output = getattr(be, self.op)(x)
        return output, output

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        return getattr(be, f"{self.op}_backward")(grad, saved)


@dataclass(eq=False, repr=False)
class ReLU(_Activation):
    """max(x, 0), element by element."""

    op = "relu"


@dataclass(eq=False, repr=False)
class LeakyReLU(Layer):
    """x where x > 0, and negative_slope * x elsewhere, as ``torch.nn.LeakyReLU``."""

    negative_slope: float = 0.01

    def __post_init__(self) -> None:
        check_number("LeakyReLU: negative_slope", self.negative_slope, 0.0)

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        return be.leaky_relu(x, self.negative_slope), x

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        return be.leaky_relu_backward(grad, saved, self.negative_slope)


@dataclass(eq=False, repr=False)
class Sigmoid(_Activation):
    """1 / (1 + exp(-x)), element by element."""

    op = "sigmoid"


@dataclass(eq=False, repr=False)
class Tanh(_Activation):
    """The hyperbolic tangent, element by element."""

    op = "tanh"


@dataclass(eq=False, repr=False)
class Softmax(_Activation):
    """exp(x) / sum of exp(x), over axis 1 of the batch: classes, or channels."""

    op = "softmax"

    def receptive_fields(self, fields: Fields | None, shape: Shape) -> Fields | None:
        """A probability of a vector depends on all its elements."""
        return fields if len(shape) == 3 else None
