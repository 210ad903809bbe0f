"""What is learned from labels, classes or numbers: the figures that show how well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def percent(fraction: float) -> str:
    """Return 0.9924 as "99.24 %"."""
    return f"{100 * fraction:.2f} %"


PARTS = ("train", "validation", "test")
"""The splits whose figures events have: ``train_loss``, ``test_accuracy`` and so on."""


@dataclass(frozen=True)
class Figure:
    """A figure besides the loss.

    Attributes:
        name: what events call it, after ``train_``, ``validation_`` or ``test_``.
        title: what people call it.
        show: its format.
    """

    name: str
    title: str
    show: Callable[[float], str]


@dataclass(frozen=True)
class Task:
    """What is learned from labels.

    Attributes:
        figures: how well it is learned; the first is shown where there is room for one.
        chosen_by: the figure that decides on early stopping and the best epoch.
    """

    figures: tuple[Figure, ...]
    chosen_by: str

    @property
    def main(self) -> Figure:
        """The figure that is shown where there is room for one."""
        return self.figures[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the loss and the figures."""
        return ("loss", *(figure.name for figure in self.figures))


CLASSES = Task((Figure("accuracy", "accuracy", percent),), "validation accuracy")
"""Classification: labels are classes."""

NUMBERS = Task(
    (
        Figure("mae", "MAE", "{:.4g}".format),
        Figure("mse", "MSE", "{:.4g}".format),
        Figure("r2", "R²", "{:.4f}".format),
    ),
    "validation loss",
)
"""Regression: labels are numbers. The mean absolute and squared errors are in the units of the
targets; R² is the coefficient of determination. With several targets each is a mean over them."""

FIGURES = tuple(dict.fromkeys(name for task in (CLASSES, NUMBERS) for name in task.names))
"""The names of the figures of all tasks."""


def task_of(regression: bool) -> Task:
    """Return the task of data: ``Data.is_regression`` or ``Split.is_regression``."""
    return NUMBERS if regression else CLASSES
