"""Losses."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import NamedTuple

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import Array, Reduction, checked_reduction, loss_scale
from gpucnn.config import check_integer, check_number
from gpucnn.errors import SettingError, ShapeError


class LabelOptions(NamedTuple):
    """How the targets of cross-entropy count."""

    weight: Array | None
    """(C,): the weight of each class, 1 if None"""
    ignore_index: int
    """The target that does not count"""
    smoothing: float
    """The part of each target that is spread over all classes"""


NO_OPTIONS = LabelOptions(None, -100, 0.0)


def broadcast_block(shape: tuple[int, ...], full: tuple[int, ...]) -> tuple[int, int] | None:
    """Return how an array of ``shape`` is repeated to fill ``full``, or None if it does not fit.

    The result is (count, inner): element k is for ``inner`` consecutive elements from inner * k on,
    and for those ``count`` * inner further on, and so on. So the axes that are not broadcast must
    be adjacent.
    """
    padded = (1,) * (len(full) - len(shape)) + shape
    own = [axis for axis, size in enumerate(padded) if size != 1]
    if len(shape) > len(full):
        return None
    if not own:
        return 1, 1
    first, end = own[0], own[-1] + 1
    if padded[first:end] != full[first:end]:
        return None
    return math.prod(padded), math.prod(full[end:])


class Losses(Arrays):
    """Losses and their gradients."""

    # A loss is an array of shape (), or for reduction "none" the loss of each element. ``grad`` of
    # a backward is a number, the gradient of the reduced loss; "none" has the gradient of "sum".

    def cross_entropy(
        self,
        input: Array,
        target: Array,
        reduction: Reduction = "mean",
        *,
        weight: Array | None = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
    ) -> Array:
        """Return -log softmax(input)[target] of scores (N, C, ...) and int64 classes (N, ...).

        ``weight`` (C,) multiplies the losses of each class. Targets of ``ignore_index`` have the
        loss 0. ``label_smoothing`` s, from 0 to 1, replaces a target by 1 - s of it and s / C of
        every class. "mean" divides by the sum of the weights of all targets that are not ignored;
        it is NaN, and its gradient 0, if that sum is 0.
        """
        labels = self._check_labelled(
            "cross_entropy", input, target, weight, ignore_index, label_smoothing
        )
        return self._cross_entropy(input, target, checked_reduction(reduction), labels)

    @abstractmethod
    def _cross_entropy(
        self, input: Array, target: Array, reduction: Reduction, labels: LabelOptions
    ) -> Array: ...

    def cross_entropy_backward(
        self,
        input: Array,
        target: Array,
        reduction: Reduction = "mean",
        grad: float = 1.0,
        *,
        weight: Array | None = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
    ) -> Array:
        """Return weight[target] (softmax(input) - one_hot(target)) times ``grad``.

        "mean" divides it by the sum of weights, which is N without options. With
        ``label_smoothing`` the targets are smoothed and every class's part has its own weight.
        """
        labels = self._check_labelled(
            "cross_entropy_backward", input, target, weight, ignore_index, label_smoothing
        )
        mean = checked_reduction(reduction) == "mean"
        return self._cross_entropy_backward(input, target, mean, float(grad), labels)

    @abstractmethod
    def _cross_entropy_backward(
        self, input: Array, target: Array, mean: bool, grad: float, labels: LabelOptions
    ) -> Array: ...

    def mse_loss(self, input: Array, target: Array, reduction: Reduction = "mean") -> Array:
        """Return (x - t)²."""
        reduction = self._check_loss("mse_loss", input, target, reduction)
        return self._mse_loss(input, target, reduction)

    @abstractmethod
    def _mse_loss(self, input: Array, target: Array, reduction: Reduction) -> Array: ...

    def mse_loss_backward(
        self, input: Array, target: Array, reduction: Reduction = "mean", grad: float = 1.0
    ) -> Array:
        """Return 2 (x - t) times ``grad`` (/ the number of elements for "mean")."""
        scale = self._check_loss_backward("mse_loss_backward", input, target, reduction, grad)
        return self._mse_loss_backward(input, target, scale)

    @abstractmethod
    def _mse_loss_backward(self, input: Array, target: Array, scale: float) -> Array: ...

    def half_squared_error(
        self, input: Array, target: Array, reduction: Reduction = "mean"
    ) -> Array:
        """Return ½ (x - t)², whose gradient is x - t."""
        reduction = self._check_loss("half_squared_error", input, target, reduction)
        return self._half_squared_error(input, target, reduction)

    @abstractmethod
    def _half_squared_error(self, input: Array, target: Array, reduction: Reduction) -> Array: ...

    def half_squared_error_backward(
        self, input: Array, target: Array, reduction: Reduction = "mean", grad: float = 1.0
    ) -> Array:
        """Return (x - t) times ``grad`` (/ the number of elements for "mean")."""
        scale = self._check_loss_backward(
            "half_squared_error_backward", input, target, reduction, grad
        )
        return self._half_squared_error_backward(input, target, scale)

    @abstractmethod
    def _half_squared_error_backward(self, input: Array, target: Array, scale: float) -> Array: ...

    def binary_cross_entropy(
        self, input: Array, target: Array, reduction: Reduction = "mean"
    ) -> Array:
        """Return -t log x - (1 - t) log(1 - x) of probabilities x.

        Logarithms are at least -100, as in PyTorch.
        """
        reduction = self._check_loss("binary_cross_entropy", input, target, reduction)
        return self._binary_cross_entropy(input, target, reduction)

    @abstractmethod
    def _binary_cross_entropy(self, input: Array, target: Array, reduction: Reduction) -> Array: ...

    def binary_cross_entropy_backward(
        self, input: Array, target: Array, reduction: Reduction = "mean", grad: float = 1.0
    ) -> Array:
        """Return (x - t) / max(x (1 - x), 1e-12) times ``grad`` (/ the number for "mean")."""
        scale = self._check_loss_backward(
            "binary_cross_entropy_backward", input, target, reduction, grad
        )
        return self._binary_cross_entropy_backward(input, target, scale)

    @abstractmethod
    def _binary_cross_entropy_backward(
        self, input: Array, target: Array, scale: float
    ) -> Array: ...

    def binary_cross_entropy_with_logits(
        self,
        input: Array,
        target: Array,
        reduction: Reduction = "mean",
        *,
        pos_weight: Array | None = None,
    ) -> Array:
        """Return the binary cross-entropy of sigmoid(x), without overflow for any x.

        ``pos_weight`` multiplies the part of positive targets, -t log sigmoid(x). It is broadcast
        with ``target``; the axes that it has must be adjacent: (C,), (C, 1, 1), (C, H, W), (1,).
        """
        op = "binary_cross_entropy_with_logits"
        reduction = self._check_loss(op, input, target, reduction)
        self._check_pos_weight(op, pos_weight, input.shape)
        return self._binary_cross_entropy_with_logits(input, target, reduction, pos_weight)

    @abstractmethod
    def _binary_cross_entropy_with_logits(
        self, input: Array, target: Array, reduction: Reduction, pos_weight: Array | None
    ) -> Array: ...

    def binary_cross_entropy_with_logits_backward(
        self,
        input: Array,
        target: Array,
        reduction: Reduction = "mean",
        grad: float = 1.0,
        *,
        pos_weight: Array | None = None,
    ) -> Array:
        """Return (sigmoid(x) - t) times ``grad`` (/ the number of elements for "mean").

        With ``pos_weight`` p it is (1 - t) sigmoid(x) - p t sigmoid(-x) in place of sigmoid(x) - t.
        """
        op = "binary_cross_entropy_with_logits_backward"
        scale = self._check_loss_backward(op, input, target, reduction, grad)
        self._check_pos_weight(op, pos_weight, input.shape)
        return self._binary_cross_entropy_with_logits_backward(input, target, scale, pos_weight)

    @abstractmethod
    def _binary_cross_entropy_with_logits_backward(
        self, input: Array, target: Array, scale: float, pos_weight: Array | None
    ) -> Array: ...

    def _check_labelled(
        self,
        op: str,
        input: Array,
        target: Array,
        weight: Array | None,
        ignore_index: int,
        label_smoothing: float,
    ) -> LabelOptions:
        """Refuse scores, classes and options that do not fit; return the options."""
        if weight is None and ignore_index == -100 and label_smoothing == 0:
            self._check_classes(op, "input", input, target, -100)
            return NO_OPTIONS
        index = check_integer(f"{op}: ignore_index", ignore_index, -(2**63))
        smoothing = float(check_number(f"{op}: label_smoothing", label_smoothing, 0))
        if smoothing > 1:
            raise SettingError(f"{op}: label_smoothing must be at most 1, got {label_smoothing!r}")
        self._check_classes(op, "input", input, target, index)
        if weight is not None:
            self._check(op, "weight", weight, (input.shape[1],))
        return LabelOptions(weight, index, smoothing)

    def _check_pos_weight(self, op: str, pos_weight: Array | None, shape: tuple[int, ...]) -> None:
        if pos_weight is None:
            return
        self._check(op, "pos_weight", pos_weight)
        if broadcast_block(tuple(pos_weight.shape), shape) is None:
            raise ShapeError(
                f"{op}: pos_weight must have the shape of adjacent axes of the input, {shape}, and "
                f"1 for each axis after them, got {tuple(pos_weight.shape)}"
            )

    def _check_loss(self, op: str, input: Array, target: Array, reduction: Reduction) -> Reduction:
        """Refuse arrays of different shapes and unknown reductions; return the reduction."""
        self._check_pair(op, "input", input, "target", target)
        return checked_reduction(reduction)

    def _check_loss_backward(
        self, op: str, input: Array, target: Array, reduction: Reduction, grad: float
    ) -> float:
        """Refuse what ``_check_loss`` refuses; return the factor of each element's derivative."""
        self._check_pair(op, "input", input, "target", target)
        return loss_scale(reduction, grad, math.prod(input.shape))
