"""Models in files: what is saved is what is loaded, trained or not."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import train
from small import small_data, small_model

import gpucnn
from gpucnn.errors import CheckpointError, SettingError
from gpucnn.nn.layers import Flatten, Layer, Linear, ReLU
from gpucnn.nn.losses import BCEWithLogitsLoss
from gpucnn.training.files.checkpoint import Checkpoint, load, save


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


def test_a_model_keeps_its_dtype(tmp_path: Path) -> None:
    """In a model's file and in a checkpoint, also with a backend's name."""
    path, data = tmp_path / "model.npz", small_data()
    double = small_model().to(gpucnn.get_backend("numpy", "float64"))
    double.load_state_dict({k: v + 1e-12 for k, v in double.state_dict().items()})
    gpucnn.save_model(double, path)
    loaded = gpucnn.load_model(path, "numpy")
    assert loaded.backend.dtype == np.float64
    np.testing.assert_array_equal(loaded.flat_parameters, double.flat_parameters)
    gpucnn.fit(double, data, epochs=1, checkpoint=path)
    np.testing.assert_array_equal(gpucnn.load_model(path).flat_parameters, double.flat_parameters)
    assert gpucnn.load_model(path, gpucnn.get_backend("numpy")).backend.dtype == np.float32


def test_all_attributes_of_a_model_are_saved(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    model = gpucnn.Sequential([Flatten(), Linear(np.int64(64), np.int64(3))], (1, 8, 8))
    model.normalization = (np.array([0.5], np.float32), [np.float32(0.25)])  # type: ignore[assignment]
    model.classes = ["ant", "bee", "[/cat]\x1b"]  # type: ignore[assignment]
    model.output = "sigmoid"
    gpucnn.save_model(model, path)
    loaded = gpucnn.load_model(path)
    assert loaded.normalization == ((0.5,), (0.25,))
    assert (loaded.classes, loaded.output) == (("ant", "bee", "[/cat]\x1b"), "sigmoid")


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("normalization", ((0.5, 0.5), (1.0, 1.0)), "normalization must have 1 means"),
        ("normalization", ((0.5,), (0.0,)), "is 0.0, expected a number from 1e-12"),
        ("normalization", ((float("nan"),), (1.0,)), "is nan, expected a number from"),
        ("output", "relu", "output is 'relu', expected 'softmax' or 'sigmoid' or 'none'"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(
    tmp_path: Path, attribute: str, value: Any, message: str
) -> None:
    model = small_model()
    setattr(model, attribute, value)
    with pytest.raises(SettingError, match=f"the model cannot be saved: .*{message}"):
        gpucnn.save_model(model, tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


class Negated(gpucnn.Sequential):
    """A model whose code is in no file."""

    def forward(self, x: Any, training: bool = False) -> Any:
        scores, kept = super().forward(x, training)
        return -scores, kept


class Named(gpucnn.Sequential):
    """A model that computes as its layers do."""


def test_a_class_with_a_forward_of_its_own_is_not_loaded_as_another_model(tmp_path: Path) -> None:
    """Its weights are loaded into the model that a program builds, and its run is resumed."""

    def build(kind: type[gpucnn.Sequential], seed: int = 0) -> gpucnn.Sequential:
        return kind([Flatten(), Linear(64, 4)], (1, 8, 8), seed=seed)

    path, model = tmp_path / "checkpoint.npz", build(Negated)
    with pytest.raises(SettingError, match=r"the model \(Negated\) has a forward or backward"):
        gpucnn.save_model(model, path)
    train(model, checkpoint=path)
    with pytest.raises(CheckpointError, match=r"of class 'Negated' .* use gpucnn.load_weights"):
        gpucnn.load_model(path)
    other = build(Negated, seed=1)
    gpucnn.load_weights(other, path)
    np.testing.assert_array_equal(other.flat_parameters, model.flat_parameters)
    assert [event.name for event in train(model, resume=path)[1]] == ["start", "stop"]
    gpucnn.save_model(build(Named), path)
    assert gpucnn.load_model(path).size == model.size


def test_a_model_without_parameters_has_no_weights_to_load(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", w=np.zeros(3))
    model = gpucnn.Sequential([Flatten()], (1, 8, 8))
    with pytest.raises(CheckpointError, match="w is unknown"):
        gpucnn.load_weights(model, tmp_path / "w.npz", new_classes=True)


def test_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    for path in (tmp_path / "pipe.npz", Path("/dev/zero")):
        for read in (gpucnn.load_model, partial(gpucnn.load_weights, small_model())):
            with pytest.raises(CheckpointError, match="it is not a regular file"):
                read(path)


def test_weights_of_every_kind_of_file(tmp_path: Path) -> None:
    """A model's file, a checkpoint, a run's folder, an archive of a state_dict."""
    run, file, state = (tmp_path / name for name in ("checkpoint.npz", "model.npz", "state.npz"))
    source, _ = train(epochs=1, checkpoint=run)
    gpucnn.save_model(source, file)
    np.savez_compressed(state, **source.state_dict())
    for path in (run, tmp_path, file, str(state)):
        model = small_model(seed=8)
        assert gpucnn.load_weights(model, path) is None
        np.testing.assert_array_equal(model.flat_parameters, source.flat_parameters)


def test_only_the_last_layer_may_have_other_outputs(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    state = small_model(seed=5).state_dict()
    model = small_model(seed=8)
    own = model.state_dict()
    np.savez(path, **{**state, "fc.weight": np.zeros((9, 48)), "fc.bias": np.zeros(9)})
    with pytest.raises(CheckpointError, match=r"state.npz: .*fc.bias has shape \(9,\), expected"):
        gpucnn.load_weights(model, path)
    assert gpucnn.load_weights(model, path, new_classes=True) == "fc"
    found = model.state_dict()
    for name in found:
        wanted = own if name.startswith("fc.") else state
        np.testing.assert_array_equal(found[name], wanted[name])
    for changes in (
        {"fc.weight": np.zeros((9, 47))},
        {"conv.bias": np.zeros(4)},
        {"fc.bias": np.zeros((9, 1))},
        {"other": np.zeros(3)},
    ):
        np.savez(path, **{**state, **changes})
        before = model.flat_parameters.copy()
        with pytest.raises(CheckpointError, match=f"state.npz: .*{next(iter(changes))}"):
            gpucnn.load_weights(model, path, new_classes=True)
        np.testing.assert_array_equal(model.flat_parameters, before)
    np.savez(path, **{**state, "fc.bias": np.array(list("abcd"))})
    with pytest.raises(CheckpointError, match=r"fc.bias is <U1, expected numbers"):
        gpucnn.load_weights(model, path)


def test_a_device_is_no_file_of_weights() -> None:
    with pytest.raises(CheckpointError, match="/dev/zero is not a checkpoint: it is not a regular"):
        gpucnn.load_weights(small_model(), "/dev/zero")


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"\x80\x02")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("it's.pt", zipped("it's/data.pkl", "it's/data/0"), "is a PyTorch file.*weights_only=True"),
        ("old.pth", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j", "is a PyTorch file"),
        ("net.onnx", b"\x08\x07\x12\x06gpucnn", "is an ONNX file.* as .safetensors or .npz"),
        ("w.h5", b"\x89HDF\r\n\x1a\n" + bytes(90), r"is a Keras file.*transpose\(3, 2, 0, 1\)"),
        ("w.keras", zipped("config.json", "model.weights.h5"), "is a Keras file"),
        ("data.npz", zipped("x_train.npy", "y_train.npy"), r"x_train, y_train of a data set"),
        ("empty", b"", "is not a checkpoint: it begins with b''"),
    ],
)
def test_files_of_others_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for use in (gpucnn.load_model, lambda path: gpucnn.load_weights(small_model(), path)):
        with pytest.raises(CheckpointError, match=message) as error:
            use(path)
        assert str(error.value).startswith(str(path))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["it's mine.pt", "weights.npz"])
@pytest.mark.parametrize("form", ["plain", "legacy", "wrapped"])
def test_the_line_that_converts_a_pytorch_file_does(tmp_path: Path, form: str, name: str) -> None:
    torch = pytest.importorskip("torch")
    path, source = tmp_path / name, small_model(seed=5)
    state = {name: torch.from_numpy(values) for name, values in source.state_dict().items()}
    if form == "wrapped":  # by a training script, from a model in DataParallel
        state = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
    torch.save(state, path, _use_new_zipfile_serialization=form != "legacy")
    with pytest.raises(CheckpointError) as error:
        gpucnn.load_model(path)
    command = shlex.split(str(error.value).partition("convert it with ")[2])
    assert command[:2] == ["python", "-c"]
    subprocess.run([sys.executable, *command[1:]], check=True)
    model = small_model(seed=8)
    gpucnn.load_weights(model, path.with_name(f"{path.stem}-converted.npz"))
    np.testing.assert_array_equal(model.flat_parameters, source.flat_parameters)


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
