"""What an evaluation shows: the confusion matrix, calibration, and the misread images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from gpucnn.config import check_integer
from gpucnn.data.lazy import LazyImages
from gpucnn.errors import DataError
from gpucnn.plots.canvas import show
from gpucnn.plots.grids import LETTERS, SHORT, checked_count, image_grid, pixels_of
from gpucnn.plots.style import (
    GRID,
    INK,
    PAPER,
    SERIES,
    WHITE,
    WIDTH,
    Plot,
    clean,
    percent,
    style,
)
from gpucnn.training.results.figures import Evaluation

_NUMBERED = 26
"""Up to so many classes the cells of a confusion matrix have numbers."""

_NAMED = 60
"""Up to so many classes every row and column has its name."""

_MOST_CELLS = 900
"""Up to so many classes every cell is an element of the image; of more, some are merged."""

_CELL = "#005a94"
"""The colour of a cell with all images of its row."""


def confusion_matrix(evaluation: Evaluation) -> Plot:
    """Draw how many images of each class were taken for which class.

    Rows are true classes, columns predictions. The colour of a cell is its part of the row's
    images, by its square root, so that rare confusions are seen. Up to 26 classes the cells have
    the numbers of images.

    Returns:
        A figure with one pair of axes; the matrix is its only image.

    Example:
        >>> data = gpucnn.data.mnist().limit(200)
        >>> model = gpucnn.models.lenet5(seed=0)
        >>> model.normalization = data.statistics()
        >>> result = gpucnn.evaluate(model, data.train)
        >>> gpucnn.plots.confusion_matrix(result).axes[0].get_xlabel()
        'predicted class'
    """
    matrix = np.asarray(evaluation.confusion_matrix)
    count = len(matrix)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    opacity = np.where(matrix > 0, 0.06 + 0.94 * np.sqrt(shares), 0)
    # Of floats: with 8 bits, weak colours lose their hue.
    colours = np.dstack([*np.broadcast_to(to_rgb(_CELL), (count, count, 3)).T, opacity])
    with style():
        side = WIDTH if count > 4 else 2.2 + 0.75 * count
        figure = Plot(figsize=(side, 0.92 * side + 0.3), layout="constrained")
        axes = figure.subplots()
        show(axes, colours, dense=count > _MOST_CELLS)
        axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect="equal")
        axes.grid(False)
        axes.set_title(f"{int(np.trace(matrix)):,} of {int(matrix.sum()):,} images are correct")
        axes.set(xlabel="predicted class", ylabel="true class")
        _name_classes(axes, evaluation.classes)
        if count <= _NUMBERED:
            _write_counts(axes, matrix, opacity)
            edges = np.arange(count + 1) - 0.5
            axes.hlines(edges, -0.5, count - 0.5, colors=GRID, linewidth=0.5)
            axes.vlines(edges, -0.5, count - 0.5, colors=GRID, linewidth=0.5)
        return figure.lay_out()


def _name_classes(axes: Axes, classes: tuple[str, ...]) -> None:
    """Write the names of the classes at both axes; of many, every second, fifth, ..."""
    count = len(classes)
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, count) if count / step <= _NAMED)
    places = np.arange(0, count, step)
    names = [clean(classes[place], 16) for place in places]
    size = float(np.clip(9 * 26 / max(len(places), 1), 5, 9))
    upright = sum(map(len, names)) * 0.011 * size > WIDTH - 1
    axes.set_xticks(places, names, fontsize=size, rotation=90 if upright else 0)
    axes.set_yticks(places, names, fontsize=size)
    axes.tick_params(length=0 if step == 1 else 3)


def _write_counts(axes: Axes, matrix: NDArray[Any], opacity: NDArray[Any]) -> None:
    """Write the count of each cell that has images, in a colour that can be read on it."""
    digits = max(len(f"{matrix.max()}"), 2)
    size = min(11.0, 72 * (WIDTH - 1) / len(matrix) / (0.68 * digits + 0.4))
    for row, column in np.argwhere(matrix):
        axes.text(
            column,
            row,
            f"{matrix[row, column]}",
            ha="center",
            va="center",
            fontsize=size,
            color=_readable(float(opacity[row, column])),
            in_layout=False,
        )


def _readable(opacity: float) -> str:
    """Return the colour with more contrast on a cell: white, or the text's."""
    cell = 1 - opacity * (1 - np.array(to_rgb(_CELL)))
    contrast = 1.05 / (_luminance(cell) + 0.05)
    ink = (_luminance(cell) + 0.05) / (_luminance(np.array(to_rgb(INK))) + 0.05)
    return WHITE if contrast > ink else INK


def _luminance(colour: NDArray[Any]) -> float:
    """Return the relative luminance of a colour, as WCAG 2 defines it."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


@dataclass(frozen=True, eq=False)
class Calibration:
    """How often a model is correct, by how sure it is: one element for each bin.

    ``confidence`` is the mean probability of the predicted class, ``accuracy`` the fraction of the
    images that are correct, both NaN in empty bins; ``count`` is the number of images. ``error`` is
    the expected calibration error: the mean of |confidence - accuracy|, weighted by the counts
    (Guo et al. 2017, "On Calibration of Modern Neural Networks").
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]
    error: float


def calibration(evaluation: Evaluation, bins: int = 10) -> Calibration:
    """Return the calibration of a model in ``bins`` equal intervals from 0 to 1.

    An interval contains its upper limit. Raises SettingError unless ``bins`` is a positive integer,
    DataError if the model's outputs are not probabilities.
    """
    bins = check_integer("bins", bins, 1)
    if not evaluation.has_probabilities:
        raise DataError(
            "the model's outputs are not probabilities, so they cannot be calibrated: expected a "
            "model trained with another loss than a squared error"
        )
    finite = evaluation.predictions >= 0  # -1: the scores contain NaN
    if not finite.any():
        raise DataError("all outputs of the model are NaN, so they cannot be calibrated")
    confidence = evaluation.probabilities[finite].max(1).astype(np.float64)
    correct = (evaluation.predictions == evaluation.labels)[finite]
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(index, confidence, bins) / count
        accuracy = np.bincount(index, correct, bins) / count
    error = float(np.nansum(count * np.abs(mean - accuracy)) / count.sum())
    return Calibration(mean, accuracy, count, error)


def reliability(evaluation: Evaluation, bins: int = 10) -> Plot:
    """Draw how often the model is correct, by how sure it is, and how often it is how sure.

    A calibrated model is correct in 80 % of the images for which it gives a probability of 80 %:
    its bars end on the diagonal. The title has the expected calibration error (``calibration``).

    Returns:
        A figure with two pairs of axes: accuracies, and numbers of images.

    Raises:
        DataError: the model's outputs are not probabilities.
        SettingError: ``bins`` is not a positive integer.
    """
    found = calibration(evaluation, bins)
    edges = np.linspace(0, 1, len(found.count) + 1)
    with style():
        figure = Plot(figsize=(4.8, 5.0), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        _draw_bars(upper, edges, found)
        upper.set_title(f"Expected calibration error {percent(found.error)}")
        lower.bar(
            edges[:-1], found.count, np.diff(edges), align="edge", color=SERIES[4], edgecolor=PAPER
        )
        lower.set(xlabel="probability of the predicted class", ylabel="images")
        lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        lower.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
        return figure.lay_out()


def _draw_bars(axes: Axes, edges: NDArray[Any], found: Calibration) -> None:
    """Draw the accuracies as bars, and for each bin the gap to its mean probability."""
    there = found.count > 0
    left, width = edges[:-1][there], np.diff(edges)[there]
    accuracy, confidence = found.accuracy[there], found.confidence[there]
    axes.bar(
        left, accuracy, width, align="edge", color=SERIES[0], edgecolor=PAPER, label="accuracy"
    )
    axes.bar(
        left,
        confidence - accuracy,
        width,
        bottom=accuracy,
        align="edge",
        facecolor=(*to_rgb(SERIES[1]), 0.25),
        edgecolor=SERIES[1],
        hatch="///",
        linewidth=0.8,
        label="difference from the mean probability",
    )
    axes.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1, label="calibrated")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="correct images")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    axes.legend(loc="upper left", frameon=True, framealpha=0.85)


def misread(evaluation: Evaluation, images: Any, count: int = 24) -> Plot:
    """Draw the images that were classified wrongly, the surest predictions first.

    Under each are the predicted class with its probability, and the true class with its own.

    Args:
        evaluation: of a model on these images.
        images: uint8 (N, C, H, W), or the split that has them.
        count: how many images at most, up to 240.

    Returns:
        A figure with one pair of axes, on which the images lie.

    Raises:
        DataError: the images are not those of the evaluation, or not uint8.
        SettingError: ``count`` is not an integer from 1 to 240.
    """
    count = checked_count(count)
    labels, predictions = evaluation.labels, evaluation.predictions
    pixels = pixels_of(images, len(labels), "misread")
    rows = np.arange(len(labels))
    sureness = evaluation.probabilities[rows, predictions]
    wrong = np.flatnonzero(predictions != labels)
    sureness[predictions < 0] = np.nan  # sorted last
    order = wrong[np.argsort(-sureness[wrong], kind="stable")][:count]
    note = f"{len(wrong):,} of {len(labels):,} images"
    if len(order) < len(wrong):
        note += f"; the {len(order)} surest of them"
    with style():
        return _grid_of_images(evaluation, pixels, order, note)


def _grid_of_images(
    evaluation: Evaluation, pixels: NDArray[Any] | LazyImages, order: NDArray[Any], note: str
) -> Plot:
    """Draw the images with the indices ``order``, with what they were taken for."""
    shown = {*evaluation.labels[order], *evaluation.predictions[order]} - {-1}
    columns = 6 if all(len(evaluation.classes[label]) <= SHORT for label in shown) else 4

    def caption(index: int, label: int) -> str:
        if label < 0:
            return "NaN"
        name = clean(evaluation.classes[label], LETTERS[columns])
        return f"{name}: {_probability(evaluation.probabilities[index, label])}"

    def captions(index: int) -> tuple[str, str]:
        found, true = evaluation.predictions[index], evaluation.labels[index]
        return f"as {caption(index, found)}", f"true {caption(index, true)}"

    empty = "every image was classified correctly"
    return image_grid(pixels, order, captions, columns, "Misread images", note, empty)


def _probability(value: float) -> str:
    return percent(float(value)) if 0 <= value <= 1 else f"{value:.3g}"
