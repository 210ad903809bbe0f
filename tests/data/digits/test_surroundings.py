"""drop_surroundings: which components are next to a digit, and which are its pieces."""

import numpy as np
import pytest

pytest.importorskip("scipy")

from gpucnn.data.digits.surroundings import drop_surroundings


def sheet(squares):
    """Return a stroke of 60 x 10 pixels, and squares of 8 pixels in a column beside it."""
    strokes = np.zeros((120, 120), np.float32)
    strokes[30:90, 20:30] = 1
    for number in range(squares):
        strokes[12 * number : 12 * number + 8, 60:68] = 1
    return strokes


@pytest.mark.parametrize("squares", [1, 4])
def test_holes_of_a_sheet_are_dropped(squares):
    np.testing.assert_array_equal(drop_surroundings(sheet(squares), True), sheet(0))


def test_a_drawing_has_no_holes():
    np.testing.assert_array_equal(drop_surroundings(sheet(1), False), sheet(1))


def test_more_pieces_are_those_of_a_broken_stroke():
    np.testing.assert_array_equal(drop_surroundings(sheet(8), True), sheet(8))
