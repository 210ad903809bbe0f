"""The kernels as a whole: in the emulator's check mode, in training, and in ``gpucnn check``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from available import BACKENDS, backend_or_skip
from small import blobs, small_data, small_model

import gpucnn
from gpucnn import models, training
from gpucnn.backends.contract.operations import operation
from gpucnn.backends.cuda import loader, sources
from gpucnn.cli.main import run as command
from gpucnn.data import Data
from gpucnn.machine import check
from gpucnn.testing.case import (
    Case,
    array_arguments,
    assert_results,
    backward,
    forward,
    reference,
    saved_arguments,
    to_backend,
    to_numpy,
)
from gpucnn.testing.cases import CASES
from gpucnn.training.event_types import StepEnded

OTHERS = [name for name in BACKENDS if name != "numpy"]
SMALL = [
    case for case in CASES if sum(array.size for array in case.arrays().values()) <= 3000
]  # check mode is slow


@pytest.fixture(scope="module")
def emulator() -> Any:
    backend_or_skip("emulated")
    from gpucnn import emulator

    return emulator


def test_there_is_a_gpu() -> None:
    """Without one, this test is skipped instead of all tests that would run on it."""
    backend_or_skip("cuda")


# --- every operation, checked -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "order", "seed"),
    [("float32", "reverse", 0), ("float64", "random", 2)],
)
@pytest.mark.parametrize("case", SMALL, ids=str)
def test_kernels_are_free_of_faults(
    case: Case, dtype: str, order: str, seed: int, emulator: Any
) -> None:
    """No invalid access, race or uninitialised read; correct results in any order of threads."""
    backend = gpucnn.get_backend("emulated", dtype)
    known = reference(case)
    with emulator.checking(order=order, seed=seed):
        found = forward(backend, case, to_backend(backend, case.arrays()))
        pairs = [(found, known.results)]
        if case.has_backward:
            grads = backward(backend, case, saved_arguments(backend, case))
            pairs.append((grads, known.grads))
    for actual, wanted in pairs:
        assert_results(backend, case, actual, wanted)


def test_most_cases_are_checked_and_every_operation() -> None:
    assert {case.op for case in SMALL} == {case.op for case in CASES}
    assert len(SMALL) > 0.9 * len(CASES)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("case", SMALL[:: len(SMALL) // 20], ids=str)
def test_the_same_bits_twice(case: Case, name: str) -> None:
    backend = backend_or_skip(name)

    def bits() -> list[bytes]:
        arrays = forward(backend, case, to_backend(backend, case.arrays()))
        if case.has_backward:
            grads = backward(backend, case, saved_arguments(backend, case))
            arrays = {**arrays, **{f"{key} grad": value for key, value in grads.items()}}
        results = array_arguments(arrays)
        return [value.tobytes() for value in to_numpy(backend, results).values()]

    assert bits() == bits()


# --- training -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OTHERS)
def test_lenet_learns_what_it_learns_on_numpy(name: str) -> None:
    """Twenty steps, since each step amplifies the rounding errors of the steps before it."""
    backend_or_skip(name)
    data = Data(blobs(160, size=28), blobs(8, size=28, seed=1), tuple("abcd"), "blobs")

    def losses(name: str) -> list[float]:
        model = models.lenet5(classes=4, seed=3)
        backend = gpucnn.get_backend(name)
        backend.records = False  # an event after every step
        events = training.events(model, data, backend=backend, batch_size=8, epochs=1, seed=3)
        # The mean of the epoch so far, read before the next step.
        return [event.metrics()[0] for event in events if isinstance(event, StepEnded)]

    found, wanted = losses(name), losses("numpy")
    assert len(found) == 20
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    assert wanted[-1] < 0.9 * wanted[0]


@pytest.mark.parametrize("name", OTHERS)
def test_a_run_repeats_and_its_checkpoint_is_read_on_numpy(name: str, tmp_path: Path) -> None:
    backend_or_skip(name)
    data, files = small_data(40), [tmp_path / "first.npz", tmp_path / "second.npz"]
    for file in files:
        model = small_model(seed=5)
        for _ in training.events(
            model, data, backend=name, batch_size=8, epochs=1, seed=5, checkpoint=file
        ):
            pass
    there = gpucnn.load_model(files[0], gpucnn.get_backend(name))
    here = gpucnn.load_model(files[0], gpucnn.get_backend("numpy"))
    assert files[0].read_bytes() == files[1].read_bytes()
    for backend, model in ((name, there), ("numpy", here)):
        assert model.backend.name == backend
    theirs, ours = (gpucnn.evaluate(model, data.test) for model in (there, here))
    assert theirs.loss == pytest.approx(ours.loss, rel=1e-5)
    assert theirs.accuracy == ours.accuracy


# --- gpucnn check -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OTHERS)
def test_the_check_of_correct_kernels(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    backend_or_skip(name)
    assert command(["check", "--backend", name]) == 0
    assert f"{name} backend, float32" in capsys.readouterr().out


def test_the_check_of_some_operations(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["check", "--backend", "numpy", "--only", "pool2d", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["operations"]
    names = {row["op"] for row in rows}
    assert {"max_pool2d", "max_pool2d_backward", "avg_pool2d"} <= names
    assert all("pool2d" in name for name in names)
    assert command(["check", "--backend", "numpy", "--only", "max_pol2d"]) == 2
    assert "unknown operation 'max_pol2d': did you mean 'max_pool2d'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "correct", "wrong", "op"),
    [
        ("tanh.cu", "tanh(input[i])", "0.999f * tanh(input[i])", "tanh"),
        ("sgd.cu", "p - lr *", "p + lr *", "sgd_step"),
        ("max_pool2d.cu", "exceeds(x, maximum)", "exceeds(maximum, x)", "max_pool2d"),
        ("sigmoid.cu", "output[i] = ", "output[i] = (i == 7 ? real(1.001) : 1) * ", "sigmoid"),
        ("relu.cu", "output[i] = ", "output[i] = i == 7 ? not_a_number() : ", "relu"),
        ("gather.cu", "? labels[", "? 1 + labels[", "gather_labels"),
    ],
)
def test_the_check_of_a_wrong_kernel(
    file: str,
    correct: str,
    wrong: str,
    op: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    emulator: Any,
) -> None:
    folder = tmp_path / "kernels"
    shutil.copytree(sources.kernel_folder(), folder)
    text = (folder / file).read_text()
    assert correct in text
    (folder / file).write_text(text.replace(correct, wrong))
    monkeypatch.setattr(loader, "kernel_folder", lambda: folder)
    monkeypatch.setattr(check, "operations", lambda: {op: operation(op)})
    assert command(["check", "--backend", "emulated"]) == 1
    verdict = capsys.readouterr().out.split("errors above their tolerance, 1: ")[1]
    assert op in verdict.replace(",", " ").split()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rounding_errors_of_numpy_are_half_of_the_tolerance_of_the_check(dtype: str) -> None:
    backend = gpucnn.get_backend("numpy", dtype)
    for result in check.check(backend):
        assert result.error < 0.5, result


def test_a_thousandth_in_one_element_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each operation, for an element of median magnitude."""
    run, numbers = check._run, set()

    def off(backend: Any, op: Any, known: Any) -> Any:
        results, seconds = run(backend, op, known)
        for name, value in results.items():
            if backend.dtype == np.float32 and value.dtype.kind == "f":
                numbers.add(op.name)
                flat = value.reshape(-1).copy()
                magnitudes = np.abs(flat[flat != 0])
                middle = np.sort(magnitudes)[magnitudes.size // 2]
                flat[np.flatnonzero(np.abs(flat) == middle)[0]] *= 1.001
                return {**results, name: flat.reshape(value.shape)}, seconds
        return results, seconds

    monkeypatch.setattr(check, "_run", off)
    missed = [r.op for r in check.check(gpucnn.get_backend("numpy")) if r.op in numbers and r.ok]
    assert not missed
    assert len(numbers) > 30
