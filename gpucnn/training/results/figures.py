"""What an evaluation finds: loss and accuracy, and figures of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.nn.tables import html_table, text_table
from gpucnn.training.task import percent

MAX_CLASSES = 20
"""Classes in a table that fits on a screen; of more classes, those with the lowest F1."""

USELESS = "the outputs of the network contain NaN or infinity; train it again"
"""The message of DivergedError where outputs are needed."""

HEADINGS = ("class", "precision", "recall", "F1", "images", "most often taken for")


@dataclass(frozen=True)
class Metrics:
    """Loss and accuracy on a split.

    Attributes:
        loss: mean loss over the images, with the weights of a loss that has them.
        correct: number of images whose class has the highest score.
        count: number of images.
    """

    loss: float
    correct: int
    count: int

    @property
    def accuracy(self) -> float:
        """Fraction of the images that were classified correctly, 0 to 1."""
        return self.correct / self.count

    @property
    def figures(self) -> dict[str, float]:
        """The figures by their names in events."""
        return {"loss": self.loss, "accuracy": self.accuracy}

    @property
    def rank(self) -> list[float]:
        """What an epoch is chosen by: the greater the better, the first figure first."""
        return [self.accuracy, -self.loss]


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Metrics):
    """How well a model does on a split: N images, K outputs of the model.

    Printed, or as the last line of a notebook's cell, it is a table of the classes. Two evaluations
    are equal if all figures are.

    Attributes:
        loss: mean loss over the images, with the weights of a loss that has them.
        correct: number of images whose class has the highest score: the sum of the confusion
            matrix's diagonal.
        count: number of images N.
        labels: the true classes, int64 (N,), in the order of the split.
        predictions: the predicted classes, int64 (N,): the first of the greatest scores; -1 where
            the scores contain NaN.
        probabilities: what ``model.predict`` returns, (N, K), of the backend's dtype. With sigmoid
            outputs, each class has a probability of its own, and rows do not sum to 1.
        has_probabilities: False after training by a squared error: ``probabilities`` then has the
            scores, which are not probabilities.
        classes: names of the classes, K strings; outputs without a name have their number.
        confusion_matrix: int64 (K, K): number of images, by true class (row) and predicted class
            (column). It leaves out images with NaN, and those of the class that the loss ignores.
    """

    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    probabilities: NDArray[Any]
    has_probabilities: bool
    classes: tuple[str, ...]
    confusion_matrix: NDArray[np.int64]

    @property
    def support(self) -> NDArray[np.int64]:
        """Number of images of each class in the confusion matrix, int64 (K,)."""
        support: NDArray[np.int64] = self.confusion_matrix.sum(1)
        return support

    @property
    def precision(self) -> NDArray[np.float64]:
        """Of the images predicted as each class, the fraction that are of it, (K,).

        0 for a class that is never predicted, as in scikit-learn.
        """
        return _fraction(self.confusion_matrix.diagonal(), self.confusion_matrix.sum(0))

    @property
    def recall(self) -> NDArray[np.float64]:
        """Of the images of each class, the fraction predicted as it, (K,); 0 without images."""
        return _fraction(self.confusion_matrix.diagonal(), self.support)

    @property
    def f1(self) -> NDArray[np.float64]:
        """Harmonic mean of precision and recall of each class, (K,).

        0 for a class that has no images and is never predicted.
        """
        matrix = self.confusion_matrix
        return _fraction(2 * matrix.diagonal(), matrix.sum(0) + matrix.sum(1))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Evaluation):
            return NotImplemented
        return (
            super().__eq__(other)
            and self.classes == other.classes
            and np.array_equal(self.labels, other.labels)
            and np.array_equal(self.predictions, other.predictions)
            and np.array_equal(self.probabilities, other.probabilities, equal_nan=True)
        )

    __hash__ = Metrics.__hash__

    def rows(self, most: int | None = None) -> list[tuple[str, ...]]:
        """Return the cells of the table of classes; ``HEADINGS`` are its headings.

        Of more than ``most`` classes, those with the lowest F1, from the lowest. A fraction of
        no images is "-".
        """
        matrix, f1, support = self.confusion_matrix, self.f1, self.support
        predicted = matrix.sum(0)
        order: Sequence[int] = range(len(self.classes))
        if most is not None and len(self.classes) > most:
            order = [k for k in np.argsort(f1, kind="stable") if support[k]][:most]
        return [
            (
                self.classes[k],
                percent(self.precision[k]) if predicted[k] else "-",
                percent(self.recall[k]) if support[k] else "-",
                percent(f1[k]) if predicted[k] + support[k] else "-",
                f"{support[k]:,}",
                self._taken_for(k),
            )
            for k in order
        ]

    def _taken_for(self, k: int) -> str:
        """Return the class that images of class ``k`` were wrongly predicted as most often."""
        others = self.confusion_matrix[k].copy()
        others[k] = 0
        wrong = int(others.argmax())
        return f"{self.classes[wrong]} ({others[wrong]:,})" if others[wrong] else ""

    def _line(self) -> str:
        found = f"accuracy {percent(self.accuracy)} ({self.correct:,} of {self.count:,} images)"
        line = f"{found}, loss {self.loss:.4f}"
        if len(self.classes) > MAX_CLASSES:
            line += f"; of {len(self.classes)} classes, {MAX_CLASSES} with the lowest F1"
        return line

    def __repr__(self) -> str:
        return f"{self._line()}\n{text_table(HEADINGS, self.rows(MAX_CLASSES), left=1)}"

    def _repr_html_(self) -> str:
        return html_table(HEADINGS, self.rows(MAX_CLASSES), line=self._line())


def confusions(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Return how often each class was predicted as each: int64, rows true, columns predicted."""
    cells = np.bincount(labels * classes + predictions, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


def _fraction(part: NDArray[np.int64], total: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return part / total, 0 where total is 0."""
    return np.divide(part, total, out=np.zeros(len(total)), where=total > 0)
