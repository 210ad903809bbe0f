"""Models in files: what is saved is what is loaded, trained or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from runs import train
from small import small_data, small_model

import gpucnn
from gpucnn.errors import CheckpointError
from gpucnn.nn.layers import Flatten, Layer, Linear, ReLU
from gpucnn.nn.losses import BCEWithLogitsLoss
from gpucnn.training.checkpoint import Checkpoint, load, save


def test_a_model_that_was_never_trained(tmp_path: Path) -> None:
    path, model, data = tmp_path / "model.npz", small_model(seed=3), small_data()
    gpucnn.save_model(model, path)
    loaded = gpucnn.load_model(path)
    assert loaded.config() == model.config()
    np.testing.assert_array_equal(loaded.flat_parameters, model.flat_parameters)
    assert (loaded.normalization, loaded.classes) == (None, None)
    models = [loaded, model]
    for each in models:
        gpucnn.fit(each, data, epochs=1, seed=1)
    np.testing.assert_array_equal(loaded.flat_parameters, model.flat_parameters)


def test_a_trained_model_predicts_the_same(tmp_path: Path) -> None:
    data = small_data()
    for loss in (gpucnn.nn.CrossEntropyLoss(), BCEWithLogitsLoss()):
        run, file = tmp_path / "checkpoint.npz", tmp_path / "model.npz"
        model, _ = train(data=data, loss=loss, checkpoint=run)
        gpucnn.save_model(model, file)
        for path in (file, str(run), tmp_path):  # a file of either kind, a run's folder
            loaded = gpucnn.load_model(path)
            assert (loaded.normalization, loaded.classes) == (model.normalization, data.classes)
            assert loaded.output == model.output
            np.testing.assert_array_equal(
                loaded.predict(data.test.images), model.predict(data.test.images)
            )
    assert loaded.output == "sigmoid"


def test_a_model_file_is_replaced_and_damage_is_found(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    for seed in (0, 1):
        gpucnn.save_model(small_model(seed=seed), path)
    np.testing.assert_array_equal(
        gpucnn.load_model(path).flat_parameters, small_model(seed=1).flat_parameters
    )
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        gpucnn.load_model(path)


def test_a_checkpoint_can_be_loaded_in_another_precision(tmp_path: Path) -> None:
    path, data = tmp_path / "checkpoint.npz", small_data()
    model, _ = train(data=data, epochs=1, checkpoint=path)
    double = gpucnn.load_model(path, gpucnn.get_backend("numpy", "float64"))
    single = gpucnn.load_model(path, "numpy")
    assert double.backend.dtype == np.float64
    assert gpucnn.evaluate(single, data.test).accuracy == gpucnn.evaluate(model, data.test).accuracy
    np.testing.assert_allclose(
        double.predict(data.test.images), single.predict(data.test.images), rtol=1e-4
    )


def test_other_tensors_than_the_models_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    gpucnn.save_model(small_model(), path)
    saved = load(path)
    arrays = dict(saved.arrays)
    arrays["parameters/fc.bias"] = np.zeros(5, np.float32)
    arrays["parameters/extra"] = arrays.pop("parameters/conv.bias")
    save(path, Checkpoint(saved.metadata, arrays))
    with pytest.raises(CheckpointError) as error:
        gpucnn.load_model(path)
    shapes = "fc.bias has shape (5,), expected (4,)"
    for part in ("conv.bias is missing", "extra is unknown", shapes):
        assert part in str(error.value)


def test_a_layer_that_is_not_defined_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(eq=False)
    class Forgotten(ReLU):
        pass

    path = tmp_path / "model.npz"
    gpucnn.save_model(gpucnn.Sequential([Flatten(), Forgotten(), Linear(64, 4)], (1, 8, 8)), path)
    assert gpucnn.load_model(path).size == 260
    monkeypatch.delitem(Layer.types, "Forgotten")
    with pytest.raises(CheckpointError, match=r"unknown layer 'Forgotten'.* import the module"):
        gpucnn.load_model(path)
