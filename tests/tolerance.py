"""How far a result may be from its reference: one table, which no test overrides.

A result of ``length`` added terms may differ from the reference by ``atol + rtol * |reference|``,
where rtol = UNIT[dtype] * sqrt(length) and atol = rtol times the greatest magnitude in the
reference (terms cancel, so the small elements of an array carry the rounding of its large terms).
Rounding errors of a sum in any order are like steps of a random walk, hence the square root.

The units: float32 rounds to 6e-8 and an operation of a few roundings (an exponential, a quotient,
a rounded input of a backward) stays within 1e-6, sixteen roundings. For float64 sixteen would be
2e-15, but the references are sums of float64 too, with the same errors, and a backend may use an
exponential that is good to a few units only; 1e-13 leaves room for that and is still 10^7 times
narrower than anything that mistakes one precision for the other. Measured on NumPy, the worst
case of the table of cases uses a third of either.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNIT = {"float32": 1e-6, "float64": 1e-13}


def assert_close(
    actual: NDArray[Any], reference: NDArray[Any], *, length: int = 1, what: str = "result"
) -> None:
    """Fail unless ``actual`` has the reference's shape, NaNs, infinities and, nearly, numbers.

    The precision is that of ``actual``. Integers must be equal.
    """
    reference = np.asarray(reference)
    assert actual.shape == reference.shape, f"{what}: shape {actual.shape}, not {reference.shape}"
    if actual.dtype.kind != "f":
        np.testing.assert_array_equal(actual, reference, err_msg=what)
        return
    rtol = UNIT[actual.dtype.name] * math.sqrt(length)
    finite = np.abs(reference[np.isfinite(reference)])
    atol = rtol * float(finite.max(initial=0.0))
    np.testing.assert_allclose(
        actual.astype(np.float64), reference, rtol=rtol, atol=atol, err_msg=what, strict=True
    )
