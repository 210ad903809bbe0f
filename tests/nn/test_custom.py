"""Operations of a user: training on every backend, files, and mistakes, each in one line."""

from __future__ import annotations

import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from available import BACKENDS, backend_or_skip
from small import save_npz, small_data

import gpucnn
from gpucnn import nn, training
from gpucnn.backends import Backend
from gpucnn.backends.contract.custom import KernelSource
from gpucnn.backends.cuda.custom import expand, read_kernels
from gpucnn.backends.cuda.sources import Parameter, Signature
from gpucnn.cli import run
from gpucnn.errors import ArrayError, BackendError, GpucnnError, SettingError, ShapeError
from gpucnn.nn.imports import import_file

FOLDER = Path(__file__).parent / "custom"
OPS = import_file(FOLDER / "ops.py")
DEVICES = [name for name in BACKENDS if name != "numpy"]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Backend:
    return backend_or_skip(request.param)


def train(backend: Backend, tmp_path: Path, records: bool = True) -> tuple[dict[str, Any], Any]:
    """Train the model with three custom operations; return its weights and the first event."""
    backend.records = records and backend.records
    file = tmp_path / f"{backend.name}-{records}.npz"
    settings = {"epochs": 2, "batch_size": 8, "seed": 1, "checkpoint": file}
    model = OPS.build(1, (8, 8), 4)
    first, *_ = list(training.events(model, small_data(), backend=backend, **settings))
    return gpucnn.load_model(file, "numpy").state_dict(), first


@pytest.mark.parametrize("name", DEVICES)
def test_custom_operations_train_alike_on_every_backend(name: str, tmp_path: Path) -> None:
    captured, first = train(backend_or_skip(name), tmp_path)
    assert first.eager is None
    eager, _ = train(backend_or_skip(name), tmp_path, records=False)
    wanted, _ = train(gpucnn.get_backend("numpy"), tmp_path)
    assert np.all(wanted["scale.weight"] != 0.5)
    for key, values in wanted.items():
        np.testing.assert_array_equal(captured[key], eager[key])
        np.testing.assert_allclose(captured[key], values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", BACKENDS)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    be = backend_or_skip(name, "float64")
    layers = [OPS.ScaleChannels(2), OPS.Leaky(), OPS.Clamp(0.4)]
    model = nn.Sequential(layers, (2, 5, 7)).to(be)
    rng = np.random.default_rng(0)
    x, grad = rng.normal(size=(3, 2, 5, 7)), rng.normal(size=(3, 2, 5, 7))

    def total(parameters: Any) -> float:
        model.flat_parameters[...] = be.asarray(parameters)
        return float((be.to_numpy(model(be.asarray(x))) * grad).sum())

    start, size = be.to_numpy(model.flat_parameters), 1e-6
    _, saved = model.forward(be.asarray(x), training=True)
    input_grad = be.to_numpy(model.backward(be.asarray(grad), saved, input_grad=True))
    direction = rng.normal(size=x.shape) * size
    moved = [be.to_numpy(model(be.asarray(x + d))) for d in (direction, -direction)]
    slope = ((moved[0] - moved[1]) * grad).sum() / 2
    np.testing.assert_allclose((input_grad * direction).sum(), slope, rtol=1e-5)
    slopes = [
        (total(start + d) - total(start - d)) / 2 / size for d in np.eye(model.flat_size) * size
    ]
    np.testing.assert_allclose(be.to_numpy(model.flat_grads), slopes, rtol=1e-5, atol=1e-7)


def test_a_run_is_saved_resumed_and_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    backend_or_skip("emulated")
    monkeypatch.chdir(tmp_path)
    save_npz("data.npz", small_data())
    shutil.copytree(FOLDER, "mine")
    shutil.move("mine/ops.py", "mine/own.py")  # a module of another name
    common = ["--model", "mine/own.py:build", "--data", "data.npz", "--backend", "emulated"]
    common += ["--batch-size", "16", "--schedule", "constant"]
    for words in (["--epochs", "2", "--out", "long"], ["--epochs", "1", "--out", "short"]):
        assert run(["train", *common, *words]) == 0
    resume = ["--resume", "short", "--epochs", "2", "--model", "mine/own.py:build"]
    assert run(["train", *resume]) == 0
    states = [gpucnn.load_model(name, "numpy").state_dict() for name in ("long", "short")]
    for key, values in states[0].items():
        np.testing.assert_array_equal(values, states[1][key])
    capsys.readouterr()
    assert run(["evaluate", "short", "--data", "data.npz", "--model", "mine/own.py:build"]) == 0
    assert "test accuracy" in capsys.readouterr().out
    shutil.move("mine/ops.cu", "mine/other.cu")
    assert run(["train", *common, "--epochs", "1"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"gpucnn: ScaleChannels: no such file: {tmp_path / 'mine' / 'ops.cu'} (its source)"
    )


def test_copies_and_pickles_have_kernels_of_their_own() -> None:
    be = backend_or_skip("emulated")
    layer = import_file(FOLDER / "ops.py").Leaky(0.5)  # the class that a pickle names
    x = be.asarray(np.float32([[-1, 3]]))
    layer.forward(be, x)
    again = pickle.loads(pickle.dumps(layer))
    assert be.to_numpy(again.forward(be, x)[0]).tolist() == [[-0.5, 3]]
    assert repr(again) == "Leaky(slope=0.5)"


# --- mistakes -----------------------------------------------------------------------------------


def broken(**methods: Any) -> Any:
    """Return an operation like Leaky with other methods or attributes."""
    return type("Broken", (OPS.Leaky,), methods)()


def launching(name: str, *arguments: Any, launch: Any = (1, 64)) -> Callable[..., None]:
    """Return a forward_cuda; text among the arguments names arrays."""

    def forward_cuda(self: Any, kernels: Any, input: Any, output: Any) -> None:
        arrays = {"input": input, "output": output, "host": np.zeros(3)}
        values = [arrays.get(value, value) if isinstance(value, str) else value
                  for value in arguments]  # fmt: skip
        getattr(kernels, name)[launch](*values)

    return forward_cuda


def without_launch(self: Any, kernels: Any, input: Any, output: Any) -> None:
    kernels.leaky(input, output, 6, 1.0)


RIGHT = ("input", "output", 6, 1.0)
ON_DEVICES = {
    "no such kernel": (
        launching("leeky", *RIGHT),
        SettingError,
        r"unknown kernel of ops\.cu 'leeky': did you mean 'leaky'\?",
    ),
    "too few arguments": (
        launching("leaky", "input", "output", 6),
        ArrayError,
        "leaky takes 4 arguments, got 3: x, y, n, slope",
    ),
    "an array of the host": (
        launching("leaky", "host", "output", 6, 1.0),
        ArrayError,
        r"leaky: x must be a .*ndarray, got numpy\.ndarray",
    ),
    "a number for an array": (
        launching("leaky", 3, "output", 6, 1.0),
        ArrayError,
        r"leaky: x must be a .*ndarray, got builtins\.int",
    ),
    "a fraction for an integer": (
        launching("leaky", "input", "output", 6.5, 1.0),
        ArrayError,
        r"leaky: n must be an integer that fits unsigned int, got 6\.5",
    ),
    "a number for a flag": (
        launching("clamped", "input", "output", None, 6, 1.0, 2),
        SettingError,
        "clamped: both must be True or False, got 2",
    ),
    "a grid of 1.5": (
        launching("leaky", *RIGHT, launch=(1.5, 64)),
        SettingError,
        r"leaky: the grid must be 1 to 3 integers of at least 1, got 1\.5",
    ),
    "an empty block": (
        launching("leaky", *RIGHT, launch=(1, (64, 0))),
        SettingError,
        r"leaky: the block must be 1 to 3 integers of at least 1, got \(64, 0\)",
    ),
    "no block": (
        launching("leaky", *RIGHT, launch=1),
        SettingError,
        r"leaky: expected \[grid, block\] or \[grid, block, shared bytes\], got \[1\]",
    ),
    "no launch": (
        without_launch,
        SettingError,
        r"leaky needs a grid and a block: launch it as kernels\.leaky\[blocks, threads\]\(\.\.\.\)",
    ),
    "a block that is too large": (
        launching("leaky", *RIGHT, launch=(1, (64, 32))),
        SettingError,
        r"leaky: a block of \(64, 32\) has 2048 threads, more than the limit of a GPU, 1024",
    ),
    "more threads than the launch bounds": (
        launching("clamped", "input", "output", None, 6, 1.0, True, launch=(1, 512)),
        SettingError,
        r"clamped: a block of \(512,\) has 512 threads, more than its __launch_bounds__, 256",
    ),
    "negative shared memory": (
        launching("leaky", *RIGHT, launch=(1, 64, -4)),
        SettingError,
        "leaky: shared memory must be a number of bytes, got -4",
    ),
    "not all is written": (
        launching("leaky", "input", "output", 4, 1.0),
        SettingError,
        r"Broken\.forward_cuda did not write output: 2 of 6 elements are unset, the first at "
        r"\[1, 1\]",
    ),
    "an exception": (
        lambda self, kernels, input, output: output.shpae,
        SettingError,
        r"Broken\.forward_cuda failed at test_custom\.py:\d+: AttributeError: .* 'shpae'",
    ),
    "an unknown argument": (
        lambda self, kernels, x, output: None,
        SettingError,
        r"Broken\.forward_cuda takes 'x': arguments are passed by name; expected some of input, "
        "output",
    ),
    "no arguments": (
        lambda self: None,
        SettingError,
        r"Broken\.forward_cuda takes no arguments: its first must be kernels",
    ),
}


@pytest.mark.parametrize("mistake", ON_DEVICES)
def test_a_mistake_in_a_launch_is_reported(mistake: str, device: Backend) -> None:
    method, error, message = ON_DEVICES[mistake]
    x = device.asarray(np.ones((2, 3), np.float32))
    with pytest.raises(error, match=f"^{message}$"):
        broken(forward_cuda=method).forward(device, x)


def test_a_backward_that_writes_nothing_is_reported(device: Backend) -> None:
    x = device.asarray(np.ones((2, 3), np.float32))
    layer = broken(backward_cuda=lambda self, kernels, grad: None)
    _, saved = layer.forward(device, x, training=nn.TrainingPass(0))
    message = "Broken.backward_cuda did not write input_grad: 6 of 6 elements are unset, the first"
    with pytest.raises(SettingError, match=f"^{re.escape(message)}"):
        layer.backward(device, x, saved)
    scale = type("Scale", (OPS.ScaleChannels,), {
        "backward_cuda": lambda self, kernels, grad, weight, input_grad:
            self.scale(kernels, grad, weight, input_grad)
    })(3)  # fmt: skip
    model = nn.Sequential([scale], (3, 1, 1)).to(device)
    _, saved_by_model = model.forward(device.asarray(np.ones((2, 3, 1, 1), "f4")), training=True)
    grad = device.asarray(np.ones((2, 3, 1, 1), np.float32))
    with pytest.raises(
        SettingError, match=r"^Scale\.backward_cuda did not write weight_grad: 3 of"
    ):
        model.backward(grad, saved_by_model)


def test_a_float_kernel_in_float64_names_real(device: Backend) -> None:
    be = backend_or_skip(device.name, "float64")
    x = be.zeros((3,))
    layer = broken(forward_cuda=lambda self, kernels, output: kernels.only_float[1, 32](output, 3))
    message = "only_float: x must be float32, got float64; declare it as real, which is double here"
    with pytest.raises(ArrayError, match=f"^{message}, in the kernel$"):
        layer.forward(be, x)


ON_NUMPY = {
    "no forward": ({"forward_numpy": None}, SettingError, "Broken has no forward_numpy, the"),
    "None": (
        {"forward_numpy": lambda self, input: None},
        ArrayError,
        r"Broken\.forward_numpy returned None for output, expected a numpy\.ndarray",
    ),
    "another shape": (
        {"forward_numpy": lambda self, input: input[:, :1]},
        ShapeError,
        r"Broken\.forward_numpy returned output of shape \(2, 1\), expected \(2, 3\)",
    ),
    "complex numbers": (
        {"forward_numpy": lambda self, input: input + 1j},
        ArrayError,
        r"Broken\.forward_numpy returned output of complex\d+, expected real numbers",
    ),
    "saved is not returned": (
        {"backward_numpy": lambda self, grad, saved: grad},
        SettingError,
        r"Broken\.forward_numpy must return \(output, saved\), because backward_numpy takes saved; "
        "got ndarray",
    ),
    "an exception": (
        {"forward_numpy": lambda self, input: input @ input},
        SettingError,
        r"Broken\.forward_numpy failed at test_custom\.py:\d+: ValueError: matmul: .*",
    ),
    "a list of arguments": (
        {"forward_numpy": lambda self, *arrays: arrays[0]},
        SettingError,
        r"Broken\.forward_numpy takes '\*arrays': arguments are passed by name; expected some of "
        "input",
    ),
}


@pytest.mark.parametrize("mistake", ON_NUMPY)
def test_a_mistake_in_a_numpy_function_is_reported(mistake: str) -> None:
    methods, error, message = ON_NUMPY[mistake]
    with pytest.raises(error, match=f"^{message}"):
        broken(**methods).forward(gpucnn.get_backend("numpy"), np.ones((2, 3), np.float32))


def test_gradients_of_weights_must_all_be_returned() -> None:
    scale = type("Scale", (OPS.ScaleChannels,), {"backward_numpy": lambda self, grad: grad})(3)
    model = nn.Sequential([scale], (3, 1, 1))
    _, saved = model.forward(np.ones((2, 3, 1, 1), np.float32), training=True)
    message = r"^Scale\.backward_numpy must return \(input_grad, weight_grad\), got ndarray$"
    with pytest.raises(SettingError, match=message):
        model.backward(np.ones((2, 3, 1, 1), np.float32), saved)


def test_what_an_operation_lacks_is_named(device: Backend) -> None:
    numpy_only = type("Half", (nn.CustomOp,), {"forward_numpy": lambda self, input: input / 2})()
    x = np.ones((1, 2), np.float32)
    assert numpy_only.forward(gpucnn.get_backend("numpy"), x)[0].tolist() == [[0.5, 0.5]]
    with pytest.raises(SettingError, match=r'^Half has no CUDA C: set source = "FILE\.cu"'):
        numpy_only.forward(device, device.asarray(x))
    no_cuda = type("Half", (nn.CustomOp,), {"source": "ops.cu", "__module__": OPS.__name__})()
    with pytest.raises(SettingError, match=r"^Half has no forward_cuda, the forward pass on the"):
        no_cuda.forward(device, device.asarray(x))


@pytest.mark.parametrize("name", ["input", "grad", "weight_grad", "my weight"])
def test_names_of_parameters_are_those_of_no_other_argument(name: str) -> None:
    with pytest.raises(SettingError, match=f"^Leaky: a parameter cannot be called '{name}'"):
        OPS.Leaky().register_parameter(name, nn.Parameter((1,)))
    with pytest.raises(SettingError, match=r"weight must be a gpucnn\.nn\.Parameter, got 0\.5"):
        OPS.Leaky().register_parameter("weight", 0.5)


def test_a_first_layer_without_parameters_needs_no_backward() -> None:
    half = type("Half", (nn.CustomOp,), {"forward_numpy": lambda self, input: input / 2})
    x = np.ones((2, 1, 1, 3), np.float32)
    for layers in ([half(), nn.Flatten(), nn.Linear(3, 2)], [nn.Conv2d(1, 1, 1), half()]):
        model = nn.Sequential(layers, (1, 1, 3))
        y, saved = model.forward(x, training=True)
        if isinstance(layers[0], half):
            model.backward(np.ones_like(y), saved)
            assert np.abs(model.flat_grads).max() > 0
            continue
        with pytest.raises(
            SettingError, match=r"^Half has no backward_numpy, the backward pass on"
        ):
            model.backward(np.ones_like(y), saved)


def wrong_shapes(shape: Any) -> Any:
    return {"fails": lambda self, shape: shape[5], "empty": lambda self, shape: (3, 0, 2),
            "negative": lambda self, shape: (-1,), "no sizes": lambda self, shape: None,
            "fractions": lambda self, shape: (1, 2.5)}[shape]  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("fails", "output_shape failed: IndexError: tuple index out of range"),
        ("empty", r"output_shape is \(3, 0, 2\), expected sizes of at least 1"),
        ("negative", r"output_shape is \(-1,\), expected sizes of at least 1"),
        ("no sizes", "output_shape failed: TypeError: "),
        ("fractions", "output_shape failed: TypeError: 'float' object cannot be interpreted"),
    ],
)
def test_a_wrong_output_shape_is_one_line(shape: str, message: str) -> None:
    layer = broken(output_shape=wrong_shapes(shape))
    with pytest.raises(
        ShapeError, match=rf"^layer '0' \(Broken\) with input \(1, 2, 3\): {message}"
    ):
        nn.Sequential([layer], (1, 2, 3))


# --- sources ------------------------------------------------------------------------------------


def parameters(text: str) -> tuple[Parameter, ...]:
    found = read_kernels("f.cu", f'extern "C" __global__ void f({text}) {{}}')["f"]
    assert isinstance(found, Signature), found
    return found.parameters


@pytest.mark.parametrize(
    ("text", "c_type"),
    [
        ("const float *x", "float"),
        ("float const* __restrict__ x", "float"),
        ("const volatile real* const x", "real"),
        ("double x[]", "double"),
        ("unsigned x", "unsigned"),
        ("unsigned int* x", "unsigned int"),
        ("int unsigned x", "unsigned int"),
        ("long long int x", "long long"),
        ("long unsigned long* x", "unsigned long long"),
        ("short int x", "short"),
        ("const bool* x", "bool"),
        ("size_t x", "size_t"),
        ("uint8_t* x", "uint8_t"),
        ("real* NULLABLE x", "real"),
    ],
)
def test_parameters_have_the_types_of_c(text: str, c_type: str) -> None:
    is_array = "*" in text or "[" in text
    assert parameters(text) == (Parameter("x", c_type, is_array, nullable=is_array),)


@pytest.mark.parametrize("text", ["float** x", "half* x", "float& x", "Sizes sizes", "float4* x"])
def test_other_parameters_are_refused(text: str) -> None:
    found = read_kernels("f.cu", f'extern "C" __global__ void f({text}) {{}}')["f"]
    assert str(found).startswith(
        f"f.cu: kernel f has a parameter `{text}`; a parameter is an array"
    )


def test_kernels_are_found_in_every_form() -> None:
    text = """
    // extern "C" __global__ void commented_out(int n) {}
    extern "C" __global__ void none() {}
    extern "C" __global__ void __launch_bounds__(THREADS * (2 + 1), 2) product(int n);
    extern "C" __global__ __launch_bounds__(128) void before(int n);
    __global__ void mangled(int n) {}
    """
    found = read_kernels("f.cu", text)
    threads = {k: v.threads for k, v in found.items() if isinstance(v, Signature)}
    assert threads == {"none": 0, "product": 0, "before": 128}
    assert found["mangled"] == (
        'f.cu: kernel mangled must begin with extern "C" __global__ void, as CuPy finds kernels by '
        "their C names"
    )
    block = read_kernels("f.cu", 'extern "C" {\n__global__ void inside(float* x) {}\n}')
    assert list(block) == ["inside"]
    assert isinstance(block["inside"], Signature)


def test_headers_are_found_next_to_the_source_and_in_kernels(tmp_path: Path) -> None:
    (tmp_path / "own.h").write_text('#include "common.cuh"\nint own;\n')
    text = '\n#include "own.h"\n#include "own.h"  // again\n#include "theirs.h"\nint after;\n'
    lines = expand(KernelSource("f.cu", text, tmp_path)).splitlines()
    assert lines[:4] == ['#line 1 "f.cu"', "", '#line 1 "own.h"', '#line 1 "kernels/common.cuh"']
    assert lines.count("int own;") == 1
    assert lines[-3:] == ['#line 4 "f.cu"', '#include "theirs.h"', "int after;"]


def test_errors_of_the_compiler_name_file_and_line(device: Backend) -> None:
    text = '\nextern "C" __global__ void f(int n) {\n    undeclared = n;\n}\n'
    with pytest.raises(GpucnnError, match=r"^f\.cu:3: (error: )?.*undeclared"):
        device.load_kernels(KernelSource("f.cu", text, Path())).f[1, 1](3)
    with pytest.raises(BackendError, match=r"^empty\.cu defines no kernel"):
        device.load_kernels(KernelSource("empty.cu", "int x;\n", Path()))
