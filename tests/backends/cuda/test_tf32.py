"""Products in TF32, in the emulator: all but the instruction itself, and where they are taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from available import BACKENDS, backend_or_skip
from cases import CONVOLUTIONS, LINEAR, TRANSPOSED_CONVOLUTIONS
from numpy.typing import NDArray
from rows import Case, backward, forward, reference, saved_arguments, to_backend, to_numpy
from small import save_npz, small_data, small_model
from tolerance import assert_close

from gpucnn import training
from gpucnn.backends import Backend, get_backend
from gpucnn.backends.cuda import CudaBackend
from gpucnn.backends.cuda.loader import Kernels
from gpucnn.backends.cuda.probe import driver_version
from gpucnn.cli.main import run as command
from gpucnn.errors import CheckpointError, SettingError
from gpucnn.machine.check import ROUNDED, check
from gpucnn.training.checkpoint import load, save
from gpucnn.training.event_types import Event

ROWS = [*CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS, *LINEAR]


def tf32(variant: str = "auto", name: str = "emulated") -> Any:
    backend_or_skip(name)
    backend: Any = get_backend(name, precision="tf32")
    backend.variant = variant
    return backend


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "numpy"])
@pytest.mark.parametrize("variant", ["small", "large"])
@pytest.mark.parametrize("case", ROWS, ids=str)
def test_rows_of_the_table(case: Case, variant: str, name: str) -> None:
    backend, known = tf32(variant, name), reference(case)
    found = [(forward(backend, case, to_backend(backend, case.arrays())), known.results)]
    if case.has_backward:
        found.append((backward(backend, case, saved_arguments(backend, case)), known.grads))
    for actual, wanted in found:
        assert actual.keys() == wanted.keys()
        for result, value in to_numpy(backend, actual).items():
            assert_close(value, wanted[result], length=case.length, what=result, precision="tf32")


@pytest.mark.parametrize("order", ["reverse", "random"])
@pytest.mark.parametrize(
    "case", [c for c in ROWS if c.name in ("all options", "more features than a tile")], ids=str
)
def test_kernels_are_free_of_faults(case: Case, order: str) -> None:
    from gpucnn import emulator

    backend, known = tf32("large"), reference(case)
    with emulator.checking(order=order):
        grads = to_numpy(backend, backward(backend, case, saved_arguments(backend, case)))
        results = to_numpy(backend, forward(backend, case, to_backend(backend, case.arrays())))
    for actual, wanted in ((results, known.results), (grads, known.grads)):
        for name, value in actual.items():
            assert_close(value, wanted[name], length=case.length, what=name, precision="tf32")


# --- what is rounded, and how -------------------------------------------------------------------

SHAPES = {"input": (2, 40, 9, 8), "weight": (70, 40, 3, 3), "bias": (70,)}


def products(backend: Backend, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return a convolution and its gradients, and a linear layer and its."""
    x, w, b = (backend.asarray(arrays[name]) for name in ("input", "weight", "bias"))
    y = backend.conv2d(x, w, b, padding=1)
    grads = backend.conv2d_backward(y, x, w, padding=1)
    lines, matrix = x.reshape((80, 72)), w.reshape((350, 72))
    z = backend.linear(lines, matrix)
    more = backend.linear_backward(z, lines, matrix)
    named = zip(
        ["y", "input", "weight", "bias", "z", "lines", "matrix", "last"],
        (y, *grads, z, *more),
        strict=True,
    )
    return {name: backend.to_numpy(array) for name, array in named}


def rounded(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the nearest TF32 numbers, of two the one away from zero."""
    bits = array.view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "numpy"])
@pytest.mark.parametrize("variant", ["small", "large"])
def test_small_integers_are_exact(variant: str, name: str) -> None:
    rng = np.random.default_rng(1)
    arrays = {name: rng.integers(-2, 3, shape).astype(np.float32) for name, shape in SHAPES.items()}
    # What goes into the backward must be exact in TF32, too: at most 2048.
    assert np.abs(products(get_backend("numpy", "float64"), arrays)["y"]).max() < 2048
    wanted = products(get_backend("numpy", "float64"), arrays)
    for result, found in products(tf32(variant, name), arrays).items():
        np.testing.assert_array_equal(found, wanted[result], err_msg=result)


def test_the_precision_is_taken_and_no_other() -> None:
    """TF32 is not float32, but what float64 makes of operands that were rounded before."""
    rng = np.random.default_rng(2)
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    x, w, b = arrays.values()
    plain = get_backend("emulated")
    for backend, exact in ((tf32("large"), rounded), (plain, np.asarray)):
        wide = get_backend("numpy", "float64")
        wanted = wide.conv2d(*(wide.asarray(a, np.float64) for a in (exact(x), exact(w), b)))
        args = [backend.asarray(a) for a in (x, w, b)]
        assert_close(backend.to_numpy(backend.conv2d(*args)), wanted, length=360)
    theirs, ours = products(plain, arrays), products(tf32("large"), arrays)
    for name, found in ours.items():
        error = np.abs(found - theirs[name]).max() / np.abs(theirs[name]).max()
        assert 1e-5 < error < 1e-2, name


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3.4e38, 1 + 2.0**-11, -1 - 2.0**-11])
def test_what_rounding_does_to_a_number(value: float) -> None:
    """Ties go away from zero, NaN and infinities stay what they are."""
    backend = tf32("small")
    one = backend.asarray(np.float32([[1]]))
    found = backend.to_numpy(backend.linear(backend.asarray(np.float32([[value]])), one)).item()
    if np.isnan(value):
        assert np.isnan(found)
    else:
        assert found == rounded(np.float32([value])).item()


def test_small_products_keep_their_operands() -> None:
    rng = np.random.default_rng(3)
    x, w = rng.normal(size=(2, 1, 12, 12)), rng.normal(size=(6, 1, 5, 5))
    results = []
    for backend in (tf32(), get_backend("emulated")):
        y = backend.conv2d(backend.asarray(x), backend.asarray(w))
        results.append(backend.to_numpy(y).tobytes())
    assert results[0] == results[1]


# --- where there is such a precision ------------------------------------------------------------


def test_a_precision_is_for_float32_and_for_kernels() -> None:
    with pytest.raises(SettingError, match=r"^precision tf32 is for float32, not float64$"):
        get_backend("emulated", "float64", precision="tf32")
    with pytest.raises(SettingError, match="backends cuda and emulated, not for numpy"):
        get_backend("numpy", precision="tf32")
    with pytest.raises(SettingError, match=r"^unknown precision 'tf3': did you mean 'tf32'\?$"):
        get_backend("numpy", precision="tf3")
    assert get_backend("numpy").precision == "ieee"
    assert repr(tf32()) == "<emulated backend, float32, tf32>"


def test_auto_does_not_turn_into_another_precision() -> None:
    if driver_version() is not None:
        pytest.skip("there may be a GPU that has it")
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


def test_a_run_says_its_precision_and_keeps_it(tmp_path: Path) -> None:
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
    assert "--precision was 'tf32' when r began, now 'ieee'" in capsys.readouterr().err
    assert command(["evaluate", "r", "--data", "small.npz", *tf32_run]) == 0
    for wrong in (["numpy", "tf32"], ["emulated", "tf23"]):
        options = ["--backend", wrong[0], "--precision", wrong[1]]
        assert command(["evaluate", "r", "--data", "small.npz", *options]) == 2
        assert command(["check", *options]) == 2
        assert "precision" in capsys.readouterr().err


def test_the_check_in_tf32(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every product is taken in TF32, and a hundredth more than that rounds is found."""
    backend_or_skip("emulated")
    taken: list[str] = []
    launch = Kernels.launch

    def noted(kernels: Kernels, name: str, *rest: Any) -> None:
        taken.append(name)
        launch(kernels, name, *rest)

    monkeypatch.setattr(Kernels, "launch", noted)
    assert command(["check", "--backend", "emulated", "--precision", "tf32"]) == 0
    assert "emulated backend, float32, tf32, errors" in capsys.readouterr().out
    products = [name for name in taken if name.startswith(("conv2d_", "linear_"))]
    assert len({name.rsplit("_", 1)[0] for name in products}) == 6
    assert all("_tf32_" in name for name in products)
    results = {result.op: result.error for result in check(tf32())}
    rounded = [op for op in results if op.split("_back")[0] in ROUNDED]
    assert len(rounded) == 6
    assert all(0.001 < results[op] < 0.5 for op in rounded)
