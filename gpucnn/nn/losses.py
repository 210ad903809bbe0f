"""Losses: the mean over a batch of how far scores are from their targets, and its gradient.

Scores are (N, C). Targets are classes, int64 (N,), which the losses over numbers turn into rows
of zeros and a one, or numbers of the scores' own shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.config import build


class Loss:
    """Base of all losses; ``op`` is the backend's operation, which has a backward beside it."""

    op: ClassVar[str]
    output: ClassVar[Literal["softmax", "sigmoid", "none"]] = "none"
    """What turns the scores that this loss trains into probabilities."""

    def forward(self, be: Backend, scores: Array, target: Array) -> Array:
        """Return the mean loss, an array of shape ()."""
        return getattr(be, self.op)(scores, self._target(be, scores, target))

    def backward(self, be: Backend, scores: Array, target: Array) -> Array:
        """Return the gradient of the mean loss with respect to the scores, of their shape."""
        return getattr(be, f"{self.op}_backward")(scores, self._target(be, scores, target))

    def _target(self, be: Backend, scores: Array, target: Array) -> Array:
        return be.one_hot(target, scores.shape[1]) if target.ndim == 1 else target


@dataclass(frozen=True)
class CrossEntropyLoss(Loss):
    """-log softmax(scores)[target]: the model's last layer gives plain scores."""

    op = "cross_entropy"
    output = "softmax"

    def _target(self, be: Backend, scores: Array, target: Array) -> Array:
        return target


@dataclass(frozen=True)
class MSELoss(Loss):
    """(a - y)², the mean over all elements."""

    op = "mse_loss"


@dataclass(frozen=True)
class HalfSquaredError(Loss):
    """½ (a - y)², the mean over all elements: its gradient is the plain difference."""

    op = "half_squared_error"


@dataclass(frozen=True)
class BCELoss(Loss):
    """Binary cross-entropy of each class's probability: the model ends in a Sigmoid."""

    op = "binary_cross_entropy"


@dataclass(frozen=True)
class BCEWithLogitsLoss(Loss):
    """Sigmoid and binary cross-entropy in one, which no score overflows."""

    op = "binary_cross_entropy_with_logits"
    output = "sigmoid"


LOSSES: dict[str, type[Loss]] = {
    "cross-entropy": CrossEntropyLoss,
    "mse": MSELoss,
    "half-squared-error": HalfSquaredError,
    "bce": BCELoss,
    "bce-with-logits": BCEWithLogitsLoss,
}
"""The command line's names."""


def from_description(description: Mapping[str, Any]) -> Loss:
    """Return the loss that ``gpucnn.config.describe`` described; SettingError if none."""
    kinds = {kind.__name__: kind for kind in LOSSES.values()}
    return cast(Loss, build("loss", description, kinds))
