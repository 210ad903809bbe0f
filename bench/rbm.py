"""The training of a restricted Boltzmann machine, next to scikit-learn's BernoulliRBM."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gpucnn
from bench.harness import BenchError, Options, Report, Row
from gpucnn import rbm
from gpucnn.optim import SGD

LR = 0.05
TITLE = "persistent contrastive divergence, {epochs} epochs on {images:,} digits: CPU seconds"


def run(options: Options) -> Report:
    """Return the processor time of a training, and what it has learned as notes.

    Both have the same images, epochs, batches and learning rate, start from normal weights and zero
    biases, and compute in float32. Processor time counts all threads of the process: run it with
    OPENBLAS_NUM_THREADS=1, so that none of them spins.
    """
    if find_spec("sklearn") is None:
        raise BenchError("scikit-learn is not installed: pip install scikit-learn")
    images, epochs = options.size(10_000, 200), options.size(5, 1)
    data = gpucnn.data.mnist().limit(images)
    report = Report(TITLE.format(epochs=epochs, images=images), compares_pytorch=False)
    for hidden, batch in options.size(((128, 10), (128, 100), (500, 100)), ((16, 10),)):
        case = f"{hidden} hidden, batch {batch}"
        if not options.selects(case) or options.out_of_time():
            continue
        row, names = Row(case), list(TRAINERS)
        for number in range(options.pick(3)):
            first = number % len(names)
            for name in (*names[first:], *names[:first]):
                seconds, machine = TRAINERS[name](data, hidden, batch, epochs, number)
                row.costs.setdefault(name, []).append(seconds)
                figures = rbm.evaluate(machine, data.test.images)
                report.notes.append(
                    f"{case}, seed {number}, {name}: test error {figures.error:.5f}, "
                    f"pseudo-likelihood {figures.pseudo_likelihood:.1f}"
                )
        report.rows.append(row)
        options.progress(report)
    return report


def train_gpucnn(
    data: gpucnn.Data, hidden: int, batch: int, epochs: int, seed: int
) -> tuple[float, rbm.RBM]:
    """Return the processor time of a training without its evaluations, and the machine."""
    machine = rbm.RBM(data.input_shape, hidden, seed=seed)
    machine.load_state_dict(machine.state_dict())  # so that its biases stay zero
    settings = rbm.Settings(
        epochs=epochs, batch_size=batch, optimizer=SGD(lr=LR), persistent=True, seed=seed
    )
    seconds, began = 0.0, 0.0
    for event in rbm.events(machine, data, settings=settings):
        if event.name in ("start", "epoch"):
            began = time.process_time()
        elif event.name == "step" and event.images == len(data.train):  # type: ignore[attr-defined]
            seconds += time.process_time() - began
    return seconds, machine


def train_sklearn(
    data: gpucnn.Data, hidden: int, batch: int, epochs: int, seed: int
) -> tuple[float, rbm.RBM]:
    """Return the processor time of BernoulliRBM's fit, and a machine with its weights."""
    from sklearn.neural_network import BernoulliRBM

    pixels: NDArray[Any] = data.train.images.reshape(len(data.train), -1).astype(np.float32) / 255
    order = np.random.default_rng(seed).permutation(len(pixels))  # it does not shuffle
    theirs = BernoulliRBM(
        hidden, learning_rate=LR, batch_size=batch, n_iter=epochs, random_state=seed
    )
    began = time.process_time()
    theirs.fit(pixels[order])
    seconds = time.process_time() - began
    machine = rbm.RBM(data.input_shape, hidden)
    machine.load_state_dict(
        {
            "hidden.weight": theirs.components_,
            "hidden.bias": theirs.intercept_hidden_,
            "visible.bias": theirs.intercept_visible_,
        }
    )
    return seconds, machine


TRAINERS: dict[str, Callable[..., tuple[float, rbm.RBM]]] = {
    "gpucnn": train_gpucnn,
    "scikit-learn": train_sklearn,
}
"""What is compared: functions of data, hidden units, batch size, epochs and seed."""
