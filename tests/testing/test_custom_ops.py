"""``gpucnn check FILE.py:CLASS`` and ``check_op`` find the faults of a user's operation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from available import backend_or_skip

from gpucnn.backends.cuda.probe import driver_version
from gpucnn.cli import run
from gpucnn.testing.assertions import check_op
from gpucnn.testing.custom import cases_of, load_op
from gpucnn.testing.template import write_op

Capture = pytest.CaptureFixture[str]
OPS = Path(__file__).parents[1] / "nn" / "custom" / "ops.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of ``gpucnn new-op``."""
    folder = tmp_path_factory.mktemp("ops")
    write_op("leaky", folder)
    return folder


@pytest.mark.parametrize("name", ["Leaky", "Clamp", "ScaleChannels"])
def test_correct_operations_pass(name: str) -> None:
    backend_or_skip("emulated")
    check_op(load_op(f"{OPS}:{name}"))


def test_every_kind_of_input_and_size_is_tried(folder: Path) -> None:
    op = load_op(f"{folder}/leaky.py:Leaky")
    cases = cases_of(op)
    arrays = [case.arrays()["input"] for case in cases]
    assert {len(array) for array in arrays} == {1, 3}
    sizes = {array[0].size for array in arrays}
    assert {1, 63, 255, 256, 257, 1025} <= sizes
    every = np.concatenate([array.reshape(-1) for array in arrays])
    assert np.isnan(every).any()
    assert np.isposinf(every).any()
    assert np.isneginf(every).any()
    assert (every == 0).any()
    assert np.nanmax(np.abs(every[np.isfinite(every)])) > 1e4
    special = type("Plain", (op,), {"special_values": False})
    assert all(np.isfinite(case.arrays()["input"]).all() for case in cases_of(special))


def test_without_a_gpu_the_kernels_run_in_the_emulator(folder: Path, capsys: Capture) -> None:
    backend_or_skip("emulated")
    if driver_version() is not None:
        pytest.skip("there is a GPU")
    assert run(["check", f"{folder}/leaky.py:Leaky"]) == 0
    assert "emulated backend" in capsys.readouterr().out


def test_a_file_without_a_class(folder: Path, capsys: Capture) -> None:
    assert run(["check", f"{folder}/leaky.py"]) == 2
    assert "leaky.py:Leaky" in capsys.readouterr().err


PYTHON, CUDA, LINE = "leaky.py", "leaky.cu", "if (i < n) y[i] = x[i] > 0 ? x[i] : slope * x[i];"
FAULTS = {
    "no bounds check": (
        CUDA,
        LINE,
        LINE.removeprefix("if (i < n) "),
        r"leaky_forward: out of bounds: .* at leaky\.cu:8",
    ),
    "NaN becomes a number": (
        CUDA,
        LINE,
        LINE.replace("slope * x[i]", "x[i] <= 0 ? slope * x[i] : 0"),
        r"output\[.*\] is 0, expected nan",
    ),
    "a backward of the wrong sign at zero": (
        CUDA,
        "dx[i] = x[i] > 0",
        "dx[i] = x[i] >= 0",
        r"input\[.* is .*, expected ",
    ),
    "one element is not written": (
        CUDA,
        LINE,
        LINE.replace("i < n", "i < n - 1"),
        r"forward_cuda did not write output: 1 of 315 elements are unset, the first at \[2, 2,",
    ),
    "NumPy differs from the loops": (
        PYTHON,
        "np.where(input > 0, input,",
        "np.where(input >= -0.1, input,",
        r"forward_numpy: output\[.* is .*, expected ",
    ),
    "the gradient of the loops": (
        PYTHON,
        "else self.slope * grad[index]",
        "else grad[index]",
        r"backward_numpy: input\[|backward_naive: the gradient of input, along a random direction,",
    ),
    "all gradients": (
        PYTHON,
        r"self.slope * grad",
        r"2 * self.slope * grad",
        r"backward_naive: the gradient of input, along a random direction, is .*, expected ",
    ),
    "single precision": (
        CUDA,
        LINE,
        LINE.replace("slope * x[i]", "(float)(slope * x[i])"),
        r"output\[.* is .*, expected ",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str, folder: Path, tmp_path: Path) -> None:
    backend_or_skip("emulated")
    file, old, new, message = FAULTS[fault]
    for path in folder.glob("leaky.*"):
        text = path.read_text()
        if path.name == file:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / path.name).write_text(text)
    dtype = "float64" if fault == "single precision" else "float32"
    with pytest.raises(AssertionError, match=message):
        check_op(load_op(f"{tmp_path}/leaky.py:Leaky"), "emulated", dtype)


def test_a_failure_has_a_line_that_repeats_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    backend_or_skip("emulated")
    monkeypatch.chdir(tmp_path)
    text = (folder / "leaky.cu").read_text()
    (tmp_path / "leaky.cu").write_text(text.replace("slope * dy[i]", "dy[i]"))
    (tmp_path / "leaky.py").write_text((folder / "leaky.py").read_text())
    command = ["check", "leaky.py:Leaky", "--backend", "emulated"]
    assert run(command) == 1
    line = next(x for x in capsys.readouterr().out.splitlines() if "import run" in x)
    with pytest.raises(
        AssertionError, match=r"leaky\.py:Leaky_backward \[Leaky\(\) normal 3x3x5x7\]"
    ):
        exec(line.strip(), {})
    (tmp_path / "leaky.cu").write_text(text)
    assert run([*command, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["operations"]
    assert (found["operation"], found["ok"]) == ("leaky.py:Leaky", True)


LAYER = "from gpucnn import nn\n\nclass Half(nn.CustomOp):\n    "
MISTAKES = {
    "no such class": (
        LAYER + "pass",
        "Haf",
        "unknown operation in own.py 'Haf': did you mean 'Half'",
    ),
    "no operation": (
        "Half = 3",
        "Half",
        "own.py:Half is not a class derived from gpucnn.nn.CustomOp",
    ),
    "nothing at all": ("", "Half", "own.py defines no class derived from gpucnn.nn.CustomOp"),
    "nothing to compare with": (
        LAYER + "pass",
        "Half",
        "Half has neither forward_naive nor forward_numpy to compare the kernels with",
    ),
    "arguments": (
        LAYER + "def __init__(self, factor): pass",
        "Half",
        "define a static method examples() of Half that yields pairs of an instance and the shape",
    ),
    "no shape": (
        LAYER + "def output_shape(self, shape): a, b, c, d = shape",
        "Half",
        "Half takes none of the shapes",
    ),
    "examples of another kind": (
        LAYER + "@staticmethod\n    def examples(): return [Half()]",
        "Half",
        "Half.examples returned Half(): define a static method examples()",
    ),
    "an error in the reference": (
        LAYER + "def forward_naive(self, input): return input.shpae",
        "Half",
        "Half.forward_naive failed at own.py:4: AttributeError: 'numpy.ndarray' object has no",
    ),
    "no file": (None, "Half", "no such file: own.py"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    text, name, message = MISTAKES[mistake]
    if text is not None:
        (tmp_path / "own.py").write_text(text + "\n")
    assert run(["check", f"own.py:{name}", "--backend", "numpy"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
