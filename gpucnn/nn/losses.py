"""Losses: the mean over a batch of the distance between scores and targets, and its gradient.

Scores are (N, C). Targets are classes, int64 (N,), or numbers of the scores' shape. Losses other
than cross-entropy turn classes into one-hot rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.config import build

Output = Literal["softmax", "sigmoid", "none"]
"""What turns a model's scores into probabilities."""


class Loss:
    """Base of all losses. ``op`` names the backend's operation, ``op``_backward its gradient."""

    op: ClassVar[str]
    output: ClassVar[Output] = "none"
    """What turns scores that were trained with this loss into probabilities."""

    def forward(self, be: Backend, scores: Array, target: Array) -> Array:
        """Return the mean loss, an array of shape ()."""
        return getattr(be, self.op)(scores, self._target(be, scores, target))

    def backward(self, be: Backend, scores: Array, target: Array) -> Array:
        """Return the gradient of the mean loss with respect to ``scores``, of their shape."""
        return getattr(be, f"{self.op}_backward")(scores, self._target(be, scores, target))

    def _target(self, be: Backend, scores: Array, target: Array) -> Array:
        return be.one_hot(target, scores.shape[1]) if target.ndim == 1 else target


@dataclass(frozen=True)
class CrossEntropyLoss(Loss):
    """-log softmax(scores)[target]. The model ends in scores, without a Softmax layer."""

    op = "cross_entropy"
    output = "softmax"

    def _target(self, be: Backend, scores: Array, target: Array) -> Array:
        return target


@dataclass(frozen=True)
class MSELoss(Loss):
    """(score - target)², the mean over all elements."""

    op = "mse_loss"


@dataclass(frozen=True)
class HalfSquaredError(Loss):
    """½ (score - target)², the mean over all elements."""

    op = "half_squared_error"


@dataclass(frozen=True)
class BCELoss(Loss):
    """Binary cross-entropy of each class's probability. The model ends in a Sigmoid layer."""

    op = "binary_cross_entropy"


@dataclass(frozen=True)
class BCEWithLogitsLoss(Loss):
    """Binary cross-entropy of sigmoid(scores), computed without overflow for any score."""

    op = "binary_cross_entropy_with_logits"
    output = "sigmoid"


LOSSES: dict[str, type[Loss]] = {
    "cross-entropy": CrossEntropyLoss,
    "mse": MSELoss,
    "half-squared-error": HalfSquaredError,
    "bce": BCELoss,
    "bce-with-logits": BCEWithLogitsLoss,
}
"""Losses by their names on the command line."""


def from_description(description: Mapping[str, Any]) -> Loss:
    """Return the loss that ``gpucnn.config.describe`` described; SettingError if unknown."""
    kinds = {kind.__name__: kind for kind in LOSSES.values()}
    return cast(Loss, build("loss", description, kinds))
