"""Batches of images with random changes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gpucnn.testing.naive.common import Array
from gpucnn.testing.naive.random import random_words

POINTS = 5  # control points along an axis


def augment_images(
    images: Array,
    indices: Array,
    scale: Array,
    shift: Array,
    augmentation: Any,
    key: int,
    step: Array,
    first: int = 0,
) -> Array:
    """Return images[indices] times scale plus shift, each image changed by its 64 words."""
    _, channels, height, width = images.shape
    output = np.zeros((len(indices), channels, height, width))
    words = list(random_words(64 * (first + len(indices)), key, step))
    for n, item in enumerate(indices):
        own = words[64 * (first + n) : 64 * (first + n + 1)]
        for c, y, x in np.ndindex(channels, height, width):
            value = 0.0
            if not is_erased(own, augmentation.erase, y, x, height, width):
                source_y, source_x = source_of(own, augmentation, y, x, height, width)
                value = between_pixels(images[item, c], source_y, source_x)
            output[n, c, y, x] = value * float(scale[c]) + float(shift[c])
    return output


def source_of(
    words: list[int], augmentation: Any, y: int, x: int, height: int, width: int
) -> tuple[float, float]:
    """Return the point (y, x) of the image that a pixel of the result comes from."""
    most = augmentation.shift
    dx, dy = (integer_below(word, 2 * most + 1) - most for word in words[:2])
    angle = math.radians(augmentation.rotate) * signed(words[2])
    zoom = 1 + augmentation.scale * signed(words[3])
    slope = math.tan(math.radians(augmentation.shear) * signed(words[4]))
    # Back through the changes, in the reverse of their order: the shift, the rotation, ...
    u, v = x - (width - 1) / 2 - dx, y - (height - 1) / 2 - dy
    u, v = u * math.cos(angle) - v * math.sin(angle), u * math.sin(angle) + v * math.cos(angle)
    u, v = u / zoom, v / zoom
    u = u - slope * v
    if words[5] < augmentation.flip * 2**32:
        u = -u
    if words[6] < augmentation.flip_vertical * 2**32:
        v = -v
    source_y = (height - 1) / 2 + v + displacement(words[37:62], y, x, height, width, augmentation)
    source_x = (width - 1) / 2 + u + displacement(words[12:37], y, x, height, width, augmentation)
    return source_y, source_x


def displacement(
    words: list[int], y: int, x: int, height: int, width: int, augmentation: Any
) -> float:
    """Return the sum of the control points' displacements, each times its share of the pixel."""
    total = 0.0
    for row in range(POINTS):
        for column in range(POINTS):
            share = control_share(y, row, height) * control_share(x, column, width)
            total += share * augmentation.elastic * signed(words[row * POINTS + column])
    return total


def control_share(at: int, point: int, size: int) -> float:
    """Return 1 at a control point, 0 from the next ones on, and 1 - 3 d**2 + 2 d**3 between."""
    place = point * (size - 1) / (POINTS - 1)  # of the control point
    if size == 1:
        return 1.0 if point == 0 else 0.0
    d = abs(at - place) * (POINTS - 1) / (size - 1)
    return 1 - 3 * d**2 + 2 * d**3 if d < 1 else 0.0


def between_pixels(plane: Array, y: float, x: float) -> float:
    """Return the sum of the pixels, each times its share of the point; outside there are zeros."""
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * float(plane[row, column])
    return total


def is_erased(words: list[int], erase: float, y: int, x: int, height: int, width: int) -> bool:
    """Return whether a pixel is in the erased rectangle."""
    if words[7] >= erase * 2**32:
        return False
    rows, columns = erased_side(words[8], height), erased_side(words[9], width)
    top = integer_below(words[10], height - rows + 1)
    left = integer_below(words[11], width - columns + 1)
    return top <= y < top + rows and left <= x < left + columns


def erased_side(word: int, size: int) -> int:
    """Return a side of the erased rectangle: an eighth to three eighths of the image's."""
    least = max(1, size // 8)
    most = max(least, 3 * size // 8)
    return least + integer_below(word, most - least + 1)


def signed(word: int) -> float:
    """Return a number from -1 to 1: the upper 24 bits."""
    return 2 * (word // 2**8) / 2**24 - 1


def integer_below(word: int, count: int) -> int:
    """Return an integer below count: a share of the upper 24 bits."""
    return (word // 2**8) * count // 2**24


def lerp(input: Array, end: Array, weight: Array) -> Array:
    """Return the weighted mean of two arrays."""
    output = np.zeros(input.shape)
    share = float(weight[0])
    for index in np.ndindex(*input.shape):
        output[index] = (1 - share) * float(input[index]) + share * float(end[index])
    return output
