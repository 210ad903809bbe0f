"""Pooling layers. Their fields are the arguments of the operation, in the same order."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array, checked_norm
from gpucnn.backends.contract.window import IntOrPair, Padding, Pair, Window, pool_window
from gpucnn.errors import ShapeError
from gpucnn.nn.layers.base import LARGE_PLANE, Fields, Layer, Shape, TrainingPass, widen


class _Pool(Layer):
    kernel_size: IntOrPair
    stride: IntOrPair | None
    ceil_mode: bool

    def __post_init__(self) -> None:
        self._window(LARGE_PLANE)  # raises for bad arguments

    def output_shape(self, shape: Shape) -> Shape:
        return (shape[0], *self.window(shape).output)

    def window(self, shape: Shape) -> Window:
        """Return the window arithmetic for an input of ``shape``."""
        if len(shape) != 3:
            raise ShapeError(f"expected (C, H, W), got {shape}")
        return self._window((shape[1], shape[2]))

    def receptive_fields(self, fields: Fields | None, shape: Shape) -> Fields | None:
        return widen(fields, self._window(LARGE_PLANE))

    def _window(self, plane: Pair) -> Window:
        padding, dilation = getattr(self, "padding", 0), getattr(self, "dilation", 1)
        return pool_window(plane, self.kernel_size, self.stride, padding, dilation, self.ceil_mode)

    def _options(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]


@dataclass(eq=False, repr=False)
class MaxPool2d(_Pool):
    """The maximum of each window, as ``torch.nn.MaxPool2d``: (C, H, W) to (C, P, Q).

    Args:
        kernel_size: (R, S), or one integer for both. So are the next three.
        stride: the distance of adjacent windows; the kernel size if None.
        padding: rows and columns on each side, which no maximum comes from: one integer,
            (vertical, horizontal) or ((top, bottom), (left, right)).
        dilation: the distance of adjacent window elements.
        ceil_mode: whether P and Q are rounded up, so that the last window may leave the input.

    P = (H + 2 padding - dilation (R - 1) - 1) // stride + 1. NaN is greater than every number, and
    of equal maxima the gradient goes to the first.
    """

    kernel_size: IntOrPair
    stride: IntOrPair | None = None
    padding: Padding = 0
    dilation: IntOrPair = 1
    ceil_mode: bool = False

    def _spec(self, shape: Shape) -> tuple[str, dict[str, Any]]:
        return "max_pool2d", {"window": self.window(shape)}

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        if training is None:
            return be.max_pool2d(x, **self._options()), None
        output, indices = be.max_pool2d(x, **self._options(), return_indices=True)
        return output, (indices, x.shape)

    def backward(
        self,
        be: Backend,
        grad: Array,
        saved: Any,
        input_grad: bool = True,
        *,
        relu_output: Array | None = None,
    ) -> Array | None:
        indices, shape = saved
        return be.max_pool2d_backward(
            grad, indices, shape, **self._options(), relu_output=relu_output
        )


class _LinearPool(_Pool):
    """Pooling whose gradient depends only on the shape of the input."""

    op: ClassVar[str]

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        return getattr(be, self.op)(x, **self._options()), x.shape

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        return getattr(be, f"{self.op}_backward")(grad, saved, **self._options())


@dataclass(eq=False, repr=False)
class AvgPool2d(_LinearPool):
    """The mean of each window, as ``torch.nn.AvgPool2d``: (C, H, W) to (C, P, Q).

    Arguments are those of ``MaxPool2d``, and:

    Args:
        count_include_pad: whether padding counts in the number of elements.
        divisor_override: what to divide the sum by in place of that number.
    """

    kernel_size: IntOrPair
    stride: IntOrPair | None = None
    padding: Padding = 0
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None

    op = "avg_pool2d"


@dataclass(eq=False, repr=False)
class SumPool2d(_LinearPool):
    """The sum of each window: (C, H, W) to (C, P, Q). Arguments are those of ``MaxPool2d``."""

    kernel_size: IntOrPair
    stride: IntOrPair | None = None
    padding: Padding = 0
    ceil_mode: bool = False

    op = "sum_pool2d"


@dataclass(eq=False, repr=False)
class LPPool2d(_Pool):
    """(sum of x^p)^(1/p) of each window, as ``torch.nn.LPPool2d``: (C, H, W) to (C, P, Q).

    p is ``norm_type``, 1 or 2; the other arguments are those of ``MaxPool2d``.
    """

    norm_type: float
    kernel_size: IntOrPair
    stride: IntOrPair | None = None
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        checked_norm(self.norm_type)
        super().__post_init__()

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        output = be.lp_pool2d(x, **self._options())
        return output, (x, output)

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        return be.lp_pool2d_backward(grad, *saved, **self._options())
