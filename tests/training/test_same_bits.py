"""Training through CuPy on the stand-in for CUDA ends in the file that the emulator writes.

The kernels are the same, and a CPU executes them in both cases. So the checkpoints are equal byte
for byte, unless pools, streams or graphs are used wrongly. In CI the runs are repeated with work
that is done as late as CUDA allows (STANDIN_MODE=late), where a missing wait shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from available import backend_or_skip, standin_or_skip
from small import blobs, number_data, small_data, small_model

from gpucnn import Augmentation, get_backend, models, training
from gpucnn.data import Data
from gpucnn.nn.layers import (
    BatchNorm1d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    ReLU,
    Residual,
)
from gpucnn.nn.losses import CrossEntropyLoss, MSELoss
from gpucnn.nn.sequential import Sequential
from gpucnn.optim import SGD, Adam, AdamW, ConstantLR, OneCycleLR
from gpucnn.training import CheckpointWritten, Events

standin_or_skip("the arithmetic of a GPU is not that of the emulator")


class CustomReLU(ReLU):
    """A layer that the library does not know, so that its steps are not captured."""


def plain() -> Sequential:
    conv, fc = Conv2d(1, 3, 3, padding=1), Linear(48, 4)
    return Sequential([conv, ReLU(), MaxPool2d(2), Flatten(), fc], (1, 8, 8), seed=3)


def custom() -> Sequential:
    return Sequential([CustomReLU(), Flatten(), Linear(64, 4)], (1, 8, 8), seed=3)


def branches() -> Sequential:
    """Layers inside layers, one of which is random, and branches of vectors."""
    inner = Residual([Conv2d(2, 2, 3, padding=1), Dropout(0.25)])
    layers = [
        Concat([None, Conv2d(1, 2, 3, padding=1), [Conv2d(1, 2, 1), inner, ReLU()]]),
        MaxPool2d(2),
        Flatten(),
        Concat([Linear(80, 3), [Linear(80, 2), ReLU()]]),
        Linear(5, 4),
    ]
    return Sequential(layers, (1, 8, 8), seed=3)


def normalized() -> Sequential:
    layers = [Conv2d(1, 3, 3, padding=1), BatchNorm2d(3), ReLU(), Flatten(), Linear(192, 4)]
    return Sequential([*layers, BatchNorm1d(4, momentum=None)], (1, 8, 8), seed=3)


def wide() -> Sequential:
    """With products that are rounded to TF32."""
    return Sequential([Flatten(), Linear(64, 160), ReLU(), Linear(160, 4)], (1, 8, 8), seed=3)


def digits(count: int = 70) -> Data:
    train, test = blobs(count, size=28), blobs(40, size=28, seed=99)
    return Data(train, test, classes=tuple("abcd"), name="blobs")


RUNS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": SGD(lr=0.05)},
    "momentum": {"optimizer": SGD(lr=0.05, momentum=0.9, weight_decay=0.01)},
    "nesterov": {"optimizer": SGD(lr=0.05, momentum=0.9, nesterov=True)},
    "adam": {"optimizer": Adam(lr=0.01), "schedule": OneCycleLR()},
    "adamw": {"optimizer": AdamW(lr=0.01, betas=(0.7, 0.9))},
    "float64": {"dtype": "float64"},
    "tf32": {"precision": "tf32", "model": wide, "batch_size": 64},
    "dropout": {"model": small_model},
    "augmentation": {"augment": Augmentation.for_digits(), "mixup": 0.4, "model": small_model},
    "batch norm": {"model": normalized, "batch_size": 9},
    "custom layer": {"model": custom},
    "losses": {"loss": MSELoss()},
    "numbers": {"model": lambda: small_model(p=0, outputs=2), "data": number_data},
    "weighted": {"loss": CrossEntropyLoss(weight=[1, 2, 0, 1], label_smoothing=0.1)},
    "average": {"optimizer": Adam(lr=0.01), "ema": 0.9, "clip_grad_norm": 0.5},
    "early stopping": {"epochs": 9, "validation": 10, "early_stopping": 1, "keep_best": True},
    "lenet5": {"model": lambda: models.lenet5(classes=4, seed=3), "data": digits},
    "lenet5, layers": {
        "model": lambda: models.lenet5(classes=4, seed=3), "data": digits, "fuses": False
    },
    "residual": {"model": lambda: models.resnet_small(size=8, classes=4, width=2, seed=3)},
    "branches": {"model": branches},
    "row_rnn": {
        "model": lambda: models.row_rnn(size=8, classes=4, hidden=6, seed=3), "clip_grad_norm": 1.0
    },
    "small_cnn": {"model": lambda: models.small_cnn(size=8, classes=4, channels=1, seed=3)},
}  # fmt: skip


def start(name: str, file: Path, options: dict[str, Any]) -> Events:
    """Return the events of a run on a backend with ``options`` and checkpoints in ``file``."""
    options = {"epochs": 2, "batch_size": 8, "seed": 1, **options}
    dtype, precision = options.pop("dtype", "float32"), options.pop("precision", "ieee")
    backend_or_skip(name)
    backend = get_backend(name, dtype, precision=precision)
    backend.fuses = options.pop("fuses", True)
    model, data = options.pop("model", plain)(), options.pop("data", small_data)()
    return training.events(model, data, backend=backend, checkpoint=file, **options)


@pytest.mark.parametrize("name", ["cuda"])
@pytest.mark.parametrize("run", RUNS)
def test_runs_end_in_the_same_file(run: str, name: str, tmp_path: Path) -> None:
    files = {each: tmp_path / f"{each}.npz" for each in (name, "emulated")}
    for each, file in files.items():
        list(start(each, file, RUNS[run]))
    assert files[name].read_bytes() == files["emulated"].read_bytes()


@pytest.mark.parametrize("name", ["cuda"])
@pytest.mark.parametrize("run", ["adam", "dropout", "average", "lenet5"])
def test_stopped_and_longer_runs_end_in_the_same_file(run: str, name: str, tmp_path: Path) -> None:
    """The run on CuPy is stopped after a checkpoint, resumed, and resumed with one more epoch."""
    options = {**RUNS[run], "schedule": ConstantLR()}
    straight, file = tmp_path / "emulated.npz", tmp_path / "resumed.npz"
    list(start("emulated", straight, options))
    for event in start(name, file, {**options, "epochs": 1, "checkpoint_every": 3}):
        if isinstance(event, CheckpointWritten) and event.step == 6:
            break  # as a kill leaves it
    list(start(name, file, {**options, "epochs": 1, "resume": file}))
    list(start(name, file, {**options, "resume": file}))
    assert file.read_bytes() == straight.read_bytes()
