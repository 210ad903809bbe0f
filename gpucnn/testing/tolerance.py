"""The tolerance of a result: one rule, which no test overrides.

A result of ``terms`` added terms may differ from the reference by ``atol + rtol * |reference|``.
Here rtol = UNIT[dtype] * sqrt(terms), and atol = rtol times the largest magnitude in the reference
(terms cancel, so small elements have the rounding errors of large terms). Rounding errors of a sum
accumulate like the steps of a random walk, hence the square root. The smallest normal number is
added to atol, so that subnormal results may be zero.

The unit is eight roundings of half an eps. An operation of a few roundings (an exponential accurate
to two units, a quotient, a rounded argument of a backward) is within it, while single instead of
double precision exceeds it by a factor of millions. In float64 the references have as much rounding
error as the results. The largest error of NumPy in the table of cases is a sixth of the tolerance.

Products of operands rounded to TF32 have their own unit: each operand has an error of 2**-11 at
most, and the unit is twice the error of both. It is 8192 times that of float32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

UNIT = {"float32": 8 * 2.0**-24, "float64": 8 * 2.0**-53, "tf32": 4 * 2.0**-11}
"""The relative tolerance per term, by dtype, or "tf32" for operands rounded to TF32."""


def tolerance(
    dtype: DTypeLike, reference: NDArray[Any], terms: float = 1, precision: str = "ieee"
) -> tuple[float, float]:
    """Return the relative and the absolute tolerance of a result of ``terms`` added terms.

    The absolute tolerance is relative to the largest magnitude in the reference: terms cancel, so
    small elements have the rounding errors of large terms.
    """
    kind = np.dtype(dtype)
    relative = UNIT[kind.name if precision == "ieee" else precision] * math.sqrt(terms)
    finite = np.abs(reference[np.isfinite(reference)])
    return relative, relative * float(finite.max(initial=0.0)) + float(np.finfo(kind).tiny)


def assert_close(
    actual: NDArray[Any],
    reference: NDArray[Any],
    *,
    terms: int = 1,
    what: str = "result",
    precision: str = "ieee",
) -> None:
    """Fail, with a message of one line, unless ``actual`` is within the tolerance.

    Shapes, NaN and infinities must be equal, and so must integers. The dtype of the tolerance is
    that of ``actual``; ``precision`` is that of a product's operands.
    """
    __tracebackhide__ = True
    reference = np.asarray(reference)
    assert actual.shape == reference.shape, (
        f"{what} has shape {actual.shape}, expected {reference.shape}"
    )
    rtol, atol = 0.0, 0.0
    if actual.dtype.kind == "f":
        rtol, atol = tolerance(actual.dtype, reference, terms, precision)
    found = actual.astype(np.float64) if actual.dtype.kind == "f" else actual
    equal = (found == reference) | ((found != found) & (reference != reference))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        error = np.abs(found - reference * 1.0) / (atol + rtol * np.abs(reference))
    error = np.where(equal, 0.0, np.where(np.isnan(error), np.inf, error))
    if (error <= 1).all():
        return
    index = tuple(map(int, np.unravel_index(np.argmax(error), error.shape)))
    where = list(index) if index else ""
    raise AssertionError(
        f"{what}{where} is {actual[index]}, expected {reference[index]}: "
        f"{error[index]:.3g} times the tolerance; {np.count_nonzero(error > 1)} of {error.size} "
        "elements are outside it"
    )
