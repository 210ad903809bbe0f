"""Removing ruled lines: what needs no search is not searched."""

from __future__ import annotations

import numpy as np
import pytest

from gpucnn.data.digits import lines


def ruled(angle: float, seed: int) -> np.ndarray:
    """Strokes (90, 110) with specks, and lines at an angle that cover a part of the width."""
    rng = np.random.default_rng(seed)
    strokes = (rng.random((90, 110)) > 0.995).astype(np.float32)
    first, last = np.sort(rng.integers(0, 110, 2)) if seed % 2 else (0, 110)
    for top in (20, 45, 70):
        columns = np.arange(first, last)
        rows = np.rint(top + np.tan(np.deg2rad(angle)) * (columns - 55)).astype(int)
        strokes[rows, columns] = 1
    return strokes


@pytest.mark.parametrize("angle", [-5, -2, 0, 0.5, 4])
def test_images_without_enough_ink_in_their_columns_have_no_lines(
    angle: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [ruled(angle, seed) for seed in range(8)]
    images += [image.T for image in images]
    found = [lines.remove_lines(image) for image in images]
    searched = [lines._may_have_lines(image > 0.5) for image in images]
    assert 0 < sum(searched) < len(images)
    monkeypatch.setattr(lines, "_may_have_lines", lambda mask: mask.any())
    for image, result in zip(images, found, strict=True):
        np.testing.assert_array_equal(lines.remove_lines(image), result)
