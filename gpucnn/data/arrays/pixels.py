"""Arrays of images in the usual dtypes, ranges and layouts, as uint8 (N, C, H, W).

Only what is certain is converted. Where values or axes could mean two things, the error gives the
line that converts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import isqrt, prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gpucnn.data.arrays.parts import Converted, LazyArray
from gpucnn.data.arrays.source import Source, listed
from gpucnn.data.lazy import Images
from gpucnn.data.types import Array, Bytes

# Elements converted at a time, so that float copies stay small.
_CHUNK = 1 << 20
# A row of fewer values is not an image.
_LEAST_PIXELS = 16
# An image set whose brightest value is below these was scaled twice, or is not of 255 levels.
_LEAST_BRIGHT, _LEAST_WHITE = 0.05, 128
_ROUNDED = 'x.round().astype("uint8")'
# How near to -1 and 1 the extremes of pixels from -1 to 1 must be.
_NEAR_ONE = 0.9
# What float32 may add to 1 or 255 where images were resized or scaled back and forth.
_ROUNDING = 1 + 1e-5
# Bytes that do not reach this are of fewer levels, such as scikit-learn's digits from 0 to 16.
_LEAST_LEVELS = 32


AnyArray = Array | LazyArray
Layout = Callable[[Array], Array]
"""Makes images (N, C, H, W) of an array by exchanging or splitting its axes."""


def to_images(arrays: Mapping[str, AnyArray], source: Source) -> dict[str, Images]:
    """Convert the images of all splits, scaled alike.

    Args:
        arrays: by their names, images of shape (N, H, W), (N, C, H, W) or (N, H, W, C) with C 1
            or 3, or (N, H*W) of square grey images. Their values are numbers from 0 to 255, 0 to 1
            or -1 to 1, or booleans.
        source: where they come from; remarks are added to it.

    Returns:
        uint8 arrays of shape (N, C, H, W), by the same names; of a ``LazyArray``, ``LazyImages``.

    Raises:
        DataError: another dtype, NaN or infinite values, a range or shape that is not certain.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in "buif":
            raise source.error(f"{name} is {array.dtype}, expected numbers (pixels from 0 to 255)")
    scale = _find_scale(arrays, source)
    shapes = {name: array.shape for name, array in arrays.items()}
    layouts = {name: _layout(name, shapes, source) for name in arrays}
    return {name: _converted(array, layouts[name], scale) for name, array in arrays.items()}


def _converted(array: AnyArray, layout: Layout, scale: _Scale | None) -> Images:
    """Return an array as images: now, or where it is lazy when they are read."""
    if isinstance(array, LazyArray):
        sides = layout(np.empty((1, *array.shape[1:]), array.dtype)).shape[1:]
        shape = (len(array), sides[0], sides[1], sides[2])
        return Converted(array, shape, lambda items: _to_bytes(layout(items), scale))
    return _to_bytes(layout(array), scale)


class _Scale(NamedTuple):
    """Pixels are (value + shift) * factor."""

    shift: float
    factor: float


class _Range(NamedTuple):
    low: float
    high: float
    integers: bool


def _find_scale(arrays: Mapping[str, AnyArray], source: Source) -> _Scale | None:
    """Return how the values of all arrays become 0 to 255; None if they are uint8 pixels."""
    ranges = {name: _range(name, array, source) for name, array in arrays.items()}
    low = min(one.low for one in ranges.values())
    high = max(one.high for one in ranges.values())
    names, found = list(arrays), f"{listed(arrays)} hold values from {low:.6g} to {high:.6g}"
    if len(names) == 1:
        found = found.replace(" hold ", " holds ", 1)
    is_bytes = source.typed and all(array.dtype == np.uint8 for array in arrays.values())
    if low >= 0 and _LEAST_BRIGHT <= high <= 1:
        _refuse_mixture(ranges, source)
        source.remark("pixels from 0 to 1 were multiplied by 255")
        return _Scale(0, 255)
    if is_bytes or high == low == 0:
        if 0 < high < _LEAST_LEVELS:
            source.remark(f"pixels reach only {high:g} of 255 and are used as they are")
        return None
    if -1 <= low <= -_NEAR_ONE and _NEAR_ONE <= high <= 1:
        source.remark("pixels from -1 to 1 were scaled to 0 to 255")
        return _Scale(1, 127.5)
    if low >= 0 and _LEAST_WHITE <= high <= 255:
        _refuse_mixture(ranges, source)
        if not all(one.integers for one in ranges.values()):
            source.remark("pixels from 0 to 255 were rounded to integers")
        elif any(array.dtype.kind == "f" for array in arrays.values()):
            source.remark("pixels are floats from 0 to 255")
        return _Scale(0, 1)
    expected = "expected 0 to 255, 0 to 1 or -1 to 1"
    if low >= 0:
        line = source.converting(names, f'(x * (255 / {high:.9g})).round().astype("uint8")')
        if 1 < high <= 255:
            line += f" -- if 255 is white, run: {source.converting(names, _ROUNDED)}"
        raise source.error(f"{found}, {expected}. If {high:.6g} is white, run: {line}")
    line = source.converting(
        names, f'((x - {low:.9g}) * (255 / {high - low:.9g})).clip(0, 255).round().astype("uint8")'
    )
    raise source.error(f"{found}, {expected}. To scale them, run: {line}")


def _without_rounding(low: float, high: float) -> tuple[float, float]:
    """Return the limits of a range without what rounding in float32 adds beyond -1, 0, 1, 255."""
    white = next((one for one in (1, 255) if one < high <= one * _ROUNDING), high)
    if -_ROUNDING <= low < -1:
        return -1, white
    return (0 if (1 - _ROUNDING) * white <= low < 0 else low), white


def _refuse_mixture(ranges: Mapping[str, _Range], source: Source) -> None:
    """Raise DataError if one split seems to be scaled to 0..1 and another is not."""
    highs = {name: one.high for name, one in ranges.items() if one.high > 0}
    if highs and min(highs.values()) <= 1 < max(highs.values()):
        small, large = min(highs, key=highs.__getitem__), max(highs, key=highs.__getitem__)
        raise source.error(
            f"{small} holds values up to {highs[small]:.6g}, but {large} up to"
            f" {highs[large]:.6g}: scale both alike"
        )


def _chunks(array: Array) -> list[slice]:
    """Return slices of the first axis with about _CHUNK elements each."""
    step = max(1, _CHUNK * len(array) // max(array.size, 1))
    return [slice(start, start + step) for start in range(0, len(array), step)]


def _parts(array: AnyArray) -> Iterator[Array]:
    """Yield an array in parts of its first axis."""
    if isinstance(array, LazyArray):
        yield from array.parts()
    else:
        yield from (array[part] for part in _chunks(array))


def _range(name: str, array: AnyArray, source: Source) -> _Range:
    """Return the least and greatest value, and whether all are integers; DataError for NaN."""
    if array.ndim == 0 or array.size == 0:
        raise source.error(f"{name} has shape {array.shape}, dtype {array.dtype}: it is empty")
    low, high, integers, start = np.inf, -np.inf, True, 0
    for values in _parts(array):
        least, greatest = float(values.min()), float(values.max())
        if not np.isfinite([least, greatest]).all():
            where = start + int((~np.isfinite(values)).reshape(len(values), -1).any(1).argmax())
            raise source.error(f"{name} holds NaN or infinity, first in image {where}")
        low, high = min(low, least), max(high, greatest)
        if integers and array.dtype.kind == "f":
            integers = bool((values == np.rint(values)).all())
        start += len(values)
        if isinstance(array, LazyArray):
            source.progress(start, len(array))
    if array.dtype.kind == "f":
        low, high = _without_rounding(low, high)
    return _Range(low, high, integers)


def _to_bytes(array: Array, scale: _Scale | None) -> Bytes:
    """Return the scaled values, rounded, as uint8."""
    if scale is None:
        return array.astype(np.uint8, copy=False)
    if scale == (0, 1) and array.dtype.kind in "iu":
        return array.astype(np.uint8)
    result = np.empty(array.shape, np.uint8)
    dtype = np.float64 if array.dtype.itemsize > 4 else np.float32
    for part in _chunks(array):
        values: npt.NDArray[np.floating[Any]] = array[part].astype(dtype)
        values += scale.shift
        values *= scale.factor
        result[part] = np.rint(values)
    return result


def _layout(name: str, shapes: Mapping[str, tuple[int, ...]], source: Source) -> Layout:
    """Return what makes images (N, C, H, W) of arrays of the shape that ``name`` has."""
    shape = shapes[name]
    alike = [key for key, other in shapes.items() if other[1:] == shape[1:]]
    if len(shape) == 3 and 1 in shape[1:] and prod(shape[1:]) >= _LEAST_PIXELS:
        shape = (shape[0], prod(shape[1:]))
    if len(shape) == 2:
        side = _side(name, shape, alike, source)
        return lambda array: array.reshape(len(array), 1, side, side)
    if len(shape) == 3:
        return lambda array: array[:, None]
    first, last = (len(shape) == 4 and shape[axis] in (1, 3) for axis in (1, -1))
    if first and last:
        raise source.error(
            f"{name} has shape {shape}, where axis 1 and axis 3 could both be the channels"
        )
    if first:
        return lambda array: array
    if last:
        return lambda array: array.transpose(0, 3, 1, 2)
    hint = ""
    if len(shape) == 4 and shape[-1] == 4:
        hint = f". To drop the fourth channel, run: {source.converting(alike, 'x[..., :3]')}"
    raise source.error(
        f"{name} has shape {shape}, expected (N, H, W), (N, H, W, C) or (N, C, H, W) with C"
        f" 1 or 3, or (N, H*W){hint}"
    )


def square_side(values: int, channels: int = 1) -> int:
    """Return the side of the square image that a row of so many values may be, or 0."""
    side = isqrt(values // channels)
    return side if values >= _LEAST_PIXELS and channels * side * side == values else 0


def _side(name: str, shape: tuple[int, ...], alike: list[str], source: Source) -> int:
    """Return the side of the grey images that rows of pixels are; ``alike`` have such rows."""
    pixels = shape[1]
    if side := square_side(pixels):
        source.remark(f"rows of {pixels} pixels are grey images of {side}x{side}")
        return side
    if third := square_side(pixels, channels=3):
        planes = source.converting(alike, f"x.reshape(-1, 3, {third}, {third})")
        triples = source.converting(alike, f"x.reshape(-1, {third}, {third}, 3)")
        raise source.error(
            f"{name} has rows of {pixels} values, which could be colour images of"
            f" {third}x{third} in two orders. If all red values come first, run: {planes} -- if"
            f" red, green and blue alternate, run: {triples}"
        )
    raise source.error(
        f"{name} has shape {shape}: rows of {pixels} values are not square images."
        " Expected (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3, or (N, H*W)"
    )
