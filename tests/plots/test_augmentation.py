"""The images that random changes make."""

from __future__ import annotations

import numpy as np
import pytest
from plotting import drawn, texts

from gpucnn import Augmentation, plots
from gpucnn.errors import DataError


def test_the_first_column_has_the_images_and_the_others_what_becomes_of_them() -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 1, 4, 5), np.uint8)
    figure = plots.augmented(images, Augmentation(flip=0.5))
    planes = drawn(figure)
    assert len(planes) == 8 * 12
    for index, plane in enumerate(planes):
        image = images[index % 8, 0]
        flips = [np.array_equal(plane[..., 0], each) for each in (image, image[:, ::-1])]
        assert flips[0] if index < 8 else any(flips)
    assert any(not np.array_equal(planes[8 * k], planes[0]) for k in range(12))
    assert "flip=0.5" in texts(figure)


def test_other_arrays_are_refused() -> None:
    with pytest.raises(DataError, match=r"images must be uint8 \(N, C, H, W\), got float64 \(2, 3"):
        plots.augmented(np.zeros((2, 3)), Augmentation())
