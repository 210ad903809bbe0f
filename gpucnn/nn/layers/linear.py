"""Fully connected layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.config import check_integer
from gpucnn.errors import ShapeError
from gpucnn.nn.layers.base import Fields, Layer, Shape, TrainingPass, _Weighted


@dataclass(eq=False, repr=False)
class Linear(_Weighted):
    """x Wᵀ + b, as ``torch.nn.Linear``: (..., in_features) to (..., out_features).

    The weight W is (out_features, in_features); ``init`` is an initializer of
    ``gpucnn.rng.INITIALIZERS``.
    """

    in_features: int
    out_features: int
    bias: bool = True
    init: str = "uniform"

    takes_relu = True

    def __post_init__(self) -> None:
        check_integer("Linear: in_features", self.in_features, 1)
        check_integer("Linear: out_features", self.out_features, 1)
        shape = (self.out_features, self.in_features)
        self._set_parameters(shape, self.out_features, self.in_features, self.out_features)

    def _spec(self, shape: Shape) -> tuple[str, dict[str, Any]] | None:
        return ("linear", {"bias": self.bias}) if len(shape) == 1 else None

    def output_shape(self, shape: Shape) -> Shape:
        if not shape or shape[-1] != self.in_features:
            hint = "; put a Flatten before it" if len(shape) > 1 else ""
            raise ShapeError(f"expected (..., {self.in_features}), got {shape}{hint}")
        return (*shape[:-1], self.out_features)

    def receptive_fields(self, fields: Fields | None, shape: Shape) -> Fields | None:
        """Every output of a vector depends on the whole image, one of (C, H, W) on its row."""
        if fields is None or len(shape) != 3:
            return None
        vertical, horizontal = fields
        # A window as wide as the row, which does not move from one output to the next.
        return vertical, horizontal.after_conv(shape[2], stride=0)

    def multiply_adds(self, shape: Shape) -> int:
        return self.parameters["weight"].size * math.prod(shape[:-1])

    def forward(
        self,
        be: Backend,
        x: Array,
        training: TrainingPass | None = None,
        *,
        relu: bool = False,
        weights: tuple[Array, Array | None] | None = None,
    ) -> tuple[Array, Any]:
        """As ``Layer.forward``; ``weights`` are used in place of the layer's own."""
        return be.linear(x, *(weights or self.weights()), relu=relu), x

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        return be.linear_backward(
            grad, saved, self.weights()[0], input_grad=input_grad, out=self.weight_grads()
        )[0]


@dataclass(eq=False, repr=False)
class Flatten(Layer):
    """(C, H, W) to (C * H * W,)."""

    def _spec(self, shape: Shape) -> tuple[str, dict[str, Any]]:
        return "flatten", {}

    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),)

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        return be.flatten(x), x.shape

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        return be.flatten_backward(grad, saved)
