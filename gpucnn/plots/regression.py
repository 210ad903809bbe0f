"""What an evaluation of a network for regression shows: predicted and true numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from gpucnn.plots.grids import checked_count, image_grid, pixels_of
from gpucnn.plots.style import INK, SERIES, WIDTH, Plot, clean, short, style
from gpucnn.training.results.regression import RegressionEvaluation
from gpucnn.training.task import NUMBERS

_MOST_POINTS = 1500
"""Images that are drawn as points; of more, so many spread evenly over them."""

_MOST_TARGETS = 9
"""Targets that are drawn."""


def predictions(evaluation: RegressionEvaluation) -> Plot:
    """Draw predicted against true numbers, a point for each image and a plot for each target.

    On the dashed line both are equal. Of more than 1,500 images as many are drawn; of more than
    nine targets the first nine.

    Returns:
        A figure with one pair of axes for each target.

    Example:
        >>> images = gpucnn.data.mnist().limit(100).train.images
        >>> grey, first, last = images.mean((1, 2, 3)), slice(80), slice(80, None)
        >>> data = gpucnn.data.from_arrays(
        ...     images[first], grey[first], images[last], grey[last], targets=["grey"]
        ... )
        >>> model = gpucnn.models.mlp(classes=1)
        >>> _ = gpucnn.fit(model, data, epochs=1)
        >>> figure = gpucnn.plots.predictions(gpucnn.evaluate(model, data.test))
        >>> figure.axes[0].get_xlabel()
        'true grey'
    """
    count = min(len(evaluation.targets), _MOST_TARGETS)
    images = len(evaluation.labels)
    shown = np.unique(np.linspace(0, images - 1, min(images, _MOST_POINTS)).astype(int))
    columns = min(count, 3)
    rows = -(-count // columns)
    with style():
        side = min(WIDTH / columns, 4.6)
        figure = Plot(figsize=(side * columns, side * rows + 0.2), layout="constrained")
        for k, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
            if k >= count:
                axes.remove()
            else:
                _draw(axes, evaluation, k, shown)
        return figure.lay_out()


def _draw(axes: Axes, evaluation: RegressionEvaluation, k: int, shown: NDArray[Any]) -> None:
    """Draw the points of a target."""
    true, found = evaluation.labels[shown, k], evaluation.predictions[shown, k]
    finite = np.isfinite(found)
    both = np.concatenate([true, found[finite]])
    low, high = float(both.min()), float(both.max())
    room = 0.04 * ((high - low) or 1)
    ends = (low - room, high + room)
    axes.plot(ends, ends, color=INK, linestyle="--", linewidth=1)
    axes.plot(true[finite], found[finite], ".", color=SERIES[0], markersize=4, alpha=0.5)
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    name = clean(evaluation.targets[k], 24)
    axes.set(xlabel=f"true {name}", ylabel=f"predicted {name}")
    main, last = NUMBERS.main, NUMBERS.figures[-1]
    error, fit = main.show(evaluation.target_mae[k]), last.show(evaluation.target_r2[k])
    axes.set_title(f"{main.title} {error}, {last.title} {fit}")


def worst(evaluation: RegressionEvaluation, images: Any, count: int = 24) -> Plot:
    """Draw the images with the largest errors, the largest first.

    Under each are the predicted and the true number; with several targets, those of the target
    whose error is largest compared with its standard deviation.

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
    pixels = pixels_of(images, len(evaluation.labels), "worst")
    spread = evaluation.labels.std(0)
    sizes = np.nan_to_num(np.abs(evaluation.errors) / np.where(spread > 0, spread, 1), nan=np.inf)
    order = np.argsort(-sizes.max(1), kind="stable")[:count]
    several = len(evaluation.targets) > 1

    def captions(index: int) -> tuple[str, str]:
        k = int(sizes[index].argmax())
        name = f"{clean(evaluation.targets[k], 8)} " if several else ""
        found, true = evaluation.predictions[index, k], evaluation.labels[index, k]
        return f"{name}{short(found, 4)}", f"true {short(true, 4)}"

    note = f"{len(order)} of {len(pixels):,} images"
    with style():
        return image_grid(pixels, order, captions, 4 if several else 6, "Largest errors", note)
