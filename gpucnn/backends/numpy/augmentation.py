"""Random changes of training images, made while a batch is gathered.

Arrays have the batch innermost: (H, W, N). Shapes: N images, C channels, H by W pixels.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends.contract.augmentation import (
    BLOCKS,
    CONTROL_POINTS,
    WORDS,
    Augmentation,
    Augmenting,
)
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.random import threshold
from gpucnn.backends.numpy.arrays import NumpyArrays
from gpucnn.backends.numpy.windows import batch_first
from gpucnn.rng import philox

Drawn = NDArray[np.uint32]


class NumpyAugmenting(NumpyArrays, Augmenting):
    """Batches of images with random changes."""

    def _augment_images(
        self,
        images: Array,
        indices: Array,
        scale: Array,
        shift: Array,
        augmentation: Augmentation,
        key: int,
        step: Array,
        first: int,
    ) -> Array:
        self._check_within("augment_images", "indices", indices, len(images), "images")
        blocks = np.arange(BLOCKS * first, BLOCKS * (first + indices.size), dtype=np.uint64)
        drawn = philox(key, int(step[0]), blocks).T.reshape(indices.size, 4 * BLOCKS)
        words = np.ascontiguousarray(drawn.T)  # (64, N)
        height, width = images.shape[2:]
        from_x, from_y = self._sources(words, augmentation, height, width)
        batch = interpolate(images[indices], from_x, from_y)
        batch *= scale[:, None, None, None]
        batch += shift[:, None, None, None]
        if augmentation.erase:
            erased = rectangles(words, augmentation.erase, height, width)
            np.copyto(batch, shift[:, None, None, None], where=erased)
        return batch_first(batch)

    def _sources(
        self, words: Drawn, augmentation: Augmentation, height: int, width: int
    ) -> tuple[Array, Array]:
        """Return where each pixel of the batch comes from, x and y, each (H, W, N)."""
        inverse = inverse_of(words, augmentation, self.dtype)
        cx, cy = (self.dtype.type((size - 1) / 2) for size in (width, height))
        u = (np.arange(width, dtype=self.dtype) - cx)[:, None] - inverse.shift_x
        v = (np.arange(height, dtype=self.dtype) - cy)[:, None] - inverse.shift_y
        from_x = (cx + inverse.ax * u) + (inverse.bx * v)[:, None]
        from_y = (cy + inverse.ay * u) + (inverse.by * v)[:, None]
        if augmentation.elastic:
            count = CONTROL_POINTS**2
            rows, columns = (self._between(size) for size in (height, width))
            for start, source in ((len(WORDS), from_x), (len(WORDS) + count, from_y)):
                grid = self._symmetric(words[start : start + count], augmentation.elastic)
                across = columns @ grid.reshape(CONTROL_POINTS, CONTROL_POINTS, -1)
                source += (rows @ across.reshape(CONTROL_POINTS, -1)).reshape(source.shape)
        return from_x, from_y

    def _lerp(self, input: Array, end: Array, weight: Array) -> Array:
        result = np.multiply(end, weight[0])
        result += (1 - weight[0]) * input
        return np.asarray(result)

    def _between(self, size: int) -> Array:
        """Return how much each control point counts at each of ``size`` pixels, (size, 5)."""
        shares = np.zeros((size, CONTROL_POINTS), self.dtype)
        for at in range(size):
            t = at * (CONTROL_POINTS - 1) / (size - 1) if size > 1 else 0.0
            before = min(int(t), CONTROL_POINTS - 2)
            rest = t - before
            after = rest * rest * (3 - 2 * rest)  # without kinks at the control points
            shares[at, before : before + 2] = 1 - after, after
        return shares

    def _symmetric(self, words: Drawn, most: float) -> Array:
        """Return numbers from -most to most."""
        return symmetric(words, self.dtype) * self.dtype.type(most)


class Inverse(NamedTuple):
    """The inverse of the affine changes: x = cx + ax u + bx v, y = cy + ay u + by v, each (N,).

    (u, v) is the vector from the centre to a pixel of the result, less the shift.
    """

    ax: Array
    bx: Array
    ay: Array
    by: Array
    shift_x: Array
    shift_y: Array


def inverse_of(words: Drawn, augmentation: Augmentation, dtype: np.dtype[Any]) -> Inverse:
    """Return what each pixel is taken back through. kernels/augment.cu has the mathematics."""
    drawn = dict(zip(WORDS, words, strict=False))

    def ranged(name: str, most: float) -> Array:
        return symmetric(drawn[name], dtype) * dtype.type(most)

    angle = ranged("rotate", math.radians(augmentation.rotate))
    zoom = 1 + ranged("scale", augmentation.scale)
    k = np.tan(ranged("shear", math.radians(augmentation.shear)))
    c, s = np.cos(angle) / zoom, np.sin(angle) / zoom
    mirror_x, mirror_y = (
        np.where(drawn[name] < threshold(probability), dtype.type(-1), dtype.type(1))
        for name, probability in (
            ("flip", augmentation.flip),
            ("flip_vertical", augmentation.flip_vertical),
        )
    )
    shifts = (
        below(drawn[name], 2 * augmentation.shift + 1) - augmentation.shift
        for name in ("shift_x", "shift_y")
    )
    shift_x, shift_y = (shift.astype(dtype) for shift in shifts)
    ax, bx = mirror_x * (c - k * s), -mirror_x * (s + k * c)
    return Inverse(ax, bx, mirror_y * s, mirror_y * c, shift_x, shift_y)


def symmetric(words: Drawn, dtype: np.dtype[Any]) -> Array:
    """Return numbers from -1 to 1."""
    return np.multiply(words >> np.uint32(8), 2.0**-23, dtype=dtype) - dtype.type(1)


def below(words: Drawn, count: int | Array) -> NDArray[np.int64]:
    """Return integers below ``count``, at most 2**24."""
    return (words >> np.uint32(8)).astype(np.int64) * count >> 24


def interpolate(images: Array, from_x: Array, from_y: Array) -> Array:
    """Return the values of uint8 ``images`` (N, C, H, W) at the points, each (H, W, N).

    The result is (C, H, W, N), of the dtype of the points, which are changed. Values are
    interpolated between the four nearest pixels; outside is 0.
    """
    samples, channels, height, width = images.shape
    padded = np.zeros((samples, channels, height + 3, width + 3), np.uint8)
    padded[:, :, 1:-2, 1:-2] = images
    # The four pixels around each point are one integer, so that one look-up finds them.
    corners = np.empty((samples, channels, height + 2, width + 2, 4), np.uint8)
    for corner, (row, column) in enumerate(np.ndindex(2, 2)):
        corners[..., corner] = padded[:, :, row : row + height + 2, column : column + width + 2]
    table = corners.view(np.uint32).ravel()

    left, right_part = _split(from_x, width)
    top, lower_part = _split(from_y, height)
    plane = (height + 2) * (width + 2)
    top *= width + 2
    top += left
    top += np.arange(samples) * (channels * plane) + width + 3
    result = np.empty((channels, *top.shape), from_x.dtype)
    for channel, values in enumerate(result):
        corners = table[channel * plane :].take(top).view(np.uint8).reshape(*top.shape, 4)
        above, under = (_mix(corners, row, right_part) for row in (0, 2))
        under -= above
        under *= lower_part
        np.add(above, under, out=values)
    return result


def _split(at: Array, size: int) -> tuple[NDArray[np.int64], Array]:
    """Return the pixel before each point, and the distance to it; ``at`` is changed.

    Beyond a pixel outside all is background.
    """
    np.clip(at, -1, size, out=at)
    before = np.floor(at)
    at -= before
    return before.astype(np.int64), at


def _mix(corners: NDArray[np.uint8], first: int, part: Array) -> Array:
    """Return the values between corners ``first`` and ``first`` + 1."""
    one = corners[..., first].astype(part.dtype)
    other = corners[..., first + 1].astype(part.dtype)
    other -= one
    other *= part
    one += other
    return one


def rectangles(words: Drawn, probability: float, height: int, width: int) -> NDArray[np.bool_]:
    """Return where images are erased, (H, W, N)."""
    drawn = dict(zip(WORDS, words, strict=False))
    erases, inside = drawn["erase"] < threshold(probability), []
    for size, length, start in (
        (height, "erase_height", "erase_top"),
        (width, "erase_width", "erase_left"),
    ):
        least = max(1, size // 8)
        most = max(least, 3 * size // 8)
        sides = least + below(drawn[length], most - least + 1)
        starts, at = below(drawn[start], size - sides + 1), np.arange(size)[:, None]
        inside.append((at >= starts) & (at < starts + sides))
    rows, columns = inside
    erased: NDArray[np.bool_] = (rows & erases)[:, None] & columns
    return erased
