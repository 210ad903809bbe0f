"""What an evaluation of a network for regression finds: errors, and figures of each target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.nn.tables import html_table, text_table
from gpucnn.training.task import NUMBERS

TARGET_HEADINGS = ("target", "MAE", "MSE", "R²", "mean", "std")

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class RegressionMetrics:
    """Loss and errors on a split, in the units of the targets.

    Attributes:
        loss: mean loss over the images, of standardised targets.
        mse: mean squared error; with several targets their mean, as all that follow.
        mae: mean absolute error.
        r2: coefficient of determination R², 1 - squared errors / squared deviations from the mean
            of the split. NaN if a target is the same for all images.
        count: number of images.
    """

    loss: float
    mse: float
    mae: float
    r2: float
    count: int

    @property
    def figures(self) -> dict[str, float]:
        """The figures by their names in events."""
        return {name: getattr(self, name) for name in NUMBERS.names}

    @property
    def rank(self) -> list[float]:
        """What an epoch is chosen by: the greater the better."""
        return [-self.loss]


def sum_squares(targets: Numbers) -> Numbers:
    """Return the sum of the squared deviations of each target (N, K) from its mean, (K,).

    It is exactly 0 for a target that is the same for all images.
    """
    deviations = np.where(targets.min(0) == targets.max(0), 0, targets - targets.mean(0))
    squares: Numbers = (deviations * deviations).sum(0)
    return squares


def r_squared(squared_errors: Numbers, spread: Numbers) -> Numbers:
    """Return R² of each target, by its sums of squared errors and of squared deviations."""
    undefined = np.full(spread.shape, np.nan)
    found: Numbers = 1 - np.divide(squared_errors, spread, out=undefined, where=spread > 0)
    return found


@dataclass(frozen=True, eq=False, repr=False)
class RegressionEvaluation(RegressionMetrics):
    """How well a network for regression does on a split: N images, K targets.

    Printed, or as the last line of a notebook's cell, it is a table of the targets. Two evaluations
    are equal if all figures are.

    Attributes:
        labels: the true numbers, float64 (N, K), in the order of the split.
        predictions: the predicted numbers, float64 (N, K), in the same units.
        targets: the names of the targets, K strings.
    """

    labels: Numbers
    predictions: Numbers
    targets: tuple[str, ...]

    @property
    def errors(self) -> Numbers:
        """Predicted minus true numbers, (N, K)."""
        return self.predictions - self.labels

    @property
    def target_mse(self) -> Numbers:
        """Mean squared error of each target, (K,)."""
        return np.asarray((self.errors**2).mean(0))

    @property
    def target_mae(self) -> Numbers:
        """Mean absolute error of each target, (K,)."""
        return np.asarray(np.abs(self.errors).mean(0))

    @property
    def target_r2(self) -> Numbers:
        """R² of each target, (K,); NaN for one that is the same for all images."""
        return r_squared((self.errors**2).sum(0), sum_squares(self.labels))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RegressionEvaluation):
            return NotImplemented
        return (
            self.loss == other.loss
            and self.targets == other.targets
            and np.array_equal(self.labels, other.labels)
            and np.array_equal(self.predictions, other.predictions, equal_nan=True)
        )

    __hash__ = RegressionMetrics.__hash__

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of the table of targets; ``TARGET_HEADINGS`` are its headings."""
        columns = (self.target_mae, self.target_mse, self.target_r2)
        spread = self.labels.mean(0), self.labels.std(0)
        shown = [figure.show for figure in NUMBERS.figures] + [NUMBERS.main.show] * 2
        return [
            (name, *(show(values[k]) for show, values in zip(shown, columns + spread, strict=True)))
            for k, name in enumerate(self.targets)
        ]

    def line(self) -> str:
        """Return the figures in one line."""
        found = ", ".join(
            f"{figure.title} {figure.show(getattr(self, figure.name))}"
            for figure in NUMBERS.figures
        )
        return f"{found} ({self.count:,} images), loss {self.loss:.4f}"

    def plain(self) -> dict[str, Any]:
        """Return the evaluation as plain data."""
        columns = {"mse": self.target_mse, "mae": self.target_mae, "r2": self.target_r2}
        return {
            "images": self.count,
            **self.figures,
            "targets": [
                {"target": name, **{key: values[k].item() for key, values in columns.items()}}
                for k, name in enumerate(self.targets)
            ],
            "labels": self.labels.tolist(),
            "predictions": self.predictions.tolist(),
        }

    def __repr__(self) -> str:
        return f"{self.line()}\n{text_table(TARGET_HEADINGS, self.rows(), left=1)}"

    def _repr_html_(self) -> str:
        return html_table(TARGET_HEADINGS, self.rows(), line=self.line())
