"""Losses: the mean over a batch of the distance between scores and targets, and its gradient.

Scores are (N, C). Targets are classes, int64 (N,), or numbers of the scores' shape (regression).
Losses other than cross-entropy turn classes into one-hot rows.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array, Reduction
from gpucnn.config import build, check_integer, check_number, is_builtin
from gpucnn.errors import SettingError

Output = Literal["softmax", "sigmoid", "none"]
"""What turns a model's scores into probabilities."""


class Loss:
    """Base of all losses. ``op`` names the backend's operation, ``op``_backward its gradient."""

    op: ClassVar[str]
    output: ClassVar[Output] = "none"
    """What turns scores that were trained with this loss into probabilities."""
    for_numbers: ClassVar[bool] = False
    """Whether the loss serves regression, with any numbers as targets."""

    def forward(
        self, be: Backend, scores: Array, target: Array, reduction: Reduction = "mean"
    ) -> Array:
        """Return the mean loss, or the sum, an array of shape ()."""
        target = self._target(be, scores, target)
        return getattr(be, self.op)(scores, target, reduction, **self._options(be))

    def backward(self, be: Backend, scores: Array, target: Array) -> Array:
        """Return the gradient of the mean loss with respect to ``scores``, of their shape."""
        target = self._target(be, scores, target)
        return getattr(be, f"{self.op}_backward")(scores, target, **self._options(be))

    def add_metrics(self, be: Backend, totals: Array, scores: Array, target: Array) -> Array:
        """Add the batch to ``totals``, float64 (2,): the sum of losses, and correct samples.

        If the targets are numbers (N, K), ``totals`` are (1 + 2 K,), as in ``add_errors``. Return
        the loss that was added, an array of shape (): the mean, which stands for each sample, or
        for a ``weighted`` loss the sum.
        """
        if target.ndim == 2:
            value = self.forward(be, scores, target)
            be.add_errors(totals, value, scores, target)
            return value
        if not self.weighted:
            value = self.forward(be, scores, target)
            be.add_metrics(totals, value, scores, target)
            return value
        value = self.forward(be, scores, target, "sum")
        be.add_metrics(totals, value, scores, target, "sum", ignore_index=self.ignored)
        return value

    @property
    def weighted(self) -> bool:
        """Whether classes count differently, so that a mean over samples divides by ``weigh``."""
        return False

    @property
    def ignored(self) -> int:
        """The class whose samples do not count; no label is negative."""
        return -100

    def weigh(self, labels: NDArray[Any]) -> float:
        """Return the divisor of the mean loss of these samples: their number or their weights."""
        return float(len(labels))

    def check_outputs(self, outputs: int) -> None:
        """Raise SettingError unless the loss fits a model of so many outputs."""
        for name, weights in self._weights().items():
            if weights is not None and len(weights) not in (outputs, *self._lengths):
                raise SettingError(
                    f"{type(self).__name__}: {name} has {len(weights)} numbers, but the model has "
                    f"{outputs} outputs: give a number for each"
                )

    def prepare(self, be: Backend) -> None:
        """Copy what the loss consists of to a device, before a step on it is captured."""
        self._options(be)

    _lengths: ClassVar[tuple[int, ...]] = ()
    """Lengths that weights may have whatever the number of outputs."""

    def _weights(self) -> dict[str, tuple[float, ...] | None]:
        return {}

    def _options(self, be: Backend) -> dict[str, Any]:
        """Return the options of the operation that differ from its defaults."""
        found = self._weights().items()
        return {name: be.constant(values) for name, values in found if values is not None}

    def _target(self, be: Backend, scores: Array, target: Array) -> Array:
        return be.one_hot(target, scores.shape[1]) if target.ndim == 1 else target


@dataclass(frozen=True)
class CrossEntropyLoss(Loss):
    """-log softmax(scores)[target]. The model ends in scores, without a Softmax layer.

    Scores are (N, C) or (N, C, d1, ...), targets classes, (N,) or (N, d1, ...).

    Args:
        weight: a factor for each class, C numbers of at least 0, for example for classes with few
            images; 1 if None. The mean divides by the sum of the weights of its targets.
        ignore_index: a class whose samples do not count; it may be outside the classes. Accuracy
            is over all samples, and such a sample is never correct.
        label_smoothing: the part of each target, 0 to 1, that is spread over all classes. It is
            part of every loss that is reported, of training and test images.

    The mean of a batch in which no sample counts is NaN and its gradient 0, so that in training
    such a batch changes nothing.

    >>> CrossEntropyLoss(weight=[1, 5], label_smoothing=0.1)
    CrossEntropyLoss(weight=(1.0, 5.0), ignore_index=-100, label_smoothing=0.1)
    """

    weight: Sequence[float] | None = None
    ignore_index: int = -100
    label_smoothing: float = 0.0

    op = "cross_entropy"
    output = "softmax"

    def __post_init__(self) -> None:
        index = check_integer("ignore_index", self.ignore_index, -(2**63))
        if index >= 2**63:
            raise SettingError(f"ignore_index must be an int64, got {index}")
        smoothing = check_number("label_smoothing", self.label_smoothing, 0)
        if smoothing > 1:
            raise SettingError(f"label_smoothing must be from 0 to 1, got {smoothing!r}")
        weight = _numbers("weight", self.weight)
        _set(self, weight=weight, ignore_index=index, label_smoothing=float(smoothing))

    @property
    def weighted(self) -> bool:
        """As in ``Loss``. Labels of data sets are never negative."""
        return self.weight is not None or self.ignore_index >= 0

    @property
    def ignored(self) -> int:
        """As in ``Loss``."""
        return self.ignore_index

    def weigh(self, labels: NDArray[Any]) -> float:
        """As in ``Loss``: the sum of the weights of the labels that are not ignored."""
        counted = labels[labels != self.ignore_index]
        if self.weight is None:
            return float(counted.size)
        # A label outside the classes is refused by the operation.
        return float(np.take(self.weight, counted, mode="clip").sum())

    def _weights(self) -> dict[str, tuple[float, ...] | None]:
        return {"weight": cast("tuple[float, ...] | None", self.weight)}

    def _options(self, be: Backend) -> dict[str, Any]:
        options = super()._options(be)
        if self.ignore_index != -100:
            options["ignore_index"] = self.ignore_index
        if self.label_smoothing:
            options["label_smoothing"] = self.label_smoothing
        return options

    def _target(self, be: Backend, scores: Array, target: Array) -> Array:
        return target


@dataclass(frozen=True)
class MSELoss(Loss):
    """(score - target)², the mean over all elements."""

    op = "mse_loss"
    for_numbers = True


@dataclass(frozen=True)
class HalfSquaredError(Loss):
    """½ (score - target)², the mean over all elements."""

    op = "half_squared_error"
    for_numbers = True


@dataclass(frozen=True)
class BCELoss(Loss):
    """Binary cross-entropy of each class's probability. The model ends in a Sigmoid layer."""

    op = "binary_cross_entropy"


@dataclass(frozen=True)
class BCEWithLogitsLoss(Loss):
    """Binary cross-entropy of sigmoid(scores), computed without overflow for any score.

    Args:
        pos_weight: a factor for the positive targets of each class, C numbers of at least 0, or one
            number for all; 1 if None.
    """

    pos_weight: Sequence[float] | None = None

    op = "binary_cross_entropy_with_logits"
    output = "sigmoid"
    _lengths = (1,)

    def __post_init__(self) -> None:
        _set(self, pos_weight=_numbers("pos_weight", self.pos_weight))

    def _weights(self) -> dict[str, tuple[float, ...] | None]:
        return {"pos_weight": cast("tuple[float, ...] | None", self.pos_weight)}


def _numbers(name: str, weights: Sequence[float] | None) -> tuple[float, ...] | None:
    """Return weights as a tuple; SettingError unless they are numbers of at least 0."""
    if weights is None:
        return None
    try:
        numbers = () if isinstance(weights, str) else tuple(float(number) for number in weights)
    except (TypeError, ValueError, OverflowError):
        numbers = ()
    if not numbers or not all(0 <= number < math.inf for number in numbers):
        raise SettingError(
            f"{name} must be finite numbers >= 0, one for each class, for example [1, 2.5]; "
            f"got {' '.join(reprlib.repr(weights).split())}"
        )
    return numbers


def _set(loss: Loss, **arguments: Any) -> None:
    """Set fields of a frozen loss: as plain numbers and tuples they can be saved as JSON."""
    for name, value in arguments.items():
        object.__setattr__(loss, name, value)


LOSSES: dict[str, type[Loss]] = {
    "cross-entropy": CrossEntropyLoss,
    "mse": MSELoss,
    "half-squared-error": HalfSquaredError,
    "bce": BCELoss,
    "bce-with-logits": BCEWithLogitsLoss,
}
"""Losses by their names on the command line."""

_KINDS = {kind.__name__: kind for kind in LOSSES.values()}


def default_loss(regression: bool) -> Loss:
    """Return the loss that is used where none is given: for classes, or for numbers."""
    return MSELoss() if regression else CrossEntropyLoss()


def check_loss(loss: Loss, regression: bool) -> None:
    """Raise SettingError if one of our losses is for classes and the labels are numbers."""
    if regression and is_builtin(loss) and not loss.for_numbers:
        raise SettingError(
            f"{type(loss).__name__} is a loss of classes, but the labels are numbers to predict: "
            "use nn.MSELoss() (command line: --loss mse)"
        )


def from_description(description: Mapping[str, Any]) -> Loss:
    """Return the loss that ``gpucnn.config.describe`` described; SettingError if unknown."""
    return cast(Loss, build("loss", description, _KINDS))


def complete(description: dict[str, Any]) -> None:
    """Add the arguments that older versions of a loss did not have, with their defaults."""
    kind = _KINDS.get(str(description.get("type")))
    for argument in fields(kind) if kind else ():  # type: ignore[arg-type]
        description.setdefault(argument.name, argument.default)
