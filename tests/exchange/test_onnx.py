"""ONNX files compute what gpucnn computes: every model, layer and option, by ONNX Runtime."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small import small_model

import gpucnn
from gpucnn import nn
from gpucnn.errors import DivergedError, SettingError
from gpucnn.exchange import export_onnx
from gpucnn.exchange.onnx_model import IR_VERSION, OPSET, onnx_model

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

TOLERANCE = 1e-5
"""Of the largest element of the result, and at least of 1."""

LAYERS: list[tuple[nn.Layer, tuple[int, ...]]] = [
    (nn.Conv2d(2, 3, 3), (2, 6, 7)),
    (nn.Conv2d(2, 3, (3, 2), bias=False), (2, 6, 7)),
    (nn.Conv2d(2, 4, 3, stride=(2, 1), padding=1), (2, 7, 6)),
    (nn.Conv2d(1, 2, 3, padding=((2, 0), (1, 3))), (1, 6, 7)),
    (nn.Conv2d(1, 2, (4, 3), padding="same"), (1, 6, 7)),
    (nn.Conv2d(1, 2, (2, 4), padding="same", dilation=(3, 1)), (1, 8, 7)),
    (nn.Conv2d(1, 2, 3, padding="valid", dilation=(2, 3)), (1, 8, 9)),
    (nn.Conv2d(4, 6, 3, groups=2, padding=2, dilation=2), (4, 6, 7)),
    (nn.Conv2d(3, 6, 3, groups=3), (3, 6, 7)),
    (nn.Conv2d(2, 3, 2, stride=5, padding=4), (2, 6, 7)),
    (nn.ConvTranspose2d(2, 3, 3), (2, 4, 5)),
    (nn.ConvTranspose2d(2, 3, (2, 3), stride=(3, 2), bias=False), (2, 4, 5)),
    (nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1), (2, 4, 5)),
    (nn.ConvTranspose2d(1, 2, 3, stride=3, padding=((1, 0), (2, 1))), (1, 4, 5)),
    (nn.ConvTranspose2d(1, 2, 3, stride=1, output_padding=(1, 2), dilation=(2, 3)), (1, 4, 5)),
    (nn.ConvTranspose2d(1, 2, 2, output_padding=(2, 0), dilation=3, bias=False), (1, 4, 5)),
    (nn.ConvTranspose2d(1, 2, 3, stride=2, padding=2, output_padding=(0, 1)), (1, 4, 5)),
    (nn.ConvTranspose2d(4, 6, 3, groups=2, dilation=2, padding=2), (4, 4, 5)),
    (nn.ConvTranspose2d(1, 1, 2, stride=4, output_padding=3), (1, 3, 4)),
    (nn.MaxPool2d(2), (2, 7, 6)),
    (nn.MaxPool2d((3, 2), stride=(1, 2), padding=(1, 0)), (2, 7, 6)),
    (nn.MaxPool2d(3, stride=2, padding=((0, 1), (1, 0))), (2, 7, 6)),
    (nn.MaxPool2d(2, ceil_mode=True), (2, 7, 5)),
    (nn.MaxPool2d(3, stride=2, ceil_mode=True, padding=1), (2, 8, 7)),
    (nn.MaxPool2d(2, stride=3, ceil_mode=True), (2, 8, 7)),
    (nn.MaxPool2d(3, stride=1, dilation=(2, 1)), (2, 7, 6)),
    (nn.MaxPool2d(2, stride=1, dilation=4, padding=2), (2, 7, 6)),
    (nn.MaxPool2d(3, stride=2, dilation=3, padding=3, ceil_mode=True), (2, 8, 9)),
    (nn.AvgPool2d(2), (2, 7, 6)),
    (nn.AvgPool2d((7, 6)), (2, 7, 6)),  # global
    (nn.AvgPool2d(3, stride=2, padding=1), (2, 7, 6)),
    (nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), (2, 7, 6)),
    (nn.AvgPool2d(3, stride=2, padding=((0, 1), (1, 0))), (2, 7, 6)),
    (nn.AvgPool2d(3, stride=2, padding=((1, 0), (0, 1)), count_include_pad=False), (2, 7, 6)),
    (nn.AvgPool2d(3, stride=2, ceil_mode=True), (2, 8, 6)),
    (nn.AvgPool2d(3, stride=2, ceil_mode=True, count_include_pad=False), (2, 8, 6)),
    (nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True), (2, 8, 6)),
    (nn.AvgPool2d(4, stride=3, padding=1, ceil_mode=True, count_include_pad=False), (2, 8, 6)),
    (nn.AvgPool2d(2, divisor_override=3), (2, 7, 6)),
    (nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True, divisor_override=5), (2, 8, 6)),
    *(
        (pool(size), (2, 7, 6))
        for pool in (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
        for size in (1, (7, 3), (3, None), (4, 5), 9)
    ),
    (nn.Upsample(scale_factor=2), (2, 3, 4)),
    (nn.Upsample(scale_factor=(0.5, 3.0)), (2, 4, 3)),
    (nn.Upsample((7, 5)), (2, 3, 4)),
    (nn.Upsample((2, 3)), (2, 5, 7)),
    (nn.SumPool2d(2), (2, 7, 6)),
    (nn.SumPool2d((3, 2), stride=2, padding=(1, 0), ceil_mode=True), (2, 8, 7)),
    (nn.LPPool2d(1, 2), (2, 7, 6)),
    (nn.LPPool2d(1, 3, stride=2, ceil_mode=True), (2, 8, 6)),
    (nn.LPPool2d(2, (3, 2), stride=2, ceil_mode=True), (2, 8, 7)),
    (nn.LPPool2d(2.0, 2), (2, 7, 6)),
    (nn.ReLU(), (2, 3, 4)),
    (nn.LeakyReLU(), (2, 3, 4)),
    (nn.LeakyReLU(0.3), (2, 3, 4)),
    (nn.ELU(), (2, 3, 4)),
    (nn.ELU(0.3), (2, 3, 4)),
    (nn.GELU(), (2, 3, 4)),
    (nn.GELU("tanh"), (2, 3, 4)),
    (nn.SiLU(), (2, 3, 4)),
    (nn.Softplus(), (2, 3, 4)),
    (nn.Softplus(2.5, 1.0), (2, 3, 4)),
    (nn.Sigmoid(), (2, 3, 4)),
    (nn.Tanh(), (2, 3, 4)),
    (nn.Softmax(), (3, 2, 4)),
    (nn.Residual({"conv": nn.Conv2d(2, 2, 3, padding=1), "relu": nn.ReLU()}), (2, 5, 4)),
    (nn.Residual(nn.Conv2d(2, 3, 1), [nn.Conv2d(2, 3, 1), nn.ReLU()]), (2, 3, 3)),
    (nn.Concat([None, [nn.Residual([nn.ReLU()]), nn.MaxPool2d(1)], nn.Conv2d(2, 1, 1)]), (2, 4, 3)),
    (nn.Dropout(0.7), (2, 3, 4)),
    (nn.Dropout2d(0.7), (2, 3, 4)),
    (nn.BatchNorm2d(2), (2, 3, 4)),
    (nn.BatchNorm2d(2, eps=0.1, affine=False), (2, 3, 4)),
    (nn.BatchNorm1d(5), (5,)),
    (nn.GroupNorm(2, 4), (4, 3, 2)),
    (nn.GroupNorm(1, 2, affine=False), (2, 3, 2)),
    (nn.LayerNorm((2, 3, 4)), (2, 3, 4)),
    (nn.LayerNorm(4, bias=False), (2, 3, 4)),
    (nn.Flatten(), (2, 3, 4)),
    (nn.Linear(4, 3), (2, 3, 4)),
    (nn.Linear(4, 3, bias=False), (2, 3, 4)),
    (nn.Rows(), (2, 3, 4)),
    (nn.RNN(4, 3), (5, 4)),
    (nn.RNN(4, 3, 2, nonlinearity="relu", bias=False, return_sequences=True), (5, 4)),
    (nn.GRU(4, 3, return_sequences=True), (5, 4)),
    (nn.GRU(4, 3, 2, bias=False), (5, 4)),
]


def session(model: nn.Sequential, **options: Any) -> Any:
    """Return ONNX Runtime's session of a model, in one thread; no constant may be unused."""
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    proto = onnx_model(model, **options)
    taken = {name for node in proto.graph.node for name in node.input}
    assert {constant.name for constant in proto.graph.initializer} <= taken
    return runtime.InferenceSession(proto.SerializeToString(), settings)


def difference(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    assert found.shape == wanted.shape
    assert found.dtype == np.float32
    scale = max(1.0, float(abs(wanted).max()))
    return float(abs(found - wanted).max()) / scale


def in_a_model(layer: nn.Layer, shape: tuple[int, ...]) -> nn.Sequential:
    """Statistics are random; a layer of features follows a Flatten, one of sequences a Rows."""
    layers: dict[str, nn.Layer] = {"it": layer}
    if len(shape) == 1:
        layers, shape = {"flatten": nn.Flatten(), **layers}, (*shape, 1, 1)
    elif len(shape) == 2:
        layers, shape = {"rows": nn.Rows(), **layers}, (1, *shape)
    model, rng = nn.Sequential(layers, shape, seed=1), np.random.default_rng(1)
    if layer.state.keys() - {"weight", "bias"} or "Norm" in type(layer).__name__:
        model.load_state_dict(
            {name: rng.uniform(0.5, 2, array.shape) for name, array in model.state_dict().items()}
        )
    return model


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda value: repr(value))
def test_a_layer_computes_the_same(layer: nn.Layer, shape: tuple[int, ...]) -> None:
    model = in_a_model(layer, shape)
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    x = x.reshape(3, *model.input_shape)
    (found,) = session(model, raw=True).run(["scores"], {"input": x})
    assert difference(found, model(x)) <= TOLERANCE


def test_batch_statistics_cannot_be_exported() -> None:
    model = nn.Sequential({"bn": nn.BatchNorm2d(1, track_running_stats=False)}, (1, 2, 2))
    with pytest.raises(SettingError, match=r"layer 'bn' .* has no running statistics"):
        onnx_model(model, raw=True)


def test_every_layer_is_in_the_table() -> None:
    own = {kind for kind in nn.Layer.types.values() if kind.__module__.startswith("gpucnn.nn")}
    assert {type(layer) for layer, _ in LAYERS} == own


@pytest.mark.parametrize("name", [*gpucnn.models.MODELS, "trained"])
def test_a_model_computes_the_same_from_pixels(name: str) -> None:
    """For batches of any size, with the normalisation of each channel in the graph."""
    if name == "trained":
        model = gpucnn.load_model("lenet5", "numpy")
    else:
        model = gpucnn.models.MODELS[name](channels=3, size=(16, 20), classes=7, seed=2)
        model.normalization = ((0.1, 0.5, 0.3), (0.3, 0.2, 0.4))
    compiled, rng = session(model), np.random.default_rng(3)
    for count in (1, 4):
        images = rng.integers(0, 256, (count, *model.input_shape), np.uint8)
        (found,) = compiled.run(["probabilities"], {"images": images})
        assert difference(found, model.predict(images)) <= TOLERANCE
    x = rng.normal(size=(2, *model.input_shape)).astype(np.float32)
    (found,) = session(model, raw=True).run(["scores"], {"input": x})
    assert difference(found, model(x)) <= TOLERANCE


@pytest.mark.parametrize(
    ("output", "last", "result"),
    [
        ("softmax", None, "probabilities"),
        ("sigmoid", None, "probabilities"),
        ("none", None, "scores"),
        ("none", nn.Sigmoid(), "probabilities"),
        ("softmax", nn.Softmax(), "probabilities"),
    ],
)
def test_outputs_are_those_of_predict(output: Any, last: nn.Layer | None, result: str) -> None:
    layers = [nn.Flatten(), nn.Linear(6, 4), *([last] if last else [])]
    model = nn.Sequential(layers, (1, 2, 3))
    model.normalization, model.output = ((0.4,), (0.2,)), output
    images = np.arange(18, dtype=np.uint8).reshape(3, 1, 2, 3)
    compiled = session(model)
    (found,) = compiled.run([result], {"images": images})
    assert difference(found, model.predict(images)) <= TOLERANCE
    (value,) = compiled.get_outputs()
    assert (value.name, value.shape, value.type) == (result, ["N", 4], "tensor(float)")


def test_a_network_that_ends_in_feature_maps() -> None:
    model = nn.Sequential([nn.Conv2d(1, 3, 2)], (1, 4, 5))
    model.normalization = ((0.4,), (0.2,))
    images = np.arange(40, dtype=np.uint8).reshape(2, 1, 4, 5)
    (found,) = session(model).run(["probabilities"], {"images": images})
    assert difference(found, model.predict(images)) <= TOLERANCE


def test_classes_of_any_name_are_in_the_metadata(tmp_path: Path) -> None:
    model = gpucnn.load_model("lenet5", "numpy")
    model.classes = ("ü", "a\udcff", "\\udcff", '"')
    export_onnx(model, tmp_path / "a.onnx")
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert tuple(json.loads(metadata["classes"])) == model.classes
    assert "ü" in metadata["classes"]


def test_the_file_is_small_old_and_described(tmp_path: Path) -> None:
    """Versions that runtimes of 2021 read; weights by PyTorch's names; shapes of every value."""
    path = tmp_path / "digits.onnx"
    model = gpucnn.load_model("lenet5", "numpy")
    export_onnx(model, path)
    assert path.stat().st_size < 255_000
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", OPSET)]
    assert proto.ir_version == IR_VERSION
    assert proto.producer_version == gpucnn.__version__
    metadata = {entry.key: json.loads(entry.value) for entry in proto.metadata_props}
    assert metadata["classes"] == list("0123456789")
    assert model.normalization is not None
    mean, std = model.normalization
    assert metadata["normalization"] == {"mean": [*mean], "std": [*std]}
    weights = {constant.name for constant in proto.graph.initializer}
    assert weights - {"scale", "shift"} == set(model.state_dict())
    sizes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in proto.graph.value_info
    }
    assert sizes["conv1"] == ["N", 6, 28, 28]
    assert sizes["fc2"] == ["N", 84]


def test_names_of_layers_may_be_those_of_other_values() -> None:
    names = ("input", "scores", "a.weight", "a", "", "conv 1/ü", "scores.2")
    layers = [nn.ReLU(), nn.Tanh(), nn.ReLU(), nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Tanh(), nn.ReLU()]
    model = nn.Sequential(dict(zip(names, layers, strict=True)), (1, 2, 2), seed=1)
    x = np.linspace(-1, 1, 4, dtype=np.float32).reshape(1, 1, 2, 2)
    (found,) = session(model, raw=True).run(["scores"], {"input": x})
    assert difference(found, model(x)) <= TOLERANCE


def test_a_float64_network_is_written_in_float32() -> None:
    model = small_model().to(gpucnn.get_backend("numpy", "float64"))
    model.normalization = ((0.4,), (0.2,))
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 8, 8), np.uint8)
    (found,) = session(model).run(None, {"images": images})
    assert difference(found, model.predict(images)) <= TOLERANCE
    next(model.parameters()).data[...] = 1e300
    with pytest.raises(SettingError, match=r"conv\.weight has values beyond the range of float32"):
        onnx_model(model)


def test_a_network_on_another_backend_makes_the_same_file(backend32: gpucnn.Backend) -> None:
    wanted = onnx_model(small_model(), raw=True).SerializeToString()
    assert onnx_model(small_model().to(backend32), raw=True).SerializeToString() == wanted


def test_what_onnx_cannot_hold_is_refused(tmp_path: Path) -> None:
    """One line says why; an existing file stays as it is."""

    @dataclass(eq=False)
    class Swish(nn.ReLU):
        """Not a ReLU, although it is derived from it."""

    class Net(nn.Sequential):
        def forward(self, x: Any, training: bool = False) -> Any:
            return super().forward(x, training)

    own = nn.Sequential({"act": Swish()}, (1, 2, 2))
    diverged, untrained = small_model(), small_model()
    next(diverged.parameters()).data[...] = np.nan
    path = tmp_path / "model.onnx"
    path.write_text("as before")
    for model, kind, message in (
        (own, SettingError, r"layer 'act' \(Swish\) is a custom layer"),
        (Net([nn.ReLU()], (1, 2, 2)), SettingError, r"the model \(Net\) has a forward"),
        (diverged, DivergedError, r"conv\.weight contains NaN or infinity"),
        (untrained, SettingError, "the model has no normalization"),
    ):
        if model is not untrained:
            model.normalization = ((0.0,), (1.0,))
        with pytest.raises(kind, match=message) as error:
            export_onnx(model, path)
        assert "\n" not in str(error.value)
    assert path.read_text() == "as before"
