"""The moving average of weights, and gradients that are clipped by their norm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from available import BACKENDS, backend_or_skip
from runs import epochs_of, snapshots, start, train
from small import small_data, small_model

import gpucnn
from gpucnn import training
from gpucnn.backends import Backend
from gpucnn.errors import DivergedError
from gpucnn.nn import BatchNorm2d, Conv2d, Flatten, Linear
from gpucnn.optim import SGD, ConstantLR
from gpucnn.training import StepEnded
from gpucnn.training.files.checkpoint import load, read, save

OPTIONS: dict[str, Any] = {
    "ema": 0.8, "clip_grad_norm": 0.5, "optimizer": SGD(lr=0.2, momentum=0.9), "seed": 1
}  # fmt: skip


def test_the_average_is_evaluated_saved_and_left_in_the_model(tmp_path: Path) -> None:
    """Its decay is 2 / 11, 3 / 12, ... up to 0.8; steps continue from the other weights."""
    path, model, data = tmp_path / "checkpoint.npz", small_model(), small_data()
    average, step = model.flat_parameters.astype(np.float64), 0
    for event in start(model, checkpoint=path, **OPTIONS):
        if isinstance(event, StepEnded):
            step += 1
            decay = min(0.8, (1 + step) / (10 + step))
            average = decay * average + (1 - decay) * model.flat_parameters
            raw = model.state_dict()
    np.testing.assert_allclose(model.flat_parameters, average, atol=1e-6)
    assert np.abs(raw["fc.weight"] - model.state_dict()["fc.weight"]).max() > 0.01
    assert event.test_loss == gpucnn.evaluate(model, data.test).loss
    saved = gpucnn.load_model(path).state_dict()
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(saved[name], values)
        np.testing.assert_array_equal(load(path).arrays[f"raw/{name}"], raw[name])


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "cuda"])
def test_a_run_with_an_average_resumes_to_the_same_bits(backend: str, tmp_path: Path) -> None:
    options = {**OPTIONS, "backend": backend_or_skip(backend), "validation": 10, "keep_best": True}
    path = tmp_path / "checkpoint.npz"
    contents, straight = snapshots(path, model=small_model(p=0.0), **options)
    final = path.read_bytes()
    for step in (0, 2, 4, 7, 8):
        path.write_bytes(contents[step])
        _, events = train(small_model(9, p=0.0), checkpoint=path, resume=path, **options)
        assert path.read_bytes() == final, f"resumed after step {step}"
        assert events[-1] == straight[-1]


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "numpy"])
def test_captured_steps_average_and_clip_as_eager_ones(name: str, tmp_path: Path) -> None:
    files = []
    for records in (True, False):
        backend = backend_or_skip(name)
        if not records:
            backend.records = False
        files.append(tmp_path / f"{records}.npz")
        train(small_model(p=0.0), backend=backend, checkpoint=files[-1], **OPTIONS)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_workers_average_and_clip_the_gradients_of_the_batch() -> None:
    alone, together = (
        train(small_model(p=0.0), workers=count, **OPTIONS)[0].flat_parameters for count in (1, 2)
    )
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "cuda"])
def test_running_statistics_are_averaged_and_counts_are_not(name: str, tmp_path: Path) -> None:
    """The statistics belong to the averaged weights; both sets resume to the same bits."""
    be, path = backend_or_skip(name), tmp_path / "checkpoint.npz"

    def network() -> gpucnn.Sequential:
        layers = {"conv": Conv2d(1, 3, 3), "bn": BatchNorm2d(3), "flatten": Flatten()}
        return gpucnn.Sequential({**layers, "fc": Linear(108, 4)}, (1, 8, 8), seed=2)

    model, step, average = network().to(be), 0, np.zeros(3)
    contents = {}
    for event in start(model, checkpoint=path, checkpoint_every=1, **OPTIONS):
        if isinstance(event, StepEnded):
            step += 1
            decay = min(0.8, (1 + step) / (10 + step))
            average += (1 - decay) * (model.state_dict()["bn.running_mean"] - average)
        if event.name == "checkpoint":
            contents[step] = path.read_bytes()
    state, raw = model.state_dict(), load(path).group("raw")
    np.testing.assert_allclose(state["bn.running_mean"], average, atol=1e-6)
    assert np.abs(raw["bn.running_mean"] - average).max() > 1e-4
    assert state["bn.num_batches_tracked"] == raw["bn.num_batches_tracked"] == step
    final = path.read_bytes()
    for stopped in (3, 7):
        path.write_bytes(contents[stopped])
        train(network().to(be), checkpoint=path, resume=path, **OPTIONS)
        assert path.read_bytes() == final


def test_a_stopped_run_leaves_the_average_in_the_model(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    asked = iter(range(1, 9))
    model, _ = train(should_stop=lambda: next(asked) == 3, checkpoint=path, **OPTIONS)
    saved = gpucnn.load_model(path).state_dict()
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(saved[name], values)


def test_a_failed_step_changes_neither_the_weights_nor_the_average(tmp_path: Path) -> None:
    """The norm of its gradients is infinite or NaN, which would make them all 0 or NaN."""
    path, model = tmp_path / "checkpoint.npz", small_model(p=0.0)
    options = {**OPTIONS, "optimizer": SGD(lr=1e30), "schedule": ConstantLR()}
    with pytest.raises(DivergedError, match=r"epoch 1, step 2: the .* contains NaN or infinity"):
        list(start(model, checkpoint=path, checkpoint_every=1, **options))
    saved = read(path).arrays
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(saved[f"raw/{name}"], values)
        assert np.isfinite(saved[f"parameters/{name}"]).all()


def test_a_loop_of_ones_own_clips_as_fit_does() -> None:
    data, wanted, model = small_data(), small_model(seed=4), small_model(seed=4)
    train(wanted, data=data, seed=4, schedule=ConstantLR(), clip_grad_norm=0.5)
    model.normalization = data.statistics()
    batches, optimizer = training.Batches(model, data.train, 16), SGD(lr=0.05, momentum=0.9)
    norms, norm = [], model.backend.zeros((1,), np.float64)
    for epoch in range(2):
        for x, target in batches.shuffled(epoch, seed=4):
            _, grads = training.loss_and_grads(model, x, target)
            model.backend.clip_grad_norm(grads, norm, 0.5)
            norms.append(float(norm[0]))
            optimizer.update(model)
    assert max(norms) > 0.5
    np.testing.assert_array_equal(model.flat_parameters, wanted.flat_parameters)


def test_a_norm_of_float64_does_not_overflow(backend64: Backend) -> None:
    be = backend64
    grads, norm = be.asarray([3e200, -4e200, 1.0]), be.zeros((1,), np.float64)
    be.clip_grad_norm(grads, norm, 1.0)
    assert float(be.to_numpy(norm)[0]) == pytest.approx(5e200)
    np.testing.assert_allclose(be.to_numpy(grads), [0.6, -0.8, 0], atol=1e-15)


def test_a_checkpoint_of_a_version_without_them_resumes(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    contents, straight = snapshots(path)
    path.write_bytes(contents[7])
    saved = read(path)
    for name in ("ema", "clip_grad_norm"):
        del saved.metadata["settings"][name]
    save(path, saved)
    _, events = train(checkpoint=path, resume=path)
    assert epochs_of(events)[-1].test_loss == epochs_of(straight)[-1].test_loss
