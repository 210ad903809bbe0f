"""The kernels as a whole: in the emulator's check mode, and in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from available import BACKENDS, backend_or_skip
from small import blobs, small_data, small_model

import gpucnn
from gpucnn import models, training
from gpucnn.data import Data
from gpucnn.testing.case import (
    Case,
    array_arguments,
    backward,
    forward,
    saved_arguments,
    to_backend,
    to_numpy,
)
from gpucnn.testing.cases import CASES
from gpucnn.testing.running import Variation, run_case
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


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_kernels_of_float64_are_free_of_faults(case: Case, emulator: Any) -> None:
    """No invalid access, race or uninitialised read; float32 is tested in test_checking.py."""
    backend = gpucnn.get_backend("emulated", "float64")
    for outcome in run_case(backend, case, Variation("random", seed=2)):
        assert not outcome.failure, outcome.line


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
