"""Buffers: state that layers change by themselves, in copies, moves and every kind of file."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import small_data

import gpucnn
from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.errors import CheckpointError
from gpucnn.nn import Buffer, Flatten, Layer, Linear, Parameter, Sequential, TrainingPass
from gpucnn.training.files.checkpoint import load, save


@dataclass(eq=False)
class Centre(Layer):
    """Adds a bias, and keeps the mean of the last training batch and the number of batches."""

    def __post_init__(self) -> None:
        self._parameters = {"bias": Parameter((4,), init=0.0)}
        self._buffers = {
            "mean": Buffer((4,), 0.5),
            "count": Buffer((), dtype=np.int64, optional=True),
        }

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        if training is not None:
            mean, count = self.buffers["mean"].data, self.buffers["count"].data
            mean[...] = be.asarray(be.to_numpy(x).mean(0))
            count += 1
        return x + self.parameters["bias"].data, None

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        self.parameters["bias"].grad[...] = be.asarray(be.to_numpy(grad).sum(0))
        return grad


def model(seed: int = 0) -> Sequential:
    layers = {"flatten": Flatten(), "fc": Linear(64, 4), "centre": Centre()}
    return Sequential(layers, (1, 8, 8), seed=seed)


def changed() -> Sequential:
    """A model whose buffers are 1 to 4, and 2**53 + 1, which no float64 is."""
    made = model()
    state = made.state_dict()
    state |= {"centre.mean": np.arange(1.0, 5.0), "centre.count": np.array(2**53 + 1)}
    made.load_state_dict(state)
    return made


def check(found: Sequential) -> None:
    state = found.state_dict()
    np.testing.assert_array_equal(state["centre.mean"], np.arange(1, 5))
    assert state["centre.mean"].dtype == found.backend.dtype
    assert state["centre.count"].dtype == np.int64
    assert state["centre.count"].shape == ()
    assert state["centre.count"] == 2**53 + 1


def test_buffers_follow_their_layers_parameters_and_begin_as_declared(backend_name: str) -> None:
    made = model().to(backend_name)
    state = made.state_dict()
    assert list(state) == ["fc.weight", "fc.bias", "centre.bias", "centre.mean", "centre.count"]
    assert [name for name, _ in made.named_buffers()] == ["centre.mean", "centre.count"]
    np.testing.assert_array_equal(state["centre.mean"], np.full(4, 0.5))
    assert made.size == made.summary().parameters == 64 * 4 + 4 + 4


def test_new_weights_reset_buffers() -> None:
    made = changed()
    made.initialize(3)
    assert made.state_dict()["centre.count"] == 0
    np.testing.assert_array_equal(made.state_dict()["centre.mean"], np.full(4, 0.5))


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))]
)
def test_copies_have_buffers_of_their_own(duplicate: Callable[[Sequential], Sequential]) -> None:
    made = changed()
    other = duplicate(made)
    check(other)
    other.forward(other.backend.zeros((2, 1, 8, 8)), training=True)
    assert other.state_dict()["centre.count"] == 2**53 + 2
    check(made)


def test_a_move_takes_buffers_along(backend: Backend) -> None:
    made = changed().to(backend)
    check(made)
    made.forward(backend.zeros((2, 1, 8, 8)), training=True)
    assert made.to("numpy").state_dict()["centre.count"] == 2**53 + 2


def test_files_of_weights_have_buffers(tmp_path: Path) -> None:
    from gpucnn.exchange import export_npz, export_safetensors

    made = changed()
    export_npz(made, tmp_path / "w.npz")
    paths = ["w.npz", "model.npz"]
    gpucnn.save_model(made, tmp_path / "model.npz")
    try:
        export_safetensors(made, tmp_path / "w.safetensors")
        paths.append("w.safetensors")
    except gpucnn.errors.SettingError:
        pass  # safetensors is not installed
    for path in paths:
        other = model(seed=1)
        gpucnn.load_weights(other, tmp_path / path)
        check(other)
    for path in paths[1:]:
        network = load(tmp_path / path) if path == "model.npz" else None
        if network is None:
            from gpucnn.training.files.weight_files import network_in

            network = network_in(tmp_path / path)
        assert network is not None
        check(gpucnn.load_model(network, "numpy"))


def test_only_optional_buffers_may_be_missing_and_a_prefix_is_left_out(tmp_path: Path) -> None:
    state = changed().state_dict()
    count = state.pop("centre.count")
    np.savez(tmp_path / "w.npz", **{f"module.{name}": array for name, array in state.items()})
    other = model()
    other.load_state_dict({**other.state_dict(), "centre.count": np.array(7)})
    gpucnn.load_weights(other, tmp_path / "w.npz")
    assert other.state_dict()["centre.count"] == 7
    np.testing.assert_array_equal(other.state_dict()["centre.mean"], np.arange(1, 5))
    del state["centre.mean"]
    state["centre.count"] = count[None]
    with pytest.raises(CheckpointError, match=r"centre.mean is missing; centre.count has shape"):
        other.load_state_dict(state)


def test_a_resumed_run_has_the_buffers_of_one_that_was_not_stopped(tmp_path: Path) -> None:
    """The best epoch has its own."""
    path, contents = tmp_path / "c.npz", {}
    options: dict[str, Any] = {"batch_size": 20, "epochs": 2, "validation": 10, "keep_best": True}

    def keep(event: gpucnn.training.Event) -> None:
        if isinstance(event, gpucnn.training.CheckpointWritten):
            contents[event.step] = path.read_bytes()

    options |= {"checkpoint": path, "checkpoint_every": 1, "progress": False}
    gpucnn.fit(model(), small_data(), on_event=keep, **options)
    final = path.read_bytes()
    saved = load(path)
    assert saved.arrays["best/centre.count"] == 3 * saved.metadata["best"]["epoch"]
    path.write_bytes(contents[2])
    gpucnn.fit(model(1), small_data(), resume=path, **options)
    assert path.read_bytes() == final


def test_a_checkpoint_without_a_buffer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    gpucnn.fit(model(), small_data(), epochs=1, checkpoint=path, progress=False)
    saved = load(path)
    del saved.arrays["parameters/centre.mean"]
    save(path, saved)
    with pytest.raises(CheckpointError, match=r"parameters/centre\.mean is missing"):
        gpucnn.fit(model(), small_data(), epochs=1, resume=path, progress=False)
