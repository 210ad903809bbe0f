"""Matrix products in TF32: everything but the tensor cores' instruction, which needs a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from available import BACKENDS, backend_or_skip, cases_for
from numpy.typing import NDArray
from small import save_npz, small_data, small_model

from gpucnn import training
from gpucnn.backends import Backend, get_backend
from gpucnn.backends.cuda import CudaBackend
from gpucnn.backends.cuda.probe import driver_version
from gpucnn.cli.main import run as command
from gpucnn.errors import CheckpointError, SettingError
from gpucnn.testing.case import (
    Case,
    backward,
    forward,
    reference,
    saved_arguments,
    to_backend,
    to_numpy,
)
from gpucnn.testing.cases import CONVOLUTIONS, LINEAR, TRANSPOSED_CONVOLUTIONS
from gpucnn.testing.comparison import assert_close
from gpucnn.training.event_types import Event
from gpucnn.training.files.checkpoint import load, save

KERNEL_BACKENDS = [name for name in BACKENDS if name != "numpy"]
CASES = [*CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS, *LINEAR]
ROWS = [case for case in CASES if case.tested.is_product]


def tf32(variant: str = "auto", name: str = "emulated") -> Any:
    backend_or_skip(name)
    backend: Any = get_backend(name, precision="tf32")
    backend.variant = variant
    return backend


@pytest.mark.parametrize(
    ("case", "name"),
    [(case, name) for name in KERNEL_BACKENDS for case in cases_for(name, ROWS)],
    ids=str,
)
@pytest.mark.parametrize("variant", ["small", "large"])
def test_rows_of_the_table(case: Case, variant: str, name: str) -> None:
    check_row(tf32(variant, name), case)


def check_row(backend: Backend, case: Case) -> None:
    """Compare a row's results and gradients with the reference, within TF32's tolerance."""
    expected = reference(case)
    pairs = [(forward(backend, case, to_backend(backend, case.arrays())), expected.results)]
    if case.has_backward:
        pairs.append((backward(backend, case, saved_arguments(backend, case)), expected.grads))
    for actual, wanted in pairs:
        assert actual.keys() == wanted.keys()
        for name, value in to_numpy(backend, actual).items():
            assert_close(value, wanted[name], terms=case.terms, what=name, precision="tf32")


# --- rounding of the operands -------------------------------------------------------------------

CHANNELS = 16
TERMS = CHANNELS * 9  # of the convolution's sums
SHAPES = {"input": (2, CHANNELS, 9, 8), "weight": (70, CHANNELS, 3, 3), "bias": (70,)}
"""The results are larger than a tile of 64x64, and the sums take several steps."""


def products(backend: Backend, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the results of every matrix product: a convolution, a linear layer, their gradients.

    The linear layer multiplies the same numbers, as matrices (96, 24) and (420, 24).
    """
    x, w, b = (backend.asarray(arrays[name]) for name in ("input", "weight", "bias"))
    y = backend.conv2d(x, w, b, padding=1)
    conv_grads = backend.conv2d_backward(y, x, w, padding=1)
    rows, matrix = x.reshape((96, 24)), w.reshape((420, 24))
    z = backend.linear(rows, matrix)
    linear_grads = backend.linear_backward(z, rows, matrix)
    names = ("conv", "conv input", "conv weight", "conv bias")
    names += ("linear", "linear input", "linear weight", "linear bias")
    results = (y, *conv_grads, z, *linear_grads)
    return {n: backend.to_numpy(array) for n, array in zip(names, results, strict=True)}


def rounded(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the nearest TF32 numbers; ties go away from zero."""
    bits = array.view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


@pytest.mark.parametrize("name", KERNEL_BACKENDS)
@pytest.mark.parametrize("variant", ["small", "large"])
def test_small_integers_are_exact(variant: str, name: str) -> None:
    rng = np.random.default_rng(1)
    arrays = {name: rng.integers(-2, 3, shape).astype(np.float32) for name, shape in SHAPES.items()}
    wanted = products(get_backend("numpy", "float64"), arrays)
    # The outputs are operands of the gradients, and TF32 has all integers up to 2048.
    assert all(np.abs(wanted[name]).max() < 2048 for name in ("conv", "linear"))
    for result, found in products(tf32(variant, name), arrays).items():
        np.testing.assert_array_equal(found, wanted[result], err_msg=result)


def test_products_have_the_precision_that_was_asked_for() -> None:
    """TF32 gives float64's result for rounded operands, and IEEE that for the operands."""
    rng = np.random.default_rng(2)
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    x, w, b = arrays.values()
    plain, wide = get_backend("emulated"), get_backend("numpy", "float64")
    for backend, operand in ((tf32("large"), rounded), (plain, np.asarray)):
        wanted = wide.conv2d(*(wide.asarray(a, np.float64) for a in (operand(x), operand(w), b)))
        args = [backend.asarray(a) for a in (x, w, b)]
        assert_close(backend.to_numpy(backend.conv2d(*args)), wanted, terms=TERMS)
    exact, found = products(plain, arrays), products(tf32("large"), arrays)
    for name, value in found.items():
        error = np.abs(value - exact[name]).max() / np.abs(exact[name]).max()
        assert 1e-5 < error < 1e-2, name


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3.4e38, 1 + 2.0**-11, -1 - 2.0**-11])
def test_rounding_of_a_number(value: float) -> None:
    """Ties go away from zero; NaN and infinity are kept."""
    backend = tf32("small")
    one = backend.asarray(np.float32([[1]]))
    found = backend.to_numpy(backend.linear(backend.asarray(np.float32([[value]])), one)).item()
    if np.isnan(value):
        assert np.isnan(found)
    else:
        assert found == rounded(np.float32([value])).item()


def test_small_products_are_not_rounded() -> None:
    rng = np.random.default_rng(3)
    x, w = rng.normal(size=(2, 1, 12, 12)), rng.normal(size=(6, 1, 5, 5))
    results = []
    for backend in (tf32(), get_backend("emulated")):
        y = backend.conv2d(backend.asarray(x), backend.asarray(w))
        results.append(backend.to_numpy(y).tobytes())
    assert results[0] == results[1]


# --- backends that have the precision -----------------------------------------------------------


def test_tf32_is_for_float32_and_for_kernels() -> None:
    with pytest.raises(SettingError, match=r"^precision tf32 is for float32, not float64$"):
        get_backend("emulated", "float64", precision="tf32")
    with pytest.raises(SettingError, match="backends cuda and emulated, not for numpy"):
        get_backend("numpy", precision="tf32")
    with pytest.raises(SettingError, match=r"^unknown precision 'tf3': did you mean 'tf32'\?$"):
        get_backend("numpy", precision="tf3")
    assert get_backend("numpy").precision == "ieee"
    assert repr(tf32()) == "<emulated backend, float32, tf32>"


def test_auto_does_not_fall_back_to_another_precision() -> None:
    if driver_version() is not None:
        pytest.skip("this machine may have a GPU that supports TF32")
    with pytest.raises(SettingError, match="tf32"):
        get_backend("auto", precision="tf32")


@pytest.mark.parametrize(("capability", "good"), [("75", False), ("80", True), ("120", True)])
def test_a_gpu_without_tensor_cores_for_it_is_refused(
    capability: str, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend_or_skip("emulated")
    from gpucnn import emulator

    monkeypatch.setattr(emulator.cuda.Device, "compute_capability", capability, raising=False)
    if good:
        CudaBackend(emulator, precision="tf32")
    else:
        with pytest.raises(SettingError, match=r"8\.0 or later; this one has 7\.5"):
            CudaBackend(emulator, precision="tf32")
    CudaBackend(emulator)


# --- in a run -----------------------------------------------------------------------------------


def test_a_run_keeps_its_precision(tmp_path: Path) -> None:
    file = tmp_path / "run.npz"
    options: dict[str, Any] = {"batch_size": 32, "epochs": 1, "checkpoint": file}

    def start(precision: str, **more: Any) -> Event:
        backend = get_backend("emulated", precision=precision)
        run = training.events(small_model(), small_data(), backend=backend, **options, **more)
        return next(iter(run))

    backend_or_skip("emulated")
    for precision, other in (("tf32", "ieee"), ("ieee", "tf32")):
        for _ in training.events(
            small_model(), small_data(), backend=get_backend("emulated", precision=precision),
            **options,
        ):  # fmt: skip
            pass
        assert load(file).metadata["precision"] == precision
        assert start(precision, resume=load(file)).as_dict()["precision"] == precision
        message = f"of another run: precision was '{precision}', now '{other}'$"
        with pytest.raises(CheckpointError, match=message):
            start(other, resume=load(file))
    before = load(file)  # as it was written when there was only one precision
    del before.metadata["precision"]
    save(file, before)
    start("ieee", resume=file)
    save(file, before)
    with pytest.raises(CheckpointError, match="precision was 'ieee', now 'tf32'"):
        start("tf32", resume=file)


def test_the_command_has_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    backend_or_skip("emulated")
    monkeypatch.chdir(tmp_path)
    save_npz("small.npz", small_data())
    tf32_run = ["--backend", "emulated", "--precision", "tf32"]
    train = ["train", "--data", "small.npz", "--model", "mlp", "--epochs", "1", "--out", "r"]
    assert command([*train, *tf32_run]) == 0
    assert "70 images, emulated backend, tf32" in capsys.readouterr().out
    assert command(["train", "--resume", "r"]) == 0
    assert command(["train", "--resume", "r", "--precision", "ieee"]) == 2
    message = "--precision must be as in the run that is resumed: 'tf32', got 'ieee'"
    assert message in capsys.readouterr().err
    assert command(["evaluate", "r", "--data", "small.npz", *tf32_run]) == 0
    for wrong in (["numpy", "tf32"], ["emulated", "tf23"]):
        options = ["--backend", wrong[0], "--precision", wrong[1]]
        assert command(["evaluate", "r", "--data", "small.npz", *options]) == 2
        assert command(["check", *options]) == 2
        assert "precision" in capsys.readouterr().err
