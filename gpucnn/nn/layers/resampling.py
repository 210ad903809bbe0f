"""Adaptive pooling, which has a fixed output size, and upsampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.resampling import OutputSize, adaptive_size
from gpucnn.backends.contract.window import IntOrPair, Pair, pair
from gpucnn.config import check_number
from gpucnn.errors import SettingError, ShapeError
from gpucnn.nn.layers.base import LARGE_PLANE, Fields, Layer, Shape, TrainingPass


class _Resampling(Layer):
    """A layer whose output size does not follow from a kernel size."""

    op: ClassVar[str]

    def output_plane(self, plane: Pair) -> Pair:
        """Return (P, Q) for an input of (H, W) pixels; ShapeError if there is none."""
        raise NotImplementedError

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 3:
            raise ShapeError(f"expected (C, H, W), got {shape}")
        return (shape[0], *self.output_plane((shape[1], shape[2])))

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        return getattr(be, self.op)(x, self.output_plane(x.shape[2:])), x.shape

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        return getattr(be, f"{self.op}_backward")(grad, saved)


class _AdaptivePool(_Resampling):
    output_size: OutputSize

    def __post_init__(self) -> None:
        self.output_plane(LARGE_PLANE)  # raises for bad arguments

    def output_plane(self, plane: Pair) -> Pair:
        return adaptive_size(plane, self.output_size)

    def receptive_fields(self, fields: Fields | None, shape: Shape) -> Fields | None:
        if fields is None:
            return None
        size = self.output_plane((shape[1], shape[2]))
        vertical, horizontal = (
            field.after_adaptive_pooling(shape[1 + axis], size[axis])
            for axis, field in enumerate(fields)
        )
        return vertical, horizontal


@dataclass(eq=False, repr=False)
class AdaptiveAvgPool2d(_AdaptivePool):
    """The mean of each of P by Q windows, as ``torch.nn.AdaptiveAvgPool2d``.

    ``output_size`` is (P, Q), or one integer for both; None in the pair keeps the input's size.
    Output p of P has the rows floor(p H / P) to ceil((p + 1) H / P) - 1. ``AdaptiveAvgPool2d(1)``
    is global average pooling: (C, H, W) to (C, 1, 1).
    """

    output_size: OutputSize

    op = "adaptive_avg_pool2d"


@dataclass(eq=False, repr=False)
class AdaptiveMaxPool2d(_AdaptivePool):
    """The maximum of each of P by Q windows, as ``torch.nn.AdaptiveMaxPool2d``.

    Windows are those of ``AdaptiveAvgPool2d``. NaN is greater than every number, and of equal
    maxima the gradient goes to the first.
    """

    output_size: OutputSize

    op = "adaptive_max_pool2d"

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        size = self.output_plane(x.shape[2:])
        if training is None:
            return be.adaptive_max_pool2d(x, size), None
        output, indices = be.adaptive_max_pool2d(x, size, return_indices=True)
        return output, (indices, x.shape)

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        return be.adaptive_max_pool2d_backward(grad, *saved)


@dataclass(eq=False, repr=False)
class Upsample(_Resampling):
    """Copies of the nearest pixel, as ``torch.nn.Upsample``: (C, H, W) to (C, P, Q).

    Output (p, q) is the pixel (floor(p H / P), floor(q W / Q)).

    Args:
        size: (P, Q), or one integer for both; instead of ``scale_factor``.
        scale_factor: P / H and Q / W, or one number for both. H and W times it must be integers.
        mode: "nearest", the only one.
    """

    size: IntOrPair | None = None
    scale_factor: float | tuple[float, ...] | None = None
    mode: str = "nearest"

    op = "upsample_nearest2d"

    def __post_init__(self) -> None:
        if self.mode != "nearest":
            raise SettingError(f'Upsample: mode must be "nearest", got {self.mode!r}')
        if (self.size is None) == (self.scale_factor is None):
            raise SettingError(
                "Upsample: expected size or scale_factor and not both, as in "
                "Upsample(scale_factor=2)"
            )
        if self.size is not None:
            pair("Upsample: size", self.size, 1)
        else:
            self._factors()

    def output_plane(self, plane: Pair) -> Pair:
        if self.size is not None:
            return pair("Upsample: size", self.size, 1)
        height, width = (side * factor for side, factor in zip(plane, self._factors(), strict=True))
        if height != int(height) or width != int(width) or min(height, width) < 1:
            raise ShapeError(
                f"scale_factor {self.scale_factor!r} makes {height:g} x {width:g} of {plane[0]} x "
                f"{plane[1]} pixels, expected integers of at least 1: give size instead"
            )
        return int(height), int(width)

    def _factors(self) -> tuple[float, float]:
        """Return the vertical and the horizontal factor."""
        scale = self.scale_factor
        factors = scale if isinstance(scale, tuple | list) else (scale, scale)
        if len(factors) != 2:
            raise SettingError(f"Upsample: scale_factor must be a number or a pair, got {scale!r}")
        vertical, horizontal = (check_number("Upsample: scale_factor", v, 0.0) for v in factors)
        if min(vertical, horizontal) == 0:
            raise SettingError(f"Upsample: scale_factor must be greater than 0, got {scale!r}")
        return vertical, horizontal

    def receptive_fields(self, fields: Fields | None, shape: Shape) -> Fields | None:
        if fields is None:
            return None
        size = self.output_plane((shape[1], shape[2]))
        vertical, horizontal = (
            field.after_upsampling(shape[1 + axis], size[axis]) for axis, field in enumerate(fields)
        )
        return vertical, horizontal
