"""Activations and softmax. The output has the shape of the input."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Approximation, Array, checked_approximation
from gpucnn.config import check_number
from gpucnn.errors import SettingError
from gpucnn.nn.layers.base import Fields, Layer, Shape, TrainingPass


class _Activation(Layer):
    """An operation of one array. The fields of the layer are its options, in the same order."""

    op: ClassVar[str]
    keeps_input: ClassVar[bool] = False
    """Whether the backward takes the input and the options, and not the output."""

    def _options(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(self)]  # type: ignore[arg-type]

    def _spec(self, shape: Shape) -> tuple[str, dict[str, Any]] | None:
        return None if self.keeps_input else (self.op, {})

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        output = getattr(be, self.op)(x, *self._options())
        return output, x if self.keeps_input else output

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        return getattr(be, f"{self.op}_backward")(grad, saved, *self._options())


@dataclass(eq=False, repr=False)
class ReLU(_Activation):
    """max(x, 0), element by element."""

    op = "relu"


@dataclass(eq=False, repr=False)
class LeakyReLU(_Activation):
    """x where x > 0, and negative_slope * x elsewhere, as ``torch.nn.LeakyReLU``."""

    negative_slope: float = 0.01

    op = "leaky_relu"
    keeps_input = True

    def __post_init__(self) -> None:
        check_number("LeakyReLU: negative_slope", self.negative_slope, 0.0)


@dataclass(eq=False, repr=False)
class ELU(_Activation):
    """x where x > 0, and alpha (exp(x) - 1) elsewhere, as ``torch.nn.ELU``."""

    alpha: float = 1.0

    op = "elu"
    keeps_input = True

    def __post_init__(self) -> None:
        check_number("ELU: alpha", self.alpha, 0.0)


@dataclass(eq=False, repr=False)
class GELU(_Activation):
    """x P(x), as ``torch.nn.GELU``; P is the standard normal distribution function.

    ``approximate`` "tanh" takes (1 + tanh(sqrt(2 / pi) (x + 0.044715 x³))) / 2 for P(x).
    """

    approximate: Approximation = "none"

    op = "gelu"
    keeps_input = True

    def __post_init__(self) -> None:
        checked_approximation(self.approximate)


@dataclass(eq=False, repr=False)
class SiLU(_Activation):
    """x / (1 + exp(-x)), as ``torch.nn.SiLU``, also called swish."""

    op = "silu"
    keeps_input = True


@dataclass(eq=False, repr=False)
class Softplus(_Activation):
    """log(1 + exp(beta x)) / beta, and x where beta x > threshold, as ``torch.nn.Softplus``."""

    beta: float = 1.0
    threshold: float = 20.0

    op = "softplus"
    keeps_input = True

    def __post_init__(self) -> None:
        if check_number("Softplus: beta", self.beta, 0.0) == 0:
            raise SettingError("Softplus: beta must be greater than 0, got 0")
        check_number("Softplus: threshold", self.threshold, 0.0)


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
