"""How far a result may be from its reference: one rule (gpucnn/check.py), which no test overrides.

A result of ``length`` added terms may differ from the reference by ``atol + rtol * |reference|``,
where rtol = UNIT[dtype] * sqrt(length) and atol = rtol times the greatest magnitude in the
reference (terms cancel, so the small elements of an array carry the rounding of its large terms).
Rounding errors of a sum in any order are like steps of a random walk, hence the square root. Below
the smallest normal number, which is added to atol, a result may be zero.

The unit is eight roundings of half an eps: an operation of a few roundings (an exponential good to
two units, a quotient, a rounded input of a backward) stays within it, and anything that mistakes
one precision for the other is off by millions of them. For float64 the references round as much as
what they judge. NumPy's worst result in the table of cases uses a sixth of what is allowed.

Products of operands rounded to TF32 have a row of their own: each of the two is off by 2**-11 at
most, and the unit is twice that of both. It is 8192 times float32's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.machine.check import tolerance


def assert_close(
    actual: NDArray[Any],
    reference: NDArray[Any],
    *,
    length: int = 1,
    what: str = "result",
    precision: str = "ieee",
) -> None:
    """Fail unless ``actual`` has the reference's shape, NaNs, infinities and, nearly, numbers.

    The type is that of ``actual``, and ``precision`` that of a product's operands. Integers must be
    equal.
    """
    reference = np.asarray(reference)
    assert actual.shape == reference.shape, f"{what}: shape {actual.shape}, not {reference.shape}"
    if actual.dtype.kind != "f":
        np.testing.assert_array_equal(actual, reference, err_msg=what)
        return
    rtol, atol = tolerance(actual.dtype, reference, length, precision)
    np.testing.assert_allclose(
        actual.astype(np.float64), reference, rtol=rtol, atol=atol, err_msg=what, strict=True
    )
