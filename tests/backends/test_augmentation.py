"""Random changes of images: their directions and limits, and what does not depend on a batch."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gpucnn import Augmentation
from gpucnn.backends import Backend, get_backend
from gpucnn.backends.numpy import augmentation
from gpucnn.errors import SettingError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 2, 7, 6), np.uint8)
SCALE, SHIFT = np.array([0.5, 0.25]), np.array([-1.0, 3.0])
BACKGROUND = SHIFT[:, None, None]
NUMPY = get_backend("numpy", "float64")


def augmented(
    be: Backend, images: NDArray[np.uint8], first: int = 0, step: int = 3, **changes: Any
) -> NDArray[Any]:
    indices, pixels = be.asarray(np.arange(len(images))), be.asarray(images, np.uint8)
    source = pixels, indices, be.asarray(SCALE), be.asarray(SHIFT)
    found = be.augment_images(*source, Augmentation(**changes), 99, be.asarray([step]), first)
    return be.to_numpy(found)


def as_it_is(images: NDArray[np.uint8]) -> NDArray[Any]:
    return images * SCALE[:, None, None] + BACKGROUND


def test_without_changes_images_are_those_of_gather_images(backend: Backend) -> None:
    be = backend
    indices, images = be.asarray([4, 0, 0]), be.asarray(IMAGES, np.uint8)
    source = images, indices, be.asarray(SCALE), be.asarray(SHIFT)
    wanted = be.to_numpy(be.gather_images(*source))
    found = be.augment_images(*source, Augmentation(), 5, be.asarray([1]))
    np.testing.assert_array_equal(be.to_numpy(found), wanted)


def test_the_parts_of_a_batch_are_those_of_the_whole(backend32: Backend) -> None:
    """And each step has other images."""
    changes = {"shift": 1, "rotate": 20, "elastic": 1, "erase": 0.5, "flip": 0.5}
    whole = augmented(backend32, IMAGES, first=2, **changes)
    for start in (1, 3):
        part = augmented(backend32, IMAGES[start:], first=2 + start, **changes)
        np.testing.assert_array_equal(part, whole[start:])
    assert np.any(augmented(backend32, IMAGES, first=2, step=4, **changes) != whole)


def test_shifts_are_by_whole_pixels(backend32: Backend) -> None:
    """Of all numbers up to the limit, along both axes; background comes in."""
    images = np.repeat(IMAGES[:1], 200, 0)
    found, shifts = augmented(backend32, images, shift=2), set()
    for image in found:
        for dy, dx in np.ndindex(5, 5):
            wanted = np.broadcast_to(BACKGROUND, (2, 11, 10)).copy()
            wanted[:, dy : dy + 7, dx : dx + 6] = as_it_is(images[0])
            if np.allclose(image, wanted[:, 2:-2, 2:-2], atol=1e-5):
                shifts.add((dy - 2, dx - 2))
                break
        else:
            pytest.fail("an image is not shifted by an integer number of pixels")
    assert len(shifts) == 25


@pytest.fixture
def largest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every word is the largest, so that every change is: NumPy's formulas are then exact."""
    ones = np.uint32(2**32 - 1)
    monkeypatch.setattr(
        augmentation, "philox", lambda key, step, blocks: np.full((4, blocks.size), ones)
    )


@pytest.mark.usefixtures("largest")
@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"rotate": 90}, lambda x: np.rot90(x, 1, (2, 3))),  # counterclockwise
        ({"rotate": 180}, lambda x: x[:, :, ::-1, ::-1]),
        ({"shift": 1}, lambda x: np.pad(x, ((0, 0), (0, 0), (1, 0), (1, 0)))[:, :, :-1, :-1]),
        ({"flip": 1}, lambda x: x[..., ::-1]),
        ({"flip_vertical": 1}, lambda x: x[:, :, ::-1]),
        ({"shear": 45}, lambda x: sheared(x)),
        ({"elastic": 1}, lambda x: np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1)))[:, :, 1:, 1:]),
        ({"erase": 1}, lambda x: erased(x)),
    ],
    ids=["quarter", "half", "shift", "flip", "flip vertically", "shear", "elastic", "erase"],
)
def test_the_direction_of_each_change(changes: dict[str, float], wanted: Any) -> None:
    square = RNG.integers(0, 256, (3, 2, 7, 7), np.uint8)
    found = augmented(NUMPY, square, **changes)
    np.testing.assert_allclose(found, as_it_is(wanted(square)), atol=1e-3)


def sheared(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A row k below the middle is moved by k to the right."""
    result = np.zeros_like(images)
    for row in range(7):
        for column in range(7):
            source = column - (row - 3)
            if 0 <= source < 7:
                result[:, :, row, column] = images[:, :, row, source]
    return result


def erased(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Three eighths of 7 are 2; the rectangle is the last one."""
    result = images.copy()
    result[:, :, 5:, 5:] = 0
    return result


@pytest.mark.usefixtures("largest")
def test_scaling_enlarges_about_the_centre() -> None:
    square = np.zeros((1, 2, 7, 7), np.uint8)
    square[:, :, 3, 4] = 200
    found = augmented(NUMPY, square, scale=0.5)  # by 1.5: from 1 to 1.5 pixels of the centre
    values = (found - BACKGROUND)[0, 0] / SCALE[0]
    assert values[3, 4] == pytest.approx(200 * 2 / 3, rel=1e-5)
    assert values[3, 5] == pytest.approx(200 * 2 / 3, rel=1e-5)
    assert values[3, 3] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shift": 1.5}, "augmentation: shift must be an integer >= 0, got 1.5"),
        ({"shift": 1001}, "augmentation: shift must be at most 1000 pixels, got 1001"),
        ({"rotate": -3}, "augmentation: rotate must be a finite number >= 0, got -3"),
        ({"scale": 1}, "augmentation: scale must be at most 0.9, got 1"),
        ({"flip": float("nan")}, "augmentation: flip must be a finite number >= 0, got nan"),
        ({"erase": "x"}, "augmentation: erase must be a finite number >= 0, got 'x'"),
    ],
)
def test_sizes_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        Augmentation(**changes)
