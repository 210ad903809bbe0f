"""Checkpoints with a right checksum and wrong contents: one line, or without effect."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forger import DEEP, MISSING, VALUES, alter, altered_arrays, places, seal, write, write_text
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from peak import peak_memory
from runs import start
from small import small_data, small_model

import gpucnn
from gpucnn.errors import CheckpointError, GpucnnError
from gpucnn.training.files.checkpoint import Checkpoint, load, read

DATA = small_data(20)
OPTIONS: dict[str, Any] = {"epochs": 2, "batch_size": 10, "validation": 4, "keep_best": True}


@dataclass
class Files:
    """A run stopped within its second epoch, the model that it trained, a file to write to."""

    run: Checkpoint
    model: Checkpoint
    path: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("forged")
    asked = iter(range(1, 9))
    run = start(
        data=DATA, checkpoint=folder / "run.npz", should_stop=lambda: next(asked) == 3, **OPTIONS
    )
    list(run)
    gpucnn.save_model(gpucnn.load_model(folder / "run.npz", "numpy"), folder / "model.npz")
    return Files(read(folder / "run.npz"), read(folder / "model.npz"), folder / "forged.npz")


def use(path: Path) -> None:
    """Do all that a checkpoint is for: load its model, predict, copy weights, resume the run."""
    for action in (load_and_predict, copy_weights, resume):
        message = refusal(action, path)
        assert "\n" not in message, action
        assert len(message) < 1000, action


def refusal(action: Callable[[Path], Any], path: Path) -> str:
    """The message with which a file is refused, empty if it is not."""
    try:
        action(path)
    except GpucnnError as error:
        return str(error)
    return ""


def refused_in_little_memory(action: Callable[[Path], Any], path: Path, message: str) -> None:
    found, peak = peak_memory(refusal, action, path)
    assert re.search(message, found)
    assert peak < 8 << 20


def load_and_predict(path: Path) -> None:
    model = gpucnn.load_model(path, "numpy")
    with np.errstate(all="ignore"):
        assert len(model.predict(np.zeros((2, *model.input_shape), np.uint8))) == 2
    model.summary()


def copy_weights(path: Path) -> None:
    gpucnn.load_weights(small_model(), path, new_classes=True)


def resume(path: Path) -> None:
    list(start(data=DATA, resume=path, checkpoint=path.with_name("resumed.npz"), **OPTIONS))


@examples(max_examples=100)
@given(st.data())
def test_an_altered_entry_is_refused_or_without_effect(files: Files, data: st.DataObject) -> None:
    saved = getattr(files, data.draw(st.sampled_from(["run", "model"])))
    path = data.draw(st.sampled_from(list(places(saved.metadata))))
    value = data.draw(st.sampled_from(VALUES))
    write(files.path, alter(saved.metadata, path, value), saved.arrays)
    use(files.path)


@examples(max_examples=40)
@given(st.data())
def test_an_altered_array_is_refused_or_without_effect(files: Files, data: st.DataObject) -> None:
    saved = getattr(files, data.draw(st.sampled_from(["run", "model"])))
    name = data.draw(st.sampled_from(list(saved.arrays)))
    options = dict(altered_arrays(name, saved.arrays[name]))
    array = options[data.draw(st.sampled_from(list(options)))]
    arrays = {key: value for key, value in saved.arrays.items() if key != name}
    write(files.path, saved.metadata, arrays if array is None else {**arrays, name: array})
    use(files.path)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("epoch",), True, "epoch is True, expected an integer from 0"),
        (("epoch",), 3, "epoch is 3, but settings.epochs 2"),
        (("index",), MISSING, "index is missing"),
        (("best", "epoch"), 2, "best.epoch is 2, but epoch 1"),
        (("best", "test", "test_loss"), "x", "best.test.test_loss is 'x', expected a number"),
        (("data",), [], r"data is \[\], expected an object"),
        (("dtype",), "float16", "dtype is 'float16', expected 'float32' or 'float64'"),
        (("settings", "workers"), 10**6, "settings.workers is 1000000, expected an integer from 1"),
        (("settings", "keep_best"), 1, "settings.keep_best is 1, expected true or false"),
        (("normalization", 1), [0.0], r"normalization\[1\]\[0\] is 0.0, expected a number"),
        (("normalization", 0), [0.5, 0.5], "normalization must have 1 means and"),
        (("normalization", 0), [1e300], r"normalization\[0\]\[0\] is 1e\+300, expected a number"),
        (("classes",), ["a", 5], r"classes\[1\] is 5, expected text"),
        (("model", "layers", 1, "name"), "conv", "model.layers has a name twice"),
        (("model", "layers", 1, "name"), "\udcff", r"layers\[1\].name: layer '\\udcff': expected"),
        (("model", "layers", 0, "stride"), 2**40, r"layers\[0\].stride is 1099511627776, expected"),
        (("model", "layers", 0, "stride"), {}, r"layers\[0\].stride is {}, expected"),
        (("model", "input_shape"), [1, 8], r"input_shape is \[1, 8\], expected a list of 3"),
        (("format",), "1", "its metadata is wrong: it has no format"),
        (("gpucnn",), DEEP, "nested too deeply"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    files: Files, path: tuple[Any, ...], value: Any, message: str
) -> None:
    write(files.path, alter(files.run.metadata, path, value), files.run.arrays)
    with pytest.raises(CheckpointError, match=message) as error:
        load(files.path)
    assert str(files.path) in str(error.value)


@pytest.mark.parametrize(
    ("layer", "arguments", "message"),
    [
        (0, {"bias": "no"}, "Conv2d: bias cannot be 'no'"),
        (0, {"kernel_size": [3, 3.5]}, r"kernel_size cannot be \(3, 3.5\)"),
        (2, {"ceil_mode": None}, "MaxPool2d: ceil_mode cannot be None"),
        (4, {"p": True}, "Dropout: p cannot be True"),
        (5, {"out_features": 10**8}, r"fc.weight has shape \(4, 48\), expected \(100000000, 48"),
        (5, {"type": "Lineal"}, "did you mean 'Linear'.*import the module that defines"),
        (5, {"hidden": 3}, "unexpected keyword argument 'hidden'$"),
    ],
)  # fmt: skip
def test_a_layer_that_cannot_be_built_is_refused_before_it_takes_memory(
    files: Files, layer: int, arguments: dict[str, Any], message: str
) -> None:
    row = {**files.run.metadata["model"]["layers"][layer], **arguments}
    forged = alter(files.run.metadata, ("model", "layers", layer), row)
    write(files.path, forged, files.run.arrays)
    refused_in_little_memory(load_and_predict, files.path, message)


def test_a_model_of_huge_activations_is_refused(files: Files) -> None:
    row = {**files.run.metadata["model"]["layers"][0], "padding": 2**20}
    forged = alter(files.run.metadata, ("model", "layers"), [row])
    write(files.path, forged, files.run.arrays)
    message = "'conv' is 3x2097158x2097158, more than 268,435,456 values for one image"
    refused_in_little_memory(load_and_predict, files.path, message)


def test_more_classes_than_outputs_are_refused(files: Files) -> None:
    write(files.path, alter(files.run.metadata, ("classes",), list("abcde")), files.run.arrays)
    with pytest.raises(CheckpointError, match=r"has 5 classes, but its model's output is \(4,\)"):
        gpucnn.load_model(files.path)


def test_arrays_are_compared_before_a_run_changes_the_model(files: Files) -> None:
    arrays = dict(files.run.arrays)
    del arrays["optimizer/velocity"]
    arrays["best/conv.bias"] = np.zeros(4, np.float32)
    arrays["extra"] = np.zeros(2)
    write(files.path, files.run.metadata, arrays)
    model = small_model()
    before = model.flat_parameters.copy()
    with pytest.raises(CheckpointError) as error:
        start(model, data=DATA, resume=files.path, **OPTIONS)
    for part in (
        "optimizer/velocity is missing, expected float32 (226,)",
        "best/conv.bias is float32 (4,), expected float32 (3,)",
        "extra is float64 (2,), expected no such array",
    ):
        assert part in str(error.value)
    np.testing.assert_array_equal(model.flat_parameters, before)


def test_a_key_that_is_there_twice_is_refused(files: Files) -> None:
    text = json.dumps({"format": 1, **files.run.metadata})
    write_text(files.path, text[:-1] + ', "epoch": 0}', files.run.arrays)
    with pytest.raises(CheckpointError, match="'epoch' is there twice"):
        load(files.path)


def test_an_archive_that_unpacks_to_more_than_it_is_is_refused(files: Files) -> None:
    text = json.dumps({"format": 1, **files.model.metadata})
    write_text(files.path, text, {"a": np.zeros(50 << 20, np.uint8)}, np.savez_compressed)
    assert files.path.stat().st_size < 1 << 20
    refused_in_little_memory(load, files.path, "metadata is compressed")


def test_members_that_share_their_bytes_are_refused(files: Files) -> None:
    """A directory of many entries that all point to the same megabyte."""
    write_text(files.path, "{}", {"a": np.zeros(1 << 20, np.uint8)})
    with zipfile.ZipFile(files.path, "a") as archive:
        (info,) = (entry for entry in archive.infolist() if entry.filename == "a.npy")
        for number in range(40):
            twin = zipfile.ZipInfo(f"b{number}.npy")
            for name in ("header_offset", "compress_size", "file_size", "CRC"):
                setattr(twin, name, getattr(info, name))
            archive.filelist.append(twin)
        archive._didModify = True  # type: ignore[attr-defined]
        archive.comment = b""
    seal(files.path, files.path.read_bytes())
    refused_in_little_memory(load, files.path, "declares .* bytes, but")


def test_what_is_not_a_regular_file_is_refused_at_once(files: Files) -> None:
    pipe = files.path.with_name("pipe")
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs named pipes")
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(CheckpointError, match="it is not a regular file"):
            load(path)
