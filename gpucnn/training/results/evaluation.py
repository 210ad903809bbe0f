"""How well a model does on a split."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends.contract.checks import Array
from gpucnn.config import is_builtin
from gpucnn.data import Split
from gpucnn.machine.processor import cores
from gpucnn.nn.losses import Loss, check_loss, default_loss
from gpucnn.nn.sequential import Sequential
from gpucnn.training.batches import Batches
from gpucnn.training.results.figures import Evaluation, Metrics, confusions
from gpucnn.training.results.regression import RegressionEvaluation, RegressionMetrics

BATCH_SIZE = 320
"""Images in a batch: with larger batches threads wait less often for each other."""

MAX_THREADS = 4
"""Every thread needs memory for a batch, and more threads wait longer for each other."""


def evaluate(
    model: Sequential, split: Split, *, loss: Loss | None = None, batch_size: int = BATCH_SIZE
) -> Evaluation | RegressionEvaluation:
    """Compute the loss and accuracy of a model on a split, with dropout off.

    Args:
        model: a network with ``normalization``, which ``fit`` and ``load_model`` set.
        split: uint8 images (M, C, H, W) of the model's input shape, and labels (M,).
        loss: the loss to report; ``CrossEntropyLoss()`` if None, ``MSELoss()`` for regression.
        batch_size: images at a time. It changes speed and memory, and the loss by rounding only.

    Returns:
        An ``Evaluation``: loss and accuracy, the predicted class and probabilities of each image,
        the confusion matrix, and precision, recall and F1 of each class. If the labels are numbers
        to predict, a ``RegressionEvaluation``: loss, errors, R² and the predicted numbers.

    Raises:
        ShapeError: the images do not have the model's input shape.
        DataError: a label is outside the model's classes, or the labels are numbers to predict and
            the model has classes, or the reverse.
        SettingError: the model has no normalization, ``batch_size`` is not a positive integer, or
            the loss has weights for another number of classes or ignores all images.

    Example:
        >>> import gpucnn
        >>> data = gpucnn.data.mnist().limit(200)
        >>> model = gpucnn.models.lenet5(seed=0)
        >>> model.normalization = data.statistics()
        >>> result = gpucnn.evaluate(model, data.train)
        >>> result.count
        200
        >>> result.accuracy < 0.5
        True
        >>> result.confusion_matrix.sum(), result.probabilities.shape
        (np.int64(200), (200, 10))
    """
    batches, loss = Batches(model, split, batch_size), loss or default_loss(split.is_regression)
    check_loss(loss, split.is_regression)
    if split.is_regression:
        return _evaluate_numbers(batches, split, loss)
    be, outputs = model.backend, model.output_shape[0]
    loss.check_outputs(outputs)
    batches.check_weight(loss, "images")
    predictions = np.empty(len(split), np.int64)
    probabilities = np.empty((len(split), outputs), be.dtype)

    def keep(index: int, scores: Array) -> None:
        rows = slice(index * batches.batch_size, index * batches.batch_size + len(scores))
        predictions[rows] = _predicted(be.to_numpy(scores))
        probabilities[rows] = be.to_numpy(model.probabilities(scores))

    metrics = evaluate_batches(batches, loss, keep)
    assert isinstance(metrics, Metrics)
    counted = (predictions >= 0) & (split.labels != loss.ignored)
    return Evaluation(
        *(metrics.loss, metrics.correct, metrics.count),
        labels=split.labels,
        predictions=predictions,
        probabilities=probabilities,
        has_probabilities=model.has_probabilities,
        classes=model.output_names,
        confusion_matrix=confusions(split.labels[counted], predictions[counted], outputs),
    )


def _evaluate_numbers(batches: Batches, split: Split, loss: Loss) -> RegressionEvaluation:
    """Return the evaluation of a model for regression."""
    model = batches.model
    outputs = np.empty(split.targets.shape, model.backend.dtype)

    def keep(index: int, values: Array) -> None:
        start = index * batches.batch_size
        outputs[start : start + len(values)] = model.backend.to_numpy(values)

    metrics = evaluate_batches(batches, loss, keep)
    assert isinstance(metrics, RegressionMetrics)
    return RegressionEvaluation(
        **vars(metrics),
        labels=split.targets,
        predictions=model.targets.restore(outputs) if model.targets else outputs.astype(np.float64),
        targets=model.output_names,
    )


def _predicted(scores: NDArray[Any]) -> NDArray[np.int64]:
    """Return the first class with the greatest score of each row; -1 if it has a NaN."""
    return np.where(np.isnan(scores).any(1), -1, scores.argmax(1))


def evaluate_batches(
    batches: Batches, loss: Loss, keep: Callable[[int, Array], None] | None = None
) -> Metrics | RegressionMetrics:
    """Evaluate the batches' model on all of them, in several threads if the backend can.

    The result does not depend on the number of threads: batches are added in their order. ``keep``
    is called with the index of each batch and its scores; without it, nothing waits for the device
    before the end.
    """
    model = batches.model
    be = model.backend
    totals = batches.totals(len(batches))

    def evaluate_batch(index: int) -> None:
        with be.limit_threads(), np.errstate(all="ignore"):  # the loss shows NaN and infinity
            x, target = batch(index)
            scores = model(x)
            loss.add_metrics(be, totals[index], scores, target)
            if keep is not None:
                keep(index, scores)

    # A custom layer may still store something on itself during a forward pass.
    thread_safe = all(is_builtin(part) for part in (*model.every_layer().values(), loss))
    threads = min(cores(), MAX_THREADS) if be.thread_parallel and thread_safe else 1
    with batches.reading() as batch:
        _in_threads(evaluate_batch, len(batches), threads)
    return batches.metrics(be.to_numpy(totals).sum(0), loss)


def _in_threads(function: Callable[[int], None], count: int, threads: int) -> None:
    """Call ``function`` for 0 to ``count`` - 1 in this thread and in ``threads`` - 1 others.

    Fewer threads do if the system has no more. An exception, also KeyboardInterrupt, is raised
    when the calls that have begun have ended; no others begin.
    """
    pending = deque(range(count))
    errors: list[BaseException] = []

    def next_index() -> int | None:
        try:
            return pending.popleft()
        except IndexError:
            return None

    def work() -> None:
        try:
            for index in iter(next_index, None):
                function(index)
        except BaseException as error:
            pending.clear()
            errors.append(error)

    helpers: list[Thread] = []
    try:
        with suppress(RuntimeError):  # the system has no more threads
            for _ in range(min(threads, count) - 1):
                helper = Thread(target=work)
                helper.start()
                helpers.append(helper)
        work()
    finally:
        pending.clear()
        for helper in helpers:
            helper.join()
    if errors:
        raise errors[0]
