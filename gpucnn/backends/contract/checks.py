"""Argument checks of the contract, which are the same for every backend."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Literal, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpucnn.backends.contract.window import (
    IntOrPair,
    Padding,
    Window,
    conv_transpose_window,
    conv_window,
)
from gpucnn.config import check_integer
from gpucnn.errors import ArrayError, SettingError, ShapeError

Array: TypeAlias = Any
"""An array of the backend: a numpy.ndarray, a cupy.ndarray or an array of the emulator."""

Shape = tuple[int | None, ...]
Reduction = Literal["mean", "sum", "none"]
Approximation = Literal["none", "tanh"]
ParameterGrads = tuple[Array, Array | None]


def host_array(data: Any, dtype: DTypeLike | None, floats: np.dtype[Any]) -> NDArray[Any]:
    """Return ``data`` as an array in host memory.

    The dtype is ``dtype``, or by default ``floats`` for floating-point data and int64 for integers.
    Raises ArrayError for data that are not real numbers, and for conversions that could lose
    values: from floating point to integers, or of integers outside the range of the dtype.
    """
    try:
        array = np.asarray(data)
        default = floats if array.dtype.kind == "f" else np.dtype(np.int64)
        wanted = default if dtype is None else np.dtype(dtype)
    except (TypeError, ValueError) as error:
        raise ArrayError(f"asarray: {error}") from None
    for kind in (array.dtype, wanted):
        if kind.kind not in "fiub":
            raise ArrayError(f"asarray: expected real numbers, got {kind}")
    fits = array.dtype.kind != "f" or wanted.kind == "f"
    if fits and wanted.kind in "iu" and not np.can_cast(array.dtype, wanted) and array.size:
        limits: Any = np.iinfo(wanted)
        fits = limits.min <= int(array.min()) and int(array.max()) <= limits.max
    if not fits:
        raise ArrayError(f"asarray: cannot convert {array.dtype} to {wanted} without loss")
    return array.astype(wanted, copy=False)


def _fits(have: tuple[int, ...], wanted: Shape) -> bool:
    """Return whether ``have`` matches ``wanted`` and contains no 0; a loop is faster than all()."""
    if 0 in have or len(have) != len(wanted):
        return False
    if have == wanted:
        return True
    for size, want in zip(have, wanted, strict=True):
        if want is not None and want != size:
            return False
    return True


class Checks:
    """Raises errors that name the operation and the argument."""

    array_type: type
    dtype: np.dtype[Any]

    def _check(
        self,
        op: str,
        name: str,
        array: Array,
        shape: Shape | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        """Raise unless ``array`` is this backend's, of ``shape`` (None: any size) and ``dtype``."""
        wanted = self.dtype if dtype is None else dtype
        is_own: bool = isinstance(array, self.array_type)
        if not is_own:
            own = f"{self.array_type.__module__}.{self.array_type.__qualname__}"
            kind = f"{type(array).__module__}.{type(array).__qualname__}"
            raise ArrayError(f"{op}: {name} must be a {own}, got {kind}; use backend.asarray")
        if array.dtype != wanted:
            raise ArrayError(f"{op}: {name} must be {np.dtype(wanted)}, got {array.dtype}")
        have = array.shape
        if 0 in have if shape is None else not _fits(have, shape):
            shape = (None,) * len(have) if shape is None else shape
            sizes = ", ".join("1 or more" if size is None else str(size) for size in shape)
            raise ShapeError(f"{op}: {name} must have shape ({sizes}), got {tuple(array.shape)}")

    def _check_pair(self, op: str, name: str, array: Array, other_name: str, other: Array) -> None:
        self._check(op, name, array)
        self._check(op, other_name, other, tuple(array.shape))

    def _check_key(self, op: str, key: int, step: Array) -> int:
        """Return the key of random numbers, of 64 bits, after checking it and ``step``."""
        self._check(op, "step", step, (1,), np.int64)
        key = check_integer(f"{op}: key", key, 0)
        if key >> 64:
            raise SettingError(f"{op}: key must be an integer of 64 bits, got {key}")
        return key

    def _check_step(
        self, op: str, param: Array, failed_step: Array | None, **states: Array
    ) -> None:
        self._check(op, "param", param)
        if failed_step is not None:
            self._check(op, "failed_step", failed_step, (1,), np.int64)
        for name, state in states.items():
            self._check(op, name, state, tuple(param.shape))

    def _check_classes(
        self, op: str, name: str, scores: Array, target: Array, ignore_index: int
    ) -> None:
        """Raise unless ``scores`` are (N, C, ...) and ``target`` (N, ...) their classes."""
        self._check(op, name, scores)
        if len(scores.shape) < 2:
            raise ShapeError(
                f"{op}: {name} must have shape (N, C) or (N, C, ...), got {tuple(scores.shape)}"
            )
        samples, classes, *rest = scores.shape
        self._check(op, "target", target, (samples, *rest), np.int64)
        self._check_labels(op, target, classes, ignore_index)

    def _check_labels(
        self, op: str, target: Array, classes: int, ignore_index: int | None = None
    ) -> None:
        """Raise for labels outside the classes, unless this would wait for a device.

        Labels of ``ignore_index`` may be outside.
        """

    def _shape(self, op: str, name: str, shape: Sequence[int], ndim: int) -> tuple[int, ...]:
        if len(shape) != ndim or min(shape, default=1) < 1:
            raise ShapeError(f"{op}: {name} must be {ndim} positive sizes, got {tuple(shape)}")
        return tuple(int(size) for size in shape)

    def _check_weights(
        self,
        op: str,
        input: Array,
        weight: Array,
        bias: Array | None,
        groups: int,
        transposed: bool,
    ) -> None:
        self._check(op, "input", input, (None,) * 4)
        self._check(op, "weight", weight, (None,) * 4)
        channels, first, second = input.shape[1], weight.shape[0], weight.shape[1]
        if not isinstance(groups, SupportsIndex) or groups < 1 or first % groups:
            raise SettingError(f"{op}: groups {groups} must divide the weight's {first} channels")
        if channels != (first if transposed else second * groups):
            raise ShapeError(
                f"{op}: input {tuple(input.shape)} has {channels} channels, which does not fit "
                f"weight {tuple(weight.shape)} in {groups} group(s)"
            )
        if bias is not None:
            self._check(op, "bias", bias, (second * groups if transposed else first,))

    def _conv_window(
        self,
        op: str,
        input: Array,
        weight: Array,
        bias: Array | None,
        stride: IntOrPair,
        padding: Padding | str,
        dilation: IntOrPair,
        groups: int,
    ) -> Window:
        self._check_weights(op, input, weight, bias, groups, False)
        return conv_window(input.shape[2:], weight.shape[2:], stride, padding, dilation)

    def _conv_transpose_window(
        self,
        op: str,
        input: Array,
        weight: Array,
        bias: Array | None,
        stride: IntOrPair,
        padding: Padding,
        output_padding: IntOrPair,
        groups: int,
        dilation: IntOrPair,
    ) -> Window:
        self._check_weights(op, input, weight, bias, groups, True)
        return conv_transpose_window(
            input.shape[2:], weight.shape[2:], stride, padding, output_padding, dilation
        )


def checked_divisor(override: int | None) -> int | None:
    """Return ``divisor_override`` of average pooling, which must not be zero."""
    if override is None:
        return None
    if not isinstance(override, SupportsIndex) or operator.index(override) == 0:
        raise SettingError(f"divisor_override must be an integer other than 0, got {override!r}")
    return operator.index(override)


def checked_approximation(approximate: Approximation) -> Approximation:
    """Return ``approximate`` of GELU, which must be "none" or "tanh"."""
    if approximate not in ("none", "tanh"):
        raise SettingError(f'approximate must be "none" or "tanh", got {approximate!r}')
    return approximate


def checked_norm(norm_type: float) -> int:
    """Return ``norm_type`` of Lp pooling, which must be 1 or 2."""
    if norm_type not in (1, 2):
        raise SettingError(f"norm_type must be 1 or 2, got {norm_type!r}")
    return int(norm_type)


def checked_axis(op: str, dim: int, ndim: int) -> int:
    """Return the axis ``dim`` as a non-negative number."""
    axis = operator.index(dim) if isinstance(dim, SupportsIndex) else ndim
    if not -ndim <= axis < ndim:
        raise SettingError(f"{op}: dim {dim!r} is not an axis of a {ndim}-dimensional array")
    return axis % ndim


def checked_reduction(reduction: Reduction) -> Reduction:
    """Return ``reduction``, which must be "mean", "sum" or "none"."""
    if reduction not in ("mean", "sum", "none"):
        raise SettingError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')
    return reduction


def loss_scale(reduction: Reduction, grad: float, count: int) -> float:
    """Return the factor of each derivative of a loss over ``count`` terms."""
    grad = float(grad)  # a numpy.float64 would convert a float32 gradient to float64
    return grad / count if checked_reduction(reduction) == "mean" else grad
