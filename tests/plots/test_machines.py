"""Filters, reconstructions and samples of a restricted Boltzmann machine."""

from __future__ import annotations

import numpy as np
import pytest
from plotting import drawn, texts

from gpucnn import plots
from gpucnn.errors import DataError
from gpucnn.plots.canvas import signed_colours


def test_filters_are_the_weights_of_the_hidden_units() -> None:
    weights = np.random.default_rng(0).standard_normal((5, 1, 4, 3))
    *planes, _ = drawn(plots.rbm_filters(weights))
    wanted = signed_colours(weights[:, 0], np.abs(weights).max())
    assert np.array_equal(planes, wanted)
    assert {"Hidden units", "5 of 1x4x3"} <= set(texts(plots.rbm_filters(weights)))
    assert len(drawn(plots.rbm_filters(np.ones((3, 3, 4, 4))))) == 3  # colours, without a scale


def test_images_stand_above_their_reconstructions() -> None:
    images = np.zeros((2, 1, 2, 2), np.uint8)
    images[1] = 255
    found = np.full((2, 1, 2, 2), 0.5)
    planes = drawn(plots.reconstructions(images, found))
    assert [int(plane[0, 0, 0]) for plane in planes] == [0, 128, 255, 128]
    assert "mean squared difference 0.2500" in texts(plots.reconstructions(images, found))


def test_samples_are_drawn_in_rows() -> None:
    images = np.linspace(0, 1, 80).reshape(80, 1, 1, 1)
    planes = drawn(plots.samples(images, steps=1000))
    assert len(planes) == 64
    assert [int(plane[0, 0, 0]) for plane in planes[:3]] == [0, 3, 6]
    assert "64 chains after 1,000 Gibbs steps" in texts(plots.samples(images, steps=1000))
    nothing = np.full((1, 1, 1, 1), np.nan)
    assert not drawn(plots.samples(nothing))[0].any()


def test_arrays_of_other_shapes_are_refused() -> None:
    with pytest.raises(DataError, match=r"weights must have shape \(N, C, H, W\), got \(3, 4\)"):
        plots.rbm_filters(np.ones((3, 4)))
    images = np.zeros((2, 1, 2, 2), np.uint8)
    with pytest.raises(DataError, match=r"images have shape .* their reconstructions \(1, 1, 2, 2"):
        plots.reconstructions(images, np.ones((1, 1, 2, 2)))
