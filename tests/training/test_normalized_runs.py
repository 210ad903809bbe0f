"""Runs of networks with batch normalisation: resumes, workers, captured steps, faults, learning."""

from __future__ import annotations

import os
import signal
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from available import backend_or_skip
from runs import snapshots, start, train
from small import small_data

import gpucnn
from gpucnn.errors import DivergedError, SettingError, WorkerError
from gpucnn.nn import (
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    GroupNorm,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
)
from gpucnn.training.files.checkpoint import load


def model_of(seed: int = 0) -> Sequential:
    layers = {
        "conv": Conv2d(1, 4, 3, padding=1, bias=False), "bn": BatchNorm2d(4), "relu": ReLU(),
        "pool": MaxPool2d(2), "group": GroupNorm(2, 4), "flatten": Flatten(),
        "fc1": Linear(64, 6), "bn1": BatchNorm1d(6, momentum=None), "relu1": ReLU(),
        "fc2": Linear(6, 4),
    }  # fmt: skip
    return Sequential(layers, (1, 8, 8), seed=seed)


@pytest.mark.parametrize(("name", "workers"), [("numpy", 1), ("numpy", 2), ("emulated", 1)])
def test_a_resume_gives_the_same_bits(tmp_path: Path, name: str, workers: int) -> None:
    """And on a device the bits of steps that are launched one by one."""
    path, data = tmp_path / "c.npz", small_data(40)
    options: dict[str, Any] = {
        "data": data, "workers": workers, "batch_size": 12, "validation": 10, "keep_best": True
    }  # fmt: skip

    def fresh(seed: int = 0) -> Sequential:
        return model_of(seed).to(backend_or_skip(name))

    contents, _ = snapshots(path, model=fresh(), **options)
    final = path.read_bytes()
    saved = load(path)
    assert saved.arrays["parameters/bn.num_batches_tracked"] == 3 * saved.metadata["best"]["epoch"]
    for step in (1, 3, 4):
        path.write_bytes(contents[step])
        train(fresh(7), checkpoint=path, resume=path, **options)
        assert path.read_bytes() == final, f"resumed after step {step}"
    if name != "numpy":
        model = fresh()
        model.backend.records = False
        train(model, checkpoint=path, **options)
        model.backend.records = True
        assert path.read_bytes() == final


def test_a_killed_worker_leaves_the_statistics_of_the_last_step(tmp_path: Path) -> None:
    path, straight = tmp_path / "c.npz", tmp_path / "straight.npz"
    options: dict[str, Any] = {"workers": 2, "epochs": 1}
    train(model_of(), checkpoint=straight, **options)
    events = start(model_of(), checkpoint=path, **options)
    next(event for event in events if event.name == "step" and event.step == 2)
    worker = max(active_children(), key=lambda process: process.pid or 0)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match="stopped after step 2"):
        list(events)
    train(model_of(5), checkpoint=path, resume=path, **options)
    assert path.read_bytes() == straight.read_bytes()


def test_after_a_failed_step_buffers_are_finite_and_the_checkpoint_stays(tmp_path: Path) -> None:
    model, path = model_of(), tmp_path / "c.npz"
    before = model.state_dict()
    model.parameters()
    state = {**before, "fc2.weight": before["fc2.weight"] * np.float32(3e38)}
    model.load_state_dict(state)
    with np.errstate(all="ignore"), pytest.raises(DivergedError):
        train(model, checkpoint=path)
    saved = load(path).arrays
    for name, buffer in model.named_buffers():
        assert np.isfinite(buffer.data).all()
        np.testing.assert_array_equal(saved[f"parameters/{name}"], before[name])
        if name.endswith("tracked"):
            assert buffer.data == 1, "finding the cause counts no batch"


def test_a_last_batch_of_one_image_is_refused_before_the_run() -> None:
    message = (
        r"layer 'bn1' \(BatchNorm1d\) needs 2 images in a batch, but the last of 70 images has "
        r"1: set batch_size \(--batch-size\) to another number, for example 24"
    )
    with pytest.raises(SettingError, match=message):
        start(model_of(), batch_size=23)
    with pytest.raises(SettingError, match="has 1 for each worker"):
        start(model_of(), batch_size=34, workers=2)


def test_batch_norm_learns_faster_than_the_same_network_without() -> None:
    """And is evaluated by its running statistics."""
    data, accuracies = gpucnn.data.mnist().limit(500), []
    for norm in (True, False):
        layers: list[Any] = [Flatten()]
        for features in (784, 32, 32, 32):
            layers += [Linear(features, 32), *([BatchNorm1d(32)] if norm else []), ReLU()]
        model = Sequential([*layers, Linear(32, 10)], (1, 28, 28), seed=1)
        history = gpucnn.fit(model, data, epochs=4, batch_size=20, progress=False)
        accuracies.append(history["test_accuracy"][-1])
        assert gpucnn.evaluate(model, data.test).accuracy == accuracies[-1]
    assert accuracies[0] > accuracies[1] + 0.05
