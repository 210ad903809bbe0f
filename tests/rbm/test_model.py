"""The units of a machine against the enumeration of all their states, and its uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boltzmann import joint, states, tiny
from small import small_data

import gpucnn
from gpucnn import models, rbm
from gpucnn.backends import Backend
from gpucnn.errors import CheckpointError, DataError, SettingError, ShapeError


def test_conditional_probabilities_are_those_of_the_enumeration(backend: Backend) -> None:
    machine = tiny(backend)
    table, visible, hidden = joint(machine), states(4), states(3)
    wanted = table @ hidden / table.sum(1, keepdims=True)
    found = backend.to_numpy(machine.hidden_probabilities(backend.asarray(visible)))
    np.testing.assert_allclose(found, wanted, rtol=1e-5 if found.dtype == "float32" else 1e-13)
    wanted = table.T @ visible / table.sum(0)[:, None]
    found = backend.to_numpy(machine.visible_probabilities(backend.asarray(hidden)))
    np.testing.assert_allclose(found, wanted, rtol=1e-5 if found.dtype == "float32" else 1e-13)


def test_free_energies_are_those_of_the_enumeration(backend: Backend) -> None:
    machine = tiny(backend)
    energies = machine.free_energy(backend.asarray(states(4)))
    likelihood = np.exp(-energies)
    wanted = joint(machine).sum(1)
    tolerance = 1e-5 if backend.dtype == np.float32 else 1e-13
    np.testing.assert_allclose(likelihood / likelihood.sum(), wanted, rtol=tolerance)


def test_the_pseudo_likelihood_is_that_of_the_enumeration() -> None:
    """Its mean over many draws: the log-probability of each pixel given the others."""
    machine = tiny(gpucnn.get_backend("numpy", "float64"))
    likelihood = joint(machine).sum(1)
    vector = np.array([1.0, 0.0, 1.0, 1.0])
    place = {tuple(v): p for v, p in zip(states(4), likelihood, strict=True)}
    own, wanted = place[tuple(vector)], 0.0
    for pixel in range(4):
        other = vector.copy()
        other[pixel] = 1 - other[pixel]
        wanted += np.log(own / (own + place[tuple(other)]))
    images = np.broadcast_to(255 * vector.astype(np.uint8), (40_000, 4)).reshape(-1, 1, 2, 2)
    found = rbm.evaluate(machine, np.ascontiguousarray(images))
    assert found.pseudo_likelihood == pytest.approx(wanted, rel=0.02)
    assert found.free_energy == pytest.approx(
        float(machine.free_energy(vector[None])[0]), rel=1e-12
    )
    probabilities = machine.visible_probabilities(machine.hidden_probabilities(vector[None]))
    assert found.error == pytest.approx(((probabilities - vector) ** 2).mean(), rel=1e-12)


def test_samples_have_the_distribution_of_the_enumeration(backend64: Backend) -> None:
    """The mean of P(v = 1 | h) over many chains is P(v = 1)."""
    machine = tiny(backend64)
    wanted = joint(machine).sum(1) @ states(4)
    count = 5000 if backend64.name == "numpy" else 500
    found = machine.sample(count, steps=20, seed=3).reshape(count, 4)
    error = found.std(0) / np.sqrt(count)
    assert (np.abs(found.mean(0) - wanted) < 4 * error).all()


def test_visible_biases_are_the_log_odds_of_the_pixels() -> None:
    machine = rbm.RBM((1, 1, 2), hidden=1)
    machine.set_visible_bias(np.array([[[[0, 255]]], [[[0, 51]]]], np.uint8))
    odds = [1 / 3, (1 + 1.2) / (4 - 2.2)]
    np.testing.assert_allclose(machine.visible_bias, np.log(odds), rtol=1e-6)


def test_binary_units_round_pixels() -> None:
    images = np.array([[[[0, 127], [128, 255]]]], np.uint8)
    (_, visible), *_ = rbm.RBM((1, 2, 2), hidden=1, binary=True).batches(images)
    assert visible.tolist() == [[0, 0, 1, 1]]
    (_, visible), *_ = rbm.RBM((1, 2, 2), hidden=1).batches(images)
    np.testing.assert_allclose(visible[0], np.array([0, 127, 128, 255]) / 255, rtol=1e-6)


# --- as the first layer of a network ------------------------------------------------------------


def test_a_layer_computes_what_the_hidden_units_do(backend: Backend) -> None:
    """From normalised images, of several channels."""
    data = small_data(8, channels=3)
    machine = rbm.RBM((3, 8, 8), hidden=5, backend=backend)
    machine.set_visible_bias(data.train.images)
    model = models.mlp(3, 8, classes=4, hidden=5).to(backend)
    model.normalization = data.statistics()
    assert machine.initialize_layer(model) == "fc1"
    (_, visible), *_ = machine.batches(data.train.images)
    (_, images), *_ = model.batches(data.train.images, 8)
    found = model.layers["fc1"].forward(backend, backend.flatten(images))[0]
    wanted = machine.hidden_inputs(visible)
    tolerance = 1e-5 if backend.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(*map(backend.to_numpy, (found, wanted)), atol=tolerance)


def test_layers_that_do_not_fit_are_refused() -> None:
    machine, model = rbm.RBM((1, 8, 8), hidden=5), models.mlp(1, 8, classes=4, hidden=6)
    with pytest.raises(SettingError, match=r"'fc1' is Linear\(64, 6\).* expected Linear\(64, 5\)"):
        machine.initialize_layer(model)
    with pytest.raises(SettingError, match=r"set model\.normalization"):
        machine.initialize_layer(models.mlp(1, 8, classes=4, hidden=5))
    with pytest.raises(SettingError, match=r"'conv1' is not a layer Linear.* expected 'fc1' or"):
        machine.initialize_layer(models.lenet5(), "conv1")


# --- files, and wrong arguments -----------------------------------------------------------------


def test_a_machine_is_saved_and_loaded(tmp_path: Path) -> None:
    machine = tiny(gpucnn.get_backend("numpy", "float64"))
    rbm.save_rbm(machine, tmp_path / "rbm.npz")
    loaded = rbm.load_rbm(tmp_path / "rbm.npz", "numpy")
    assert loaded.backend.dtype == np.float64
    assert loaded.config() == machine.config()
    np.testing.assert_array_equal(loaded.flat_parameters, machine.flat_parameters)


def test_networks_and_machines_are_not_taken_for_each_other(tmp_path: Path) -> None:
    rbm.save_rbm(rbm.RBM((1, 2, 2), hidden=3), tmp_path / "rbm.npz")
    with pytest.raises(CheckpointError, match="holds a restricted Boltzmann machine, not a netw"):
        gpucnn.load_model(tmp_path / "rbm.npz")
    gpucnn.save_model(models.mlp(1, 2, 2), tmp_path / "mlp.npz")
    with pytest.raises(CheckpointError, match="holds no restricted Boltzmann machine, but a net"):
        rbm.load_rbm(tmp_path / "mlp.npz")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hidden": 4}, r"hidden.weight has shape \(3, 4\), expected \(4, 4\)"),
        ({"hidden": 10**9}, "hidden is 1000000000, expected an integer from 1"),
        ({"input_shape": [2, 2]}, "input_shape is .*, expected a list of 3"),
        ({"binary": 1}, "binary is 1, expected true or false"),
    ],
)
def test_files_with_wrong_contents_are_refused(
    config: dict[str, object], message: str, tmp_path: Path
) -> None:
    from gpucnn.training.files.checkpoint import Checkpoint, read, save

    path = tmp_path / "rbm.npz"
    rbm.save_rbm(rbm.RBM((1, 2, 2), hidden=3), path)
    saved = read(path)
    metadata = {**saved.metadata, "rbm": {**saved.metadata["rbm"], **config}}
    save(path, Checkpoint(metadata, saved.arrays))
    with pytest.raises(CheckpointError, match=message):
        rbm.load_rbm(path)


def test_wrong_arguments_are_refused() -> None:
    for shape in ((28, 28), 784, (1, 28, 28.5), (1, 0, 28), None):
        with pytest.raises(ShapeError, match="input_shape must be"):
            rbm.RBM(shape)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="hidden must be an integer >= 1, got 0"):
        rbm.RBM(hidden=0)
    with pytest.raises(DataError, match=r"images must have shape \(N, 1, 2, 2\)"):
        tiny().transform(np.zeros((1, 3, 2, 2), np.uint8))
    with pytest.raises(SettingError, match="expected 3 images to start from, got 2"):
        tiny().sample(3, images=np.zeros((2, 1, 2, 2), np.uint8))
    with pytest.raises(SettingError, match="steps must be an integer >= 1, got 0"):
        tiny().sample(steps=0)
