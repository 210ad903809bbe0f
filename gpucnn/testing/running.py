"""Runs a case on a backend: in which order of threads, with which tiles, and what came out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpucnn.backends import Backend, device_error
from gpucnn.backends.cuda import CudaBackend
from gpucnn.backends.cuda.loader import recording_launches
from gpucnn.backends.cuda.tiles import Variant
from gpucnn.errors import GpucnnError
from gpucnn.testing.case import (
    Arrays,
    Case,
    array_arguments,
    backward,
    compare,
    forward,
    reference,
    saved_arguments,
    to_backend,
    to_numpy,
)
from gpucnn.testing.comparison import Comparison, Difference, wrong
from gpucnn.testing.guards import Guards

MIDDLE = {f"conv2d_{direction}": "64x64" for direction in ("forward", "backward_input")}
LINEAR = [f"linear_{direction}" for direction in ("forward", "backward_input", "backward_weight")]
VARIANTS: dict[str, Variant] = {
    **{name: name for name in ("auto", "naive", "small", "large")},
    "narrow": dict.fromkeys(MIDDLE, "16x128") | dict.fromkeys(LINEAR, "32x32"),
    "middle": {**MIDDLE, "conv2d_backward_weight": "64x64"},
}
"""Ways to compute a matrix product, by the name of the variation."""


@dataclass(frozen=True)
class Variation:
    """How a case is run.

    Attributes:
        order: the emulator's order of threads, in its check mode; "" for its fast mode, and for
            other backends.
        seed: the seed of the order "random".
        variant: how matrix products are computed, a key of ``VARIANTS``.
    """

    order: str = ""
    seed: int = 0
    variant: str = "auto"

    def __str__(self) -> str:
        tiles = "" if self.variant == "auto" else f"variant {self.variant}"
        order = f"{self.order} order of threads" if self.order else ""
        return ", ".join(filter(None, (tiles, order)))

    def options(self) -> dict[str, Any]:
        """Return the attributes that differ from their defaults."""
        default = Variation()
        given = vars(self).items()
        return {name: value for name, value in given if value != getattr(default, name)}


@dataclass(frozen=True)
class Outcome:
    """What came out of one direction of a case in one variation.

    Attributes:
        case: the case.
        direction: "forward" or "backward".
        variation: how it was run.
        backend: the name of the backend.
        dtype: the dtype of its arrays.
        precision: that of matrix products, "ieee" or "tf32".
        comparison: how far the results are from the reference, and what is wrong.
        kernels: the kernels that were launched, in their order.
        seconds: how long it took, including compilation.
        lost: whether the device can compute nothing more in this process.
    """

    case: Case
    direction: str
    variation: Variation
    backend: str
    dtype: str
    precision: str
    comparison: Comparison
    kernels: tuple[str, ...]
    seconds: float
    lost: bool = False

    @property
    def operation(self) -> str:
        """The name of the operation that was run, with the suffix "_backward" if it was that."""
        return self.case.op + ("_backward" if self.direction == "backward" else "")

    @property
    def failure(self) -> str:
        """What is wrong, in one line; empty if nothing is."""
        return self.comparison.message

    @property
    def difference(self) -> Difference | None:
        """The first wrong element, if that is what is wrong."""
        return self.comparison.difference

    @property
    def line(self) -> str:
        """A line of Python that runs the case again, and raises AssertionError if it fails."""
        arguments = {"backend": self.backend, **self.variation.options()}
        if self.dtype != "float32":
            arguments["dtype"] = self.dtype
        if self.precision != "ieee":
            arguments["precision"] = self.precision
        words = [repr(self.case.op), repr(self.case.name)]
        words += [f"{name}={value!r}" for name, value in arguments.items()]
        return f"from gpucnn.testing import run; run({', '.join(words)})"


def run_case(backend: Backend, case: Case, variation: Variation | None = None) -> list[Outcome]:
    """Run a case on a backend, forward and backward, and compare its results with the reference.

    The arguments of the backward are those of the reference's, so a wrong forward does not make the
    backward wrong. Nothing is raised for a fault of a kernel: it is the outcome's failure.
    """
    variation = variation or Variation()
    known = reference(case)
    runs: list[tuple[str, Callable[[], Arrays], Callable[[Arrays], Arrays], Arrays]] = [
        (
            "forward",
            lambda: to_backend(backend, case.arrays()),
            lambda arguments: forward(backend, case, arguments),
            known.results,
        )
    ]
    if case.has_backward:
        runs.append(
            (
                "backward",
                lambda: saved_arguments(backend, case),
                lambda arguments: backward(backend, case, arguments),
                known.grads,
            )
        )
    return [_outcome(backend, case, variation, *what) for what in runs]


def _outcome(
    backend: Backend,
    case: Case,
    variation: Variation,
    direction: str,
    prepare: Callable[[], Arrays],
    compute: Callable[[Arrays], Arrays],
    wanted: Arrays,
) -> Outcome:
    began, lost = time.perf_counter(), False
    with recording_launches() as kernels:
        try:
            with _applied(backend, variation) as guards:
                found = _compared(backend, case, prepare(), compute, wanted)
                if guards is not None and guards.problem():
                    found = found.merged(wrong(guards.problem()))
        except Exception as error:
            report = _report(error)
            if report is None:
                raise
            found, lost = wrong(report), not isinstance(error, GpucnnError)
    return Outcome(
        case,
        direction,
        variation,
        backend.name,
        backend.dtype.name,
        backend.precision,
        found,
        tuple(dict.fromkeys(kernels)),
        time.perf_counter() - began,
        lost,
    )


def _report(error: Exception) -> str | None:
    """Return the message of a kernel's or a device's error, in one line; None for a defect."""
    if isinstance(error, GpucnnError):
        return " ".join(str(error).split())
    return device_error(error)


def _compared(
    backend: Backend,
    case: Case,
    arguments: Arrays,
    compute: Callable[[Arrays], Arrays],
    wanted: Arrays,
) -> Comparison:
    """Compare the results, and whether arguments that are only read are unchanged."""
    arrays = array_arguments(arguments)
    before = to_numpy(backend, arrays)
    results = compute(arguments)
    found = compare(backend, case, to_numpy(backend, results), wanted)
    for name, array in to_numpy(backend, arrays).items():
        in_place = name in results and results[name] is arrays[name]
        read_only = not in_place or np.array_equal(wanted[name], before[name])
        if read_only and array.tobytes() != before[name].tobytes():
            found = found.merged(wrong(f"the argument {name} was changed"))
    return found


@contextmanager
def _applied(backend: Backend, variation: Variation) -> Iterator[Guards | None]:
    """Apply a variation to the launches in the ``with``; guards where nothing else checks."""
    if not isinstance(backend, CudaBackend):
        yield None
        return
    with ExitStack() as stack:
        before, backend.variant = backend.variant, VARIANTS[variation.variant]
        stack.callback(setattr, backend, "variant", before)
        if variation.order:
            from gpucnn import emulator

            stack.enter_context(emulator.checking(variation.order, variation.seed))
            yield None
        else:
            yield stack.enter_context(backend.allocating_from(Guards))
