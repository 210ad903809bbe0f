"""How far results are from the reference, and the first element that is too far."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpucnn.testing.tolerance import tolerance

Number = float | int | bool


@dataclass(frozen=True)
class Difference:
    """An array with elements outside the tolerance; ``index`` is the first, in row-major order.

    Attributes:
        result: the name of the array, such as "output" or "weight".
        index: the indices of the first wrong element, () for an array without axes.
        got: that element.
        expected: the element of the reference.
        allowed: the greatest |got - expected| that is within the tolerance.
        wrong: the number of elements outside the tolerance.
        size: the number of elements.
    """

    result: str
    index: tuple[int, ...]
    got: Number
    expected: Number
    allowed: float
    wrong: int
    size: int

    def __str__(self) -> str:
        where = str(list(self.index)) if self.index else ""
        allowed = f" ± {self.allowed:.2g}" if self.allowed else ""
        return (
            f"{self.result}{where} is {self.got:.9g}, expected {self.expected:.9g}{allowed}; "
            f"{self.wrong} of {self.size} elements are wrong"
        )


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    Attributes:
        error: the largest difference, in units of the tolerance; infinite where NaN, infinities,
            shapes, types or integers are not as expected.
        tolerance: the relative tolerance; 0 for integers.
        difference: the first wrong element, None if there is none.
        problem: what is wrong if it is not an element: a shape, a dtype, a missing result.
    """

    error: float
    tolerance: float
    difference: Difference | None = None
    problem: str = ""

    @property
    def message(self) -> str:
        """What is wrong, in one line; empty if nothing is."""
        return str(self.difference) if self.difference else self.problem

    def merged(self, other: Comparison) -> Comparison:
        """Return the comparison of both, with the message of the first that has one."""
        first = self if self.message else other
        return Comparison(
            max(self.error, other.error),
            max(self.tolerance, other.tolerance),
            first.difference,
            first.problem,
        )


def wrong(problem: str) -> Comparison:
    """Return the comparison of results that are not even comparable."""
    return Comparison(math.inf, 0.0, problem=problem)


def compare_arrays(
    result: str,
    actual: NDArray[Any],
    reference: NDArray[Any],
    terms: float = 1,
    precision: str = "ieee",
    accuracy: DTypeLike | None = None,
) -> Comparison:
    """Compare an array with the reference in float64.

    Args:
        result: the name of the array, for messages.
        actual: the array.
        reference: an array of the same shape. NaN and infinities must be equal, and so must
            integers.
        terms: the number of terms in the sum that is an element (tolerance.py).
        precision: that of a product's operands, "ieee" or "tf32".
        accuracy: the dtype that determines the tolerance; by default that of the array.
    """
    reference = np.asarray(reference)
    if actual.shape != reference.shape:
        return wrong(f"{result} has shape {actual.shape}, expected {reference.shape}")
    rtol, atol = 0.0, 0.0
    if actual.dtype.kind == "f":
        rtol, atol = tolerance(accuracy or actual.dtype, reference, terms, precision)
    found = actual.astype(np.float64) if actual.dtype.kind == "f" else actual
    equal = (found == reference) | ((found != found) & (reference != reference))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        allowed = np.broadcast_to(atol + rtol * np.abs(reference), reference.shape)
        error = np.abs(found - reference * 1.0) / allowed
    error = np.where(equal, 0.0, np.where(np.isnan(error), np.inf, error))
    worst = float(error.max(initial=0.0))
    if worst <= 1:
        return Comparison(worst, rtol)
    index = tuple(map(int, np.unravel_index(np.argmax(error > 1), error.shape)))
    difference = Difference(
        result,
        index,
        actual[index].item(),
        reference[index].item(),
        float(allowed[index]) if np.isfinite(reference[index]) else 0.0,
        int(np.count_nonzero(error > 1)),
        error.size,
    )
    return Comparison(worst, rtol, difference)


def assert_close(
    actual: NDArray[Any],
    reference: NDArray[Any],
    *,
    terms: float = 1,
    what: str = "result",
    precision: str = "ieee",
) -> None:
    """Raise AssertionError, with a message of one line, unless ``compare_arrays`` finds nothing."""
    __tracebackhide__ = True
    found = compare_arrays(what, actual, reference, terms, precision)
    if found.message:
        raise AssertionError(f"{found.message}; {found.error:.3g} times the tolerance")
