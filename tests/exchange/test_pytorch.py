"""Networks from PyTorch and back into PyTorch, with the real package."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from available import backend_or_skip
from numpy.typing import NDArray

import gpucnn
from gpucnn import nn
from gpucnn.cli.main import run
from gpucnn.config import describe
from gpucnn.data import Data
from gpucnn.exchange import export_safetensors
from gpucnn.training.step import loss_and_grads

torch = pytest.importorskip("torch")
library = pytest.importorskip("safetensors.torch")

MEAN, STD = 0.1307, 0.3081


class Rows(torch.nn.Module):
    """What ``nn.Rows`` computes."""

    def forward(self, x: Any) -> Any:
        return x.transpose(1, 2).flatten(2)


def recurrent(kind: str, return_sequences: bool, **options: Any) -> Any:
    """Return PyTorch's layer, with the output of gpucnn's."""

    class Recurrent(getattr(torch.nn, kind)):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            states, _ = super().forward(x)
            return states if return_sequences else states[:, -1]

    return Recurrent(batch_first=True, **options)


def as_torch(model: nn.Sequential) -> Any:
    """Return the same network of PyTorch's modules, with weights of its own."""
    return in_a_row(model.layers).eval()


def in_a_row(layers: Mapping[str, nn.Layer]) -> Any:
    network = torch.nn.Sequential()
    for name, layer in layers.items():
        network.add_module(name, module(layer))
    return network


def module(layer: Any) -> Any:
    if layer is None:
        return torch.nn.Identity()
    if isinstance(layer, dict):
        return in_a_row(layer)
    if isinstance(layer, nn.Residual):
        return Residual(module(layer.body), module(layer.shortcut))
    if isinstance(layer, nn.Concat):
        return Concat(torch.nn.ModuleList(map(module, layer.branches)))
    options = {key: value for key, value in describe(layer).items() if key != "init"}
    kind = options.pop("type")
    if isinstance(layer, nn.RNN | nn.GRU):
        return recurrent(kind, **options)
    return Rows() if isinstance(layer, nn.Rows) else getattr(torch.nn, kind)(**options)


class Residual(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, body: Any, shortcut: Any) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Any) -> Any:
        return self.body(x) + self.shortcut(x)


class Concat(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, branches: Any) -> None:
        super().__init__()
        self.branches = branches

    def forward(self, x: Any) -> Any:
        return torch.cat([branch(x) for branch in self.branches], 1)


def scores(network: Any, x: NDArray[Any]) -> NDArray[Any]:
    with torch.no_grad():
        found: NDArray[Any] = network(torch.from_numpy(x)).numpy()
    return found


@pytest.fixture(scope="module")
def digits() -> Data:
    mnist = gpucnn.data.mnist()
    return Data(mnist.train.limit(1280), mnist.test.limit(1000), mnist.classes, "digits")


@pytest.fixture(scope="module")
def trained(digits: Data) -> Any:
    """LeNet-5 in PyTorch, trained there."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # several wait for each other in so small a network
    network = as_torch(gpucnn.models.lenet5()).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    x = torch.from_numpy((digits.train.images.astype(np.float32) / 255 - MEAN) / STD)
    labels = torch.from_numpy(digits.train.labels.copy())
    for _ in range(2):
        for start in range(0, len(x), 64):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(
                network(x[start : start + 64]), labels[start : start + 64]
            )
            loss.backward()
            optimizer.step()
    return network.eval()


def correct(network: Any, digits: Data) -> int:
    x = (digits.test.images.astype(np.float32) / 255 - MEAN) / STD
    return int((scores(network, x).argmax(1) == digits.test.labels).sum())


def test_a_lenet5_goes_from_pytorch_into_evaluate_and_back(
    trained: Any,
    digits: Data,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By files, with the same accuracy everywhere and the same weights in the end."""
    monkeypatch.chdir(tmp_path)
    train, test = digits.train, digits.test
    arrays = {"x_train": train.images, "y_train": train.labels}
    np.savez("digits.npz", **arrays, x_test=test.images, y_test=test.labels)
    wanted = correct(trained, digits)
    assert wanted > 750
    library.save_file(trained.state_dict(), "lenet5.safetensors")
    words = ["import", "lenet5.safetensors", "model.npz", "--model", "lenet5"]
    assert run([*words, "--mean", str(MEAN), "--std", str(STD), "--classes", "10"]) == 0
    capsys.readouterr()
    assert run(["evaluate", "model.npz", "--data", "digits.npz", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["correct"] == wanted
    assert run(["export", "model.npz", "back.safetensors"]) == 0
    back = as_torch(gpucnn.models.lenet5(seed=1))
    back.load_state_dict(library.load_file("back.safetensors"))
    assert correct(back, digits) == wanted
    for name, values in trained.state_dict().items():
        assert torch.equal(back.state_dict()[name], values)


@pytest.mark.parametrize("name", gpucnn.models.MODELS)
def test_pytorch_loads_the_weights_of_every_model(tmp_path: Path, name: str) -> None:
    model = gpucnn.models.MODELS[name](channels=3, size=(16, 20), classes=7, seed=2)
    path = tmp_path / "w.safetensors"
    export_safetensors(model, path)
    network = as_torch(model)
    network.load_state_dict(library.load_file(path))
    x = np.random.default_rng(0).normal(size=(4, 3, 16, 20)).astype(np.float32)
    np.testing.assert_allclose(scores(network, x), model(x), atol=1e-5)


def inception() -> nn.Sequential:
    branches = [
        nn.Conv2d(3, 2, 1),
        [nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 4, 3, padding=1)],
        {"pool": nn.MaxPool2d(3, stride=1, padding=1), "conv": nn.Conv2d(3, 2, 1)},
        None,
    ]
    layers = {"conv": nn.Conv2d(1, 3, 3), "mix": nn.Concat(branches), "relu": nn.ReLU()}
    layers |= {"flatten": nn.Flatten(), "fc": nn.Linear(11 * 36, 5)}
    return nn.Sequential(layers, (1, 8, 8), seed=1)


def test_gradients_and_steps_of_layers_inside_layers_are_pytorchs(tmp_path: Path) -> None:
    residual = gpucnn.models.resnet_small(size=9, classes=5, width=2, seed=1)
    for model in (inception(), residual):
        model.to(gpucnn.get_backend("numpy", "float64"))
        export_safetensors(model, tmp_path / "w.safetensors")
        network = as_torch(model).double().train()
        network.load_state_dict(library.load_file(tmp_path / "w.safetensors"))
        assert list(network.state_dict()) == list(model.state_dict())
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        own = gpucnn.optim.SGD(lr=0.1, momentum=0.9)
        own.reset(model.backend, model.flat_size)
        rng = np.random.default_rng(0)
        for step in (1, 2):
            x = rng.standard_normal((6, *model.input_shape))
            target = rng.integers(0, model.output_shape[0], 6)
            value, grads = loss_and_grads(model, x, target)
            optimizer.zero_grad()
            found = network(torch.from_numpy(x))
            loss = torch.nn.functional.cross_entropy(found, torch.from_numpy(target))
            loss.backward()
            np.testing.assert_allclose(value, loss.item(), rtol=1e-9)
            for name, parameter in network.named_parameters():
                wanted = parameter.grad.numpy()
                np.testing.assert_allclose(model.split(grads)[name], wanted, rtol=1e-9, atol=1e-11)
            optimizer.step()
            own.step(model.backend, model.flat_parameters, grads, np.array(own.rates(step, own.lr)))
        for name, values in network.state_dict().items():
            np.testing.assert_allclose(
                model.state_dict()[name], values.numpy(), rtol=1e-9, atol=1e-11
            )


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, (3, 2), stride=2, padding=1, groups=2),
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, bias=False),
        nn.Linear(5, 3),
        nn.Linear(5, 3, bias=False),
    ],
    ids=repr,
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layers_with_weights_have_pytorchs_layout(
    tmp_path: Path, layer: nn.Layer, dtype: str
) -> None:
    backend = gpucnn.get_backend("numpy", dtype)
    model = nn.Sequential({"it": layer}, (4, 6, 5), seed=2, backend=backend)
    path = tmp_path / "w.safetensors"
    export_safetensors(model, path)
    network = as_torch(model).to(getattr(torch, dtype))
    network.load_state_dict(library.load_file(path))
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 5)).astype(dtype)
    np.testing.assert_allclose(scores(network, x), model(backend.asarray(x)), atol=1e-5)


@pytest.mark.parametrize("backend_name", ["numpy", "emulated"])
@pytest.mark.parametrize(
    ("layer", "dtype"),
    [
        (nn.RNN(10, 6), "float64"),
        (nn.RNN(10, 5, 3, nonlinearity="relu", bias=False, return_sequences=True), "float64"),
        (nn.GRU(10, 6, 2), "float64"),
        (nn.GRU(10, 6, bias=False, return_sequences=True), "float64"),
        (nn.RNN(10, 6, 2), "float32"),
        (nn.GRU(10, 6, 2), "float32"),
    ],
    ids=repr,
)
def test_recurrent_layers_have_pytorchs_outputs_and_gradients(
    layer: nn.Layer, dtype: str, backend_name: str
) -> None:
    backend = backend_or_skip(backend_name, dtype)
    model = nn.Sequential({"rows": nn.Rows(), "it": layer}, (2, 7, 5), seed=2, backend=backend)
    state = {name: torch.from_numpy(values).double() for name, values in model.state_dict().items()}
    network = as_torch(model).double()
    network.load_state_dict(state)
    x = np.random.default_rng(0).normal(size=(3, 2, 7, 5)).astype(np.float32)
    inputs = torch.from_numpy(x).double().requires_grad_()
    wanted = network(inputs)
    wanted.sin().sum().backward()
    outputs, saved = model.forward(backend.asarray(x, dtype), training=True)
    grad = backend.asarray(np.cos(backend.to_numpy(outputs)), dtype)
    input_grad = model.backward(grad, saved, input_grad=True)
    pairs = [(outputs, wanted), (input_grad, inputs.grad)]
    pairs += [(p.grad, network.get_parameter(name).grad) for name, p in model.named_parameters()]
    for found, expected in pairs:
        reference = expected.detach().numpy()
        bound = (1e-9 if dtype == "float64" else 1e-4) * abs(reference).max()
        assert abs(backend.to_numpy(found) - reference).max() <= bound


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_weights_become_float32(trained: Any, tmp_path: Path, dtype: str) -> None:
    state = {k: v.to(getattr(torch, dtype)) for k, v in trained.state_dict().items()}
    library.save_file(state, tmp_path / "w.safetensors")
    model = gpucnn.models.lenet5()
    gpucnn.load_weights(model, tmp_path / "w.safetensors")
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, state[name].float().numpy())


def test_a_pickle_is_refused_with_the_line_that_converts_it(
    trained: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing in it is run; what the line writes can be imported."""
    monkeypatch.chdir(tmp_path)
    wrapped = {
        "epoch": 3,
        "state_dict": {f"module.{k}": v for k, v in trained.state_dict().items()},
    }
    torch.save(wrapped, "lenet5.pt")
    assert run(["import", "lenet5.pt", "model.npz", "--model", "lenet5"]) == 2
    line = capsys.readouterr().err.partition("convert it with ")[2]
    command = shlex.split(line)
    assert command[:2] == ["python", "-c"]
    subprocess.run([sys.executable, *command[1:]], check=True)
    assert run(["import", "lenet5-converted.npz", "model.npz", "--model", "lenet5"]) == 0
    found = gpucnn.load_model("model.npz").state_dict()
    for name, values in trained.state_dict().items():
        np.testing.assert_array_equal(found[name], values.numpy())


def test_a_state_dict_that_numpy_wrote(trained: Any, tmp_path: Path) -> None:
    arrays = {name: values.numpy() for name, values in trained.state_dict().items()}
    np.savez(tmp_path / "w.npz", **arrays)
    model = gpucnn.models.lenet5()
    gpucnn.load_weights(model, tmp_path / "w.npz")
    np.testing.assert_array_equal(model.state_dict()["fc1.weight"], arrays["fc1.weight"])
