"""Residual and Concat: names, what they refuse, passes, and files with layers inside layers."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forger import write_text
from small import small_data

import gpucnn
from gpucnn import nn
from gpucnn.backends import Backend, get_backend
from gpucnn.errors import CheckpointError, SettingError, ShapeError
from gpucnn.nn.layers.structure import MOST_LEVELS
from gpucnn.nn.plan import FusedBlock, WithReLU
from gpucnn.training.files.checkpoint import Checkpoint, load, save
from gpucnn.training.steps import why_eager


def network(backend: str | Backend = "numpy", p: float = 0.25) -> nn.Sequential:
    """Layers inside layers of every kind: a projection, an identity, branches, dropout."""
    body = {
        "conv1": nn.Conv2d(2, 3, 3, stride=2, padding=1),
        "relu": nn.ReLU(),
        "conv2": nn.Conv2d(3, 3, 3, padding=1),
    }
    branches: list[Any] = [
        None,
        nn.Conv2d(3, 2, 1),
        {"inner": nn.Residual([nn.Conv2d(3, 3, 3, padding=1), nn.Dropout(p)]), "relu": nn.ReLU()},
    ]
    layers: dict[str, nn.Layer] = {
        "conv": nn.Conv2d(1, 2, 3, padding=1),
        "block": nn.Residual(body, nn.Conv2d(2, 3, 1, stride=2)),
        "relu": nn.ReLU(),
        "mix": nn.Concat(branches),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(8 * 16, 4),
    }
    return nn.Sequential(layers, (1, 8, 8), backend=backend)


def test_names_are_those_of_a_pytorch_module() -> None:
    model = network()
    assert [name for name, _ in model.named_parameters()] == [
        f"{layer}.{kind}"
        for layer in (
            "conv",
            "block.body.conv1",
            "block.body.conv2",
            "block.shortcut",
            "mix.branches.1",
            "mix.branches.2.inner.body.0",
            "fc",
        )
        for kind in ("weight", "bias")
    ]
    assert "\n  (mix): Concat\n    (branches.1): Conv2d(3, 2, 1)\n" in repr(model)
    assert eval(repr(model.layers["mix"]), vars(nn)).children.keys() == (
        model.layers["mix"].children.keys()
    )


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: nn.Residual({"a": nn.Conv2d(1, 2, 3), "b": nn.Conv2d(1, 2, 3)}),
            ShapeError,
            r"layer 'block.body.b' \(Conv2d\) with input \(2, 6, 6\): expected \(1, H, W\)",
        ),
        (
            lambda: nn.Residual(nn.Conv2d(1, 2, 3, padding=1)),
            ShapeError,
            r"'block' \(Residual\) with input \(1, 8, 8\): body returns \(2, 8, 8\), to which the "
            r"input \(1, 8, 8\) cannot be added: set shortcut",
        ),
        (
            lambda: nn.Residual(nn.MaxPool2d(2), nn.MaxPool2d(4)),
            ShapeError,
            r"body returns \(1, 4, 4\), but shortcut \(1, 2, 2\)",
        ),
        (
            lambda: nn.Concat([None, [nn.Concat([nn.ReLU(), nn.MaxPool2d(2)])]]),
            ShapeError,
            r"'block.branches.1.0' \(Concat\).*branches.0 returns \(1, 8, 8\), but branches.1 "
            r"\(1, 4, 4\)",
        ),
        (lambda: nn.Residual(None), SettingError, "Residual: body must be a layer, or layers in"),
        (lambda: nn.Residual([]), SettingError, "Residual: body needs at least one layer"),
        (lambda: nn.Residual(["x"]), SettingError, "layer '0' must be a gpucnn.nn.Layer"),
        (lambda: nn.Concat(nn.ReLU()), SettingError, r"Concat: branches .* got ReLU"),
        (lambda: nn.Concat([]), SettingError, "Concat: branches must be a list"),
        (lambda: nn.Concat(2 * [nn.ReLU()]), SettingError, "are the same object"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_path(
    make: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        nn.Sequential({"block": make()}, (1, 8, 8))


def test_names_that_coincide_are_refused() -> None:
    layers = {"a": nn.Residual({"c": nn.ReLU()}), "a.body.c": nn.ReLU()}
    with pytest.raises(SettingError, match=r"two layers are called 'a\.body\.c'"):
        nn.Sequential(layers, (1, 2, 2))


def test_levels_are_limited() -> None:
    layer: nn.Layer = nn.ReLU()
    for _ in range(MOST_LEVELS):
        layer = nn.Residual(layer)
    assert nn.Sequential([layer], (1, 2, 2))(np.ones((1, 1, 2, 2), "float32")).max() == 1 + 16
    with pytest.raises(SettingError, match="layers inside layers have more than 16 levels"):
        nn.Concat([layer])


def passes(model: nn.Sequential, x: np.ndarray, grad: np.ndarray) -> list[np.ndarray]:
    be = model.backend
    outputs, saved = model.forward(be.asarray(x), training=True)
    input_grad = model.backward(be.asarray(grad), saved, input_grad=True)
    return [be.to_numpy(array) for array in (outputs, input_grad, model.flat_grads)]


def test_a_model_computes_the_same_on_every_backend(backend64: Backend) -> None:
    rng = np.random.default_rng(0)
    x, grad = rng.standard_normal((5, 1, 8, 8)), rng.standard_normal((5, 4))
    wanted = passes(network(get_backend("numpy", "float64")), x, grad)
    for found, expected in zip(passes(network(backend64), x, grad), wanted, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_neighbours_are_fused_inside_and_after_a_container() -> None:
    body = [nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 2, 1)]
    block = nn.Residual([*body, nn.ReLU()], nn.MaxPool2d(2))
    model = nn.Sequential([block, nn.ReLU(), nn.MaxPool2d(2)], (2, 8, 8))
    (outer,) = model.chain.plan(model.backend, (3, 2, 8, 8), True).values()
    assert isinstance(outer, WithReLU)
    chain = block._chains["body"]
    assert chain is not None
    inner = chain.plan(model.backend, (3, 2, 8, 8), True)
    assert [type(each) for each in inner.values()] == [FusedBlock, WithReLU]
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 2, 8, 8)).astype("float32")
    maps: dict[str, np.ndarray] = {}
    nn.layers.structure.trace(model.layers, model.backend, x, maps.__setitem__)
    np.testing.assert_allclose(model(x), maps["2"], rtol=1e-5, atol=1e-6)


def test_backward_uses_up_what_was_saved_inside() -> None:
    model = network()
    y, saved = model.forward(np.ones((2, 1, 8, 8), "float32"), training=True)
    assert saved is not None
    inner = saved[1][1][0][0][0]  # of the block with its ReLU, the body
    assert inner
    model.backward(y, saved)
    assert not inner


def test_copies_pickles_and_descriptions_compute_the_same() -> None:
    model, x = network(), np.random.default_rng(0).random((3, 1, 8, 8), "float32")
    described = nn.Sequential.from_config(json.loads(json.dumps(model.config())))
    described.load_state_dict(model.state_dict())
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), described):
        np.testing.assert_array_equal(other(x), model(x))
        other.flat_parameters[...] = 0
        assert not other(x).any()
    assert model(x).any()


@pytest.mark.parametrize("options", [{}, {"backend": "emulated"}], ids=str)
def test_a_run_is_saved_resumed_and_loaded(options: dict[str, Any], tmp_path: Path) -> None:
    """With dropout inside, to the same bits."""
    data, path, asked = small_data(40), tmp_path / "run.npz", iter(range(9))
    whole, part = network(), network()
    options = {"epochs": 2, "batch_size": 16, **options}
    gpucnn.fit(part, data, should_stop=lambda: next(asked) == 3, checkpoint=path, **options)
    gpucnn.fit(part, data, resume=path, checkpoint=path, **options)
    gpucnn.fit(whole, data, **options)
    for name, values in whole.state_dict().items():
        np.testing.assert_array_equal(part.state_dict()[name], values)
    loaded = gpucnn.load_model(path, "numpy")
    images = data.test.images[:5]
    np.testing.assert_allclose(loaded.predict(images), whole.predict(images), rtol=1e-5)
    inner = ["block.body.conv1", "block.body.relu", "block.body.conv2", "block.shortcut", "block"]
    assert list(loaded.feature_maps(images))[1:6] == inner


def test_worker_processes_get_layers_inside_layers() -> None:
    weights = []
    for workers in (1, 2):
        model = network(p=0)
        gpucnn.fit(model, small_data(20), epochs=1, batch_size=16, workers=workers)
        weights.append(model.flat_parameters.copy())
    np.testing.assert_allclose(*weights, rtol=1e-4, atol=1e-5)


def test_captured_steps_compute_what_eager_ones_do() -> None:
    weights = []
    for records in (True, False):
        backend = get_backend("emulated")
        backend.records = records
        model = network(backend)
        gpucnn.fit(model, small_data(40), epochs=2, batch_size=16)
        weights.append(backend.to_numpy(model.flat_parameters))
    np.testing.assert_array_equal(*weights)


def test_a_custom_layer_inside_makes_steps_eager() -> None:
    class Twice(nn.Layer, register=False):
        pass

    model = nn.Sequential({"block": nn.Residual({"twice": Twice()})}, (1, 2, 2))
    why = why_eager(model, nn.CrossEntropyLoss(), gpucnn.optim.SGD())
    assert why == "layer 'block.body.twice' (Twice) is a custom layer"


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"type": "Residual", "body": 3}, "body must be a layer"),
        ({"type": "Residual", "body": {"type": 3}}, r"body.type is 3, expected text"),
        ({"type": "Residual", "body": [{"name": "a"}]}, r"body\[0\].type is missing"),
        (
            {"type": "Residual", "body": 2 * [{"name": "a", "type": "ReLU"}]},
            "two layers are called 'a'",
        ),
        ({"type": "Residual", "body": {"type": "Relu"}}, "did you mean 'ReLU'.*import the module"),
        ({"type": "Conv2d", "in_channels": {"type": "ReLU"}}, "in_channels cannot be ReLU"),
        (
            {"type": "Residual", "body": {"type": "Conv2d", "kernel_size": 2**30}},
            r"body.kernel_size is 1073741824, expected",
        ),
        (
            {
                "type": "Residual",
                "body": [
                    {"name": "up", "type": "ConvTranspose2d", "in_channels": 2, "out_channels": 1,
                     "kernel_size": 1, "stride": 2**18},
                    {"name": "down", "type": "MaxPool2d", "kernel_size": 900_000,
                     "stride": 10**6},
                ],
                "shortcut": {"type": "Conv2d", "in_channels": 2, "out_channels": 1,
                             "kernel_size": 8},
            },
            "'block.body.up' is 1x1835009x1835009, more than",
        ),
    ],
)  # fmt: skip
def test_files_that_cannot_be_are_refused(
    block: dict[str, Any], message: str, tmp_path: Path
) -> None:
    gpucnn.save_model(network(), tmp_path / "model.npz")
    saved = load(tmp_path / "model.npz")
    saved.metadata["model"]["layers"][1:] = [{"name": "block", **block}]
    save(tmp_path / "other.npz", Checkpoint(saved.metadata, saved.arrays))
    with pytest.raises(CheckpointError, match=message) as error:
        gpucnn.load_model(tmp_path / "other.npz", "numpy")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("levels", [MOST_LEVELS + 1, 400, 100_000])
def test_files_of_too_many_levels_are_refused(levels: int, tmp_path: Path) -> None:
    gpucnn.save_model(network(), tmp_path / "model.npz")
    saved = load(tmp_path / "model.npz")
    saved.metadata["model"]["layers"][1] = {"name": "block", "type": "Residual", "body": "@"}
    text = json.dumps({"format": 1, **saved.metadata})
    deep = '{"type": "Residual", "body": ' * levels + '{"type": "ReLU"}' + "}" * levels
    write_text(tmp_path / "deep.npz", text.replace('"@"', deep), saved.arrays)
    with pytest.raises(CheckpointError, match=r"inside more than 16 layers|nested too deeply"):
        gpucnn.load_model(tmp_path / "deep.npz", "numpy")
