"""Which labels are numbers to predict."""

from __future__ import annotations

import numpy as np
import pytest

from gpucnn.data.arrays.targets import AUTO, are_targets


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([0.25, 0.75], False),
        ([0.25, 0.7504], False),
        ([0.25, 0.5], True),
        ([1.25, -0.25], True),
        ([2.0, 3.0], False),
        ([0.5], True),
    ],
    ids=["probabilities", "rounded", "another sum", "negative", "integers", "one column"],
)
def test_floats_are_numbers_to_predict_unless_they_look_like_probabilities(
    row: list[float], expected: bool
) -> None:
    assert are_targets({"train": np.array([row, row])}, AUTO) == expected
