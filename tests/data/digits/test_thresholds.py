"""find_strokes on drawn images that lie just inside and just outside each documented limit."""

import numpy as np
import pytest

from gpucnn.data.digits import find_strokes
from gpucnn.data.digits.background import _fit_surface
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


def test_a_small_digit_in_a_wide_image_is_found_at_full_resolution():
    found = find_strokes(bars((slice(20, 70), slice(500, 525), 255), size=(100, 600)))
    np.testing.assert_array_equal(found, np.ones((50, 25)))


def test_a_drawing_keeps_all_components_also_those_at_the_border():
    found = find_strokes(bars(BAR, (slice(40, 70), slice(0, 20), 255)))
    assert found.shape == (40, 60)


def test_faint_edges_belong_to_the_component_next_to_them():
    across = (slice(30, 40), slice(40, 80), 255)
    edge, beyond = (slice(50, 70), slice(60, 61), 11), (slice(50, 70), slice(61, 62), 12)
    found = find_strokes(bars(BAR, across, edge, beyond))
    assert found.shape == (40, 40)
    np.testing.assert_array_equal(found[20:, 20:22], [[np.float32(11 / 255), 0]] * 20)


def test_a_bar_along_one_side_is_not_a_stroke():
    # A quarter of the border is no longer of the one level of a drawing on a screen.
    found = find_strokes(bars(BAR, (slice(0, 100), slice(97, 100), 200)))
    np.testing.assert_array_equal(found > 0.5, np.ones((40, 20)))


# --- dark or light ------------------------------------------------------------------------------


def test_strokes_are_on_the_side_of_the_greater_contrast():
    fainter = (slice(30, 70), slice(70, 80), 60)
    found = find_strokes(bars(BAR, fainter, background=100))
    assert found.shape == (40, 20)


def test_one_level_on_most_of_the_border_is_the_background():
    # A white page between black bars that take 44 % of the border.
    right, bottom = (slice(0, 100), slice(95, 100), 0), (slice(95, 100), slice(30, 100), 0)
    found = find_strokes(bars((*BAR[:2], 0), right, bottom, background=255))
    assert found.shape == (40, 20)


@pytest.mark.parametrize("level", [220, 255])
def test_one_level_on_less_of_the_border_may_be_the_background(level):
    # A grey page with a black bar, a white one and black corners: grey is 45 % of the border.
    frame = [
        (slice(0, 100), slice(97, 100), 0),
        (slice(97, 100), slice(0, 100), 255),
        (slice(0, 10), slice(97, 100), 0),
        (slice(0, 12), slice(0, 3), 0),
    ]
    image = bars((*BAR[:2], level), *frame, background=150)
    assert find_strokes(image).shape == (40, 20)


def test_the_background_is_a_quadratic_surface_through_the_border():
    y, x = np.mgrid[0:1:80j, 0:1:120j]
    surface = 200 - 90 * y + 40 * y**2 - 60 * x + 30 * x**2 + 50 * x * y
    grey = surface.astype(np.float32)
    grey[20:60, 30:90] = 0  # inside: not seen
    grey[:30, 50:55] = 0  # a stroke that crosses the border: an outlier
    np.testing.assert_allclose(_fit_surface(grey)[0], surface, atol=0.1)


# --- paper --------------------------------------------------------------------------------------


def photo(paper, *rectangles):
    """Return paper in which each (rows, columns, fraction) absorbs a fraction of the light."""
    image = np.array(paper, np.float64)
    for rows, columns, fraction in rectangles:
        image[rows, columns] *= 1 - fraction
    return np.rint(image).astype(np.uint8)


EVEN = np.broadcast_to(np.linspace(240, 220, 100), (100, 100))
SHADED = np.broadcast_to(np.linspace(240, 80, 100), (100, 100))


def test_strokes_in_the_shadow_are_as_strong_as_those_in_the_light():
    left, right, across = slice(10, 22), slice(78, 90), (slice(48, 52), slice(22, 78), 0.6)
    found = find_strokes(
        photo(SHADED, *((slice(30, 70), part, 0.6) for part in (left, right)), across)
    )
    assert found.shape == (40, 80)
    assert found.max() == 1
    assert found[:, :12].mean() > 0.9
    assert found[:, -12:].mean() > 0.9


@pytest.mark.parametrize(("fraction", "kept"), [(0.31, False), (0.38, True)])
def test_parts_of_less_than_30_percent_of_the_contrast_are_paper(fraction, kept):
    strong = (slice(30, 70), slice(40, 60), 0.8)
    weak = (slice(30, 70), slice(60, 70), 0.8 * fraction)
    found = find_strokes(photo(EVEN, strong, weak))
    assert found.shape == ((40, 30) if kept else (40, 20))


@pytest.mark.parametrize(("columns", "inner"), [(3, False), (4, True)])
def test_what_enters_from_outside_is_dropped_if_a_tenth_as_much_is_inside(columns, inner):
    # 12 x 80 pixels enter from the right; the bar inside has 26 x 3 (8.1 %) or 26 x 4 (10.8 %).
    entering = (slice(70, 82), slice(20, 100), 0.8)
    bar = (slice(10, 36), slice(30, 30 + columns), 0.8)
    found = find_strokes(photo(EVEN, entering, bar))
    assert found.shape == ((26, 4) if inner else (72, 80))


@pytest.mark.parametrize(("level", "kept"), [(194, False), (193, True)])
def test_strokes_on_paper_differ_by_8_levels_in_full_light(level, kept):
    # On paper of 200 levels, 6 levels correspond to 7.7 of 255, and 7 levels to 8.9.
    image = photo(np.broadcast_to(np.linspace(202, 198, 100), (100, 100)))
    image[30:70, 40:60] = level
    if kept:
        assert find_strokes(image).shape == (40, 20)
    else:
        with pytest.raises(DataError, match="no digit found: "):
            find_strokes(image)


@pytest.mark.parametrize(("contrast", "found"), [(24, False), (28, True)])
def test_strokes_have_five_times_the_noise_of_the_paper(contrast, found):
    levels = np.full((200, 200), 200.0)
    levels[50:150, 80:110] -= contrast
    levels += 5 * np.random.default_rng(0).normal(0, 1, levels.shape)
    image = np.rint(levels).astype(np.uint8)
    if found:
        assert find_strokes(image).shape[0] >= 100
    else:
        with pytest.raises(DataError, match="no strokes stand out from the background"):
            find_strokes(image)
