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
