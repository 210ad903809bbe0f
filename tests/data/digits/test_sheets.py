"""Finding a sheet: what is known without filling holes is not filled."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from gpucnn.data.digits import page
from gpucnn.data.digits.arrays import label


def filled_first(mask: np.ndarray) -> np.ndarray | None:
    """The largest component with its holes filled, and only then whether it is large enough."""
    labels, count = label(mask)
    if not count:
        return None
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    filled = ndimage.binary_fill_holes(largest)
    area = filled.sum()
    small = area < page._SHEET * mask.size or largest.sum() < page._SOLID * area
    return None if small or area == mask.size else filled


def test_components_that_are_too_small_or_everything_are_no_sheets() -> None:
    rng, found = np.random.default_rng(0), []
    for number in range(200):
        noise = ndimage.gaussian_filter(rng.normal(size=rng.integers(20, 60, 2)), 1 + number % 9)
        mask = noise > np.quantile(noise, rng.uniform(0.05, 0.95))
        if number % 5 == 0:
            mask = np.pad(mask, 2, constant_values=bool(number % 2))
        expected = filled_first(mask)
        np.testing.assert_array_equal(page._largest_filled(mask), expected)
        found.append(expected is None)
    assert 20 < sum(found) < 180
