"""What the tests of plots are made of: evaluations and runs with chosen figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn import Sequential
from gpucnn.nn.layers import Layer
from gpucnn.training import EpochEnded, RunStarted, Stopped
from gpucnn.training.history import History
from gpucnn.training.results.figures import Evaluation, confusions


def evaluation(
    labels: Sequence[int],
    probabilities: Sequence[Sequence[float]] | NDArray[Any],
    classes: Sequence[str] | None = None,
    has_probabilities: bool = True,
) -> Evaluation:
    """An evaluation of images with these labels and outputs."""
    true, outputs = np.array(labels, np.int64), np.array(probabilities, np.float32)
    count = outputs.shape[1]
    predictions = np.where(np.isnan(outputs).any(1), -1, outputs.argmax(1)).astype(np.int64)
    known = predictions >= 0
    matrix = confusions(true[known], predictions[known], count)
    names = tuple(classes or map(str, range(count)))
    correct = int(matrix.trace())
    return Evaluation(
        0.5, correct, len(true), true, predictions, outputs, has_probabilities, names, matrix
    )


def many_classes(classes: int, count: int = 400, seed: int = 0) -> Evaluation:
    """An evaluation of a network that is often correct."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    outputs = rng.dirichlet([0.3] * classes, count)
    sure = np.arange(count) % 4 > 0
    outputs[sure] = 0.2 * outputs[sure] + 0.8 * np.eye(classes)[labels[sure]]
    return evaluation(labels.tolist(), outputs)


def history(
    losses: Sequence[float],
    accuracies: Sequence[float],
    validation: Sequence[float] | None = None,
    first: int = 1,
) -> History:
    """A run with these test losses and accuracies; its training figures are a bit better."""
    epochs = [
        EpochEnded(
            step=10 * epoch,
            epoch=epoch,
            train_loss=0.9 * loss,
            train_accuracy=accuracy,
            test_loss=loss,
            test_accuracy=accuracy,
            validation_loss=None if validation is None else loss,
            validation_accuracy=None if validation is None else validation[epoch - first],
            lr=0.1,
            seconds=1.0,
            images_per_second=100.0,
        )
        for epoch, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True), first)
    ]
    started = RunStarted(
        step=10 * (first - 1),
        version="1",
        backend="numpy",
        dtype="float32",
        precision="ieee",
        data="digits",
        classes=4,
        train_images=100,
        validation_images=0 if validation is None else 10,
        test_images=10,
        parameters=10,
        steps_per_epoch=10,
        eager=None,
        notes=(),
        settings={"epochs": len(losses)},
    )
    stopped = Stopped(
        step=10 * len(losses),
        epoch=len(losses),
        reason="finished",
        best_epoch=None,
        test_loss=None,
        test_accuracy=None,
    )
    return History(epochs, started, stopped)


def texts(figure: Any) -> list[str]:
    """Return every text of a figure that is seen, in no particular order."""
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_visible()]


def network(layers: dict[str, Layer], shape: tuple[int, int, int]) -> Sequential:
    model = Sequential(layers, shape)
    model.normalization = ((0.5,) * shape[0], (0.25,) * shape[0])
    return model


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def drawn(figure: Any) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for image in figure.axes[0].images]


def unmosaic(image: np.ndarray, index: int, side: int, pixels: int, gap: int = 1) -> np.ndarray:
    """Return plane ``index`` of a mosaic of one row, ``side`` elements of ``pixels`` each."""
    width = side * pixels
    start = index * (width + gap)
    return image[::pixels, start : start + width : pixels]
