"""One BLAS thread while gpucnn computes, and the user's number of threads at all other times."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from small import small_data, small_model
from threadpoolctl import ThreadpoolController, threadpool_limits

import gpucnn
from gpucnn import training
from gpucnn.backends import get_backend
from gpucnn.backends.numpy.threads import OneThread
from gpucnn.nn.imports import import_file
from gpucnn.nn.sequential import Sequential

BLAS = ThreadpoolController().select(user_api="blas")
needs_blas = pytest.mark.skipif(not BLAS.lib_controllers, reason="no BLAS that can be limited")


class Library:
    """A BLAS with one number of threads for the process."""

    threading_layer = "pthreads"

    def __init__(self, number: int) -> None:
        self.number = number

    def get_num_threads(self) -> int:
        return self.number

    def set_num_threads(self, number: int) -> None:
        self.number = number


class OpenMP(threading.local, Library):
    """A BLAS with a number of threads for each Python thread."""

    threading_layer = "openmp"


def in_thread(function: Callable[[], Any]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("kind", [Library, OpenMP])
def test_the_limit_is_lifted_after_the_last_of_nested_contexts(kind: type[Library]) -> None:
    libraries = [kind(4), kind(1), kind(3)]
    limit = OneThread(libraries)

    def numbers() -> list[int]:
        return [library.get_num_threads() for library in libraries]

    for _ in range(2):
        with limit:
            assert numbers() == [1, 1, 1]
            with limit:
                pass
            assert numbers() == [1, 1, 1]
        assert numbers() == [4, 1, 3]
    with pytest.raises(KeyError), limit:
        raise KeyError
    assert numbers() == [4, 1, 3]


@pytest.mark.parametrize("first_ends_first", [True, False])
def test_of_overlapping_threads_the_last_lifts_the_limit(first_ends_first: bool) -> None:
    library = Library(4)
    limit = OneThread([library])
    limit.__enter__()
    in_thread(limit.__enter__)
    in_thread(limit.__exit__) if first_ends_first else limit.__exit__()
    assert library.number == 1
    limit.__exit__() if first_ends_first else in_thread(limit.__exit__)
    assert library.number == 4


def test_with_openmp_each_thread_has_its_own_limit() -> None:
    library = OpenMP(4)
    limit = OneThread([library])
    found = []

    def other() -> None:
        found.append(library.number)
        with limit:
            found.append(library.number)
        found.append(library.number)

    with limit:
        in_thread(other)
        assert library.number == 1
    assert library.number == 4
    assert found == [4, 1, 4]


def test_a_number_that_the_user_sets_meanwhile_is_kept() -> None:
    library = Library(4)
    with OneThread([library]):
        library.number = 2
    assert library.number == 2


@needs_blas
def test_the_limit_reaches_the_blas_of_this_process_from_any_thread() -> None:
    numbers = []

    def numbers_now() -> list[int]:
        return [library.num_threads for library in BLAS.lib_controllers]

    def compute() -> None:
        with get_backend("numpy").limit_threads():
            numbers.append(numbers_now())

    with threadpool_limits(3, "blas"):  # in this thread, which then controls OpenBLAS
        in_thread(compute)
        assert set(numbers_now()) == {3}
        compute()
        assert set(numbers_now()) == {3}
    before = numbers_now()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(compute).result()
        with threadpool_limits(3, "blas"):
            assert set(numbers_now()) == {3}  # the other thread, though alive, left the control
    assert numbers_now() == before
    assert all(set(each) == {1} for each in numbers)


def test_backends_without_blas_need_no_limit() -> None:
    from gpucnn.backends.contract.arrays import Arrays

    with Arrays.limit_threads(get_backend("numpy")) as nothing:
        assert nothing is None


# --- where gpucnn computes ----------------------------------------------------------------------


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    """Stands in for the BLAS of this process."""
    library = Library(4)
    limit = OneThread([library])
    monkeypatch.setattr("gpucnn.backends.numpy.arrays.one_thread", lambda: limit)
    return library


@pytest.fixture
def during(library: Library, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The numbers of threads during the forward passes of models."""
    found = set[int]()
    forward = Sequential.forward

    def recorded(model: Sequential, *arguments: Any, **options: Any) -> Any:
        found.add(library.number)
        return forward(model, *arguments, **options)

    monkeypatch.setattr(Sequential, "forward", recorded)
    return found


def test_training_is_limited_and_its_caller_is_not(library: Library, during: set[int]) -> None:
    events = training.events(small_model(), small_data(), epochs=2)
    assert {library.number for _ in events} == {4}
    assert during == {1}
    assert library.number == 4


def test_training_that_is_closed_or_fails_lifts_the_limit(library: Library) -> None:
    events = training.events(small_model(), small_data())
    next(events)
    events.close()
    assert library.number == 4

    def broken() -> bool:
        assert library.number == 1
        raise KeyError

    with pytest.raises(KeyError):
        list(training.events(small_model(), small_data(), should_stop=broken))
    assert library.number == 4


def test_two_trainings_in_turns_do_not_limit_their_caller(library: Library) -> None:
    runs = [training.events(small_model(), small_data(), epochs=1) for _ in range(2)]
    for _ in zip(*runs, strict=True):
        assert library.number == 4


def test_trainings_in_several_threads_lift_the_limit(library: Library, during: set[int]) -> None:
    with ThreadPoolExecutor(3) as pool:
        runs = [training.events(small_model(), small_data(), epochs=2) for _ in range(3)]
        assert len({len(events) for events in pool.map(list, runs)}) == 1
    assert during == {1}
    assert library.number == 4


def test_evaluation_and_prediction_are_limited(library: Library, during: set[int]) -> None:
    model, data = small_model(), small_data()
    model.normalization = data.statistics()
    gpucnn.evaluate(model, data.test, batch_size=16)  # in several threads
    assert during == {1}
    during.clear()
    model.predict(data.test.images)
    assert during == {1}
    assert library.number == 4


WATCHED = """
import os
from dataclasses import dataclass
from pathlib import Path
from threadpoolctl import threadpool_info
from gpucnn.nn.layers import ReLU

@dataclass(eq=False)
class Watched(ReLU):
    def forward(self, *arguments, **options):
        numbers = [library["num_threads"] for library in threadpool_info()]
        Path(__file__).with_name(f"{os.getpid()}.txt").write_text(f"{numbers}")
        return super().forward(*arguments, **options)
"""


@needs_blas
def test_workers_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    path = tmp_path / "watched.py"
    path.write_text(WATCHED)
    model = small_model()
    layers = {**model.layers, "relu": import_file(path).Watched()}
    model = Sequential(layers, model.input_shape)
    gpucnn.fit(model, small_data(), epochs=1, workers=2)
    numbers = [each.read_text() for each in tmp_path.glob("*.txt")]
    assert len(numbers) == 2
    assert all(set(json.loads(each)) == {1} for each in numbers)
