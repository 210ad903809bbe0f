"""find_strokes on drawn images that lie just inside and just outside each documented limit."""

import numpy as np
import pytest

from gpucnn.data.digits import find_strokes
from gpucnn.errors import DataError


def bars(*rectangles, size=(100, 100), background=0):
    """Return an image with a rectangle of a level at each (rows, columns, level)."""
    image = np.full(size, background, np.uint8)
    for rows, columns, level in rectangles:
        image[rows, columns] = level
    return image


BAR = (slice(30, 70), slice(40, 60), 255)


def test_the_strokes_and_nothing_else():
    found = find_strokes(bars(BAR))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.ones((40, 20)))


@pytest.mark.parametrize("side", [100, 240, 241, 280, 719, 1000])
def test_images_of_more_than_240_pixels_are_downsampled(side):
    found = find_strokes(bars((slice(10, side - 10), slice(10, side - 10), 255), size=(side, side)))
    if side <= 240:
        assert found.shape == (side - 20, side - 20)
    else:
        assert 110 <= found.shape[0] <= 240


@pytest.mark.parametrize("background", [0, 100])
def test_strokes_differ_from_the_background_by_8_levels(background):
    for level in (8, -8) if background else (8,):
        image = bars((*BAR[:2], background + level), background=background)
        np.testing.assert_array_equal(find_strokes(image), np.ones((40, 20)))
    with pytest.raises(DataError, match="no digit found: the image is uniform"):
        find_strokes(bars((*BAR[:2], background + 7), background=background))


@pytest.mark.parametrize(("area", "kept"), [((7, 3), False), ((9, 3), True)])
def test_a_component_of_less_than_3_percent_is_a_speck(area, kept):
    # The bar has 800 pixels, the dot 21 (2.6 %) or 27 (3.4 %).
    height, width = area
    found = find_strokes(bars(BAR, (slice(10, 10 + height), slice(80, 80 + width), 255)))
    assert found.shape == ((60, 43) if kept else (40, 20))


@pytest.mark.parametrize(("level", "kept"), [(11, False), (14, True)])
def test_edges_fainter_than_5_percent_are_outside_the_bounding_box(level, kept):
    found = find_strokes(bars((slice(29, 71), slice(39, 61), level), BAR))
    assert found.shape == ((42, 22) if kept else (40, 20))


@pytest.mark.parametrize(("level", "kept"), [(11, False), (14, True)])
def test_edges_fainter_than_5_percent_connect_nothing(level, kept):
    # A second bar at 45 % is no stroke of its own, only what is connected to one.
    weak = (slice(30, 70), slice(80, 90), 115)
    found = find_strokes(bars((slice(30, 70), slice(60, 80), level), BAR, weak))
    assert found.shape == ((40, 50) if kept else (40, 20))


@pytest.mark.parametrize(("level", "kept"), [(120, False), (135, True)])
def test_a_component_needs_a_pixel_of_half_the_contrast(level, kept):
    found = find_strokes(bars(BAR, (slice(30, 70), slice(80, 90), level)))
    assert found.shape == ((40, 50) if kept else (40, 20))


@pytest.mark.parametrize("width", [1, 3, 17])
def test_strokes_are_widened_to_a_twelfth_of_the_longer_side(width):
    found = find_strokes(bars((slice(12, 228), slice(100, 100 + width), 255), size=(240, 240)))
    # Both sides of a stroke grow alike, so that up to two pixels may lack.
    assert 216 / 12 - 2 < found.shape[1] <= 216 / 12
    assert found.min() == 1


def test_wider_strokes_are_unchanged():
    found = find_strokes(bars((slice(12, 228), slice(100, 120), 255), size=(240, 240)))
    assert found.shape == (216, 20)
