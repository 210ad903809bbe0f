"""Fixed filters: a matrix that is given, not learned, applied as by a convolution layer.

The backend's ``conv2d`` computes the results. Images are (H, W), or (C, H, W) with each channel
filtered by itself (a depthwise convolution).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gpucnn.arithmetic import effective_kernel, full_padding, same_padding
from gpucnn.backends import Backend, get_backend
from gpucnn.backends.contract.window import IntOrPair, Pair, pair
from gpucnn.config import check_flag, check_integer, check_number
from gpucnn.errors import DataError, SettingError, ShapeError, unknown

Floats = NDArray[np.floating[Any]]

MAX_ELEMENTS = 1 << 14
"""Elements of a matrix, 128 x 128: larger ones would need a Fourier transform, not a sum."""

MIN_SEPARABLE = 36
"""Elements from which a matrix of rank 1 is applied as a column and a row."""

PADDINGS = ("same", "valid", "full")

BORDERS = {"zeros": "", "replicate": "edge", "reflect": "reflect", "circular": "wrap"}
"""PyTorch's names of padding modes, and NumPy's names of the same."""


def _gaussian(size: int, sigma: float | None) -> Floats:
    # As OpenCV's getGaussianKernel: about two standard deviations on each side.
    width = 0.3 * ((size - 1) * 0.5 - 1) + 0.8 if sigma is None else sigma
    with np.errstate(over="ignore", under="ignore"):
        line = np.exp(-(((np.arange(size) - (size - 1) / 2) / width) ** 2) / 2)
    if not line.any():  # an even size has no element at the centre
        raise SettingError(f"sigma {width:g} is too small for a size of {size}")
    line /= line.sum()
    return np.outer(line, line)


def _x_and_y(x: Sequence[Sequence[int]]) -> Floats:
    return np.stack([np.array(x, float), np.array(x, float).T])


FILTERS: dict[str, Callable[[int, float | None], Floats]] = {
    "sobel": lambda size, sigma: _x_and_y([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]),
    "prewitt": lambda size, sigma: _x_and_y([[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]]),
    "laplacian": lambda size, sigma: np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], float),
    "box-blur": lambda size, sigma: np.full((size, size), 1 / size**2),
    "gaussian-blur": _gaussian,
    "sharpen": lambda size, sigma: np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], float),
    "emboss": lambda size, sigma: np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], float),
    "identity": lambda size, sigma: np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], float),
}
"""The matrices by name: functions of the size and standard deviation of blurs.

Those of sobel and prewitt are two: x is large at vertical edges, with dark on the left, and y at
horizontal ones, with dark at the top.
"""

SIZED = ("box-blur", "gaussian-blur")
"""The filters that have a size."""


def filter_matrix(name: str, size: int = 5, sigma: float | None = None) -> Floats:
    """Return the matrix of a filter by its name in ``FILTERS``, float64.

    Args:
        name: sobel, prewitt, laplacian, box-blur, gaussian-blur, sharpen, emboss or identity.
        size: rows and columns of the two blurs.
        sigma: standard deviation of gaussian-blur in pixels; OpenCV's default for the size if None.

    Returns:
        (kh, kw), or (2, kh, kw) for sobel and prewitt: the components x and y of the gradient.

    Raises:
        SettingError: an unknown name, or a size or sigma out of range.

    >>> filter_matrix("sharpen").tolist()
    [[0.0, -1.0, 0.0], [-1.0, 5.0, -1.0], [0.0, -1.0, 0.0]]
    """
    if name not in FILTERS:
        raise unknown("filter", name, FILTERS)
    size = check_integer("size", size, 1)
    if size**2 > MAX_ELEMENTS:
        raise SettingError(f"size must be at most {math.isqrt(MAX_ELEMENTS)}, got {size}")
    if sigma is not None and check_number("sigma", sigma, 0) == 0:
        raise SettingError(f"sigma must be greater than 0, got {sigma!r}")
    return FILTERS[name](size, sigma)


def apply_filter(
    image: ArrayLike,
    matrix: str | ArrayLike,
    *,
    stride: IntOrPair = 1,
    dilation: IntOrPair = 1,
    padding: str = "same",
    border: str = "zeros",
    flip: bool = False,
    backend: str | Backend = "numpy",
) -> Floats:
    """Filter an image with a matrix, by the ``conv2d`` of a backend.

    As in every convolution layer, this is cross-correlation: the matrix is not flipped. With
    ``flip`` it is turned by 180 degrees first, which is convolution in the mathematical sense.

    Args:
        image: (H, W) or (C, H, W) of numbers. Integers are not scaled: of uint8 pixels, the result
            is in levels too.
        matrix: (kh, kw), a name in ``FILTERS``, or several of one size, (M, kh, kw).
        stride: the distance of adjacent windows, an integer or (vertical, horizontal).
        dilation: the distance of adjacent elements of the matrix in the image.
        padding: "valid": only windows inside the image. "full": all that overlap it. "same": H x W
            windows, as in PyTorch and in SciPy's correlate2d. For a matrix of even size the extra
            row or column of padding is at the bottom or right; with ``flip`` at the top or left, as
            in convolve2d. A stride of s keeps every s-th row or column of that result.
        border: what is outside the image: "zeros", as in a convolution layer, "replicate" its
            outermost pixels, "reflect" it at them, or "circular", as in ``torch.nn.Conv2d``.
        flip: turn the matrix by 180 degrees.
        backend: the name of a backend, or a backend.

    Returns:
        Floats of the backend's dtype (float32): the shape of the image with (H', W') in place of
        (H, W), after an axis of M if there are several matrices.

    Raises:
        DataError: the image has no pixels, another number of axes, or is not of numbers.
        SettingError: the matrix is empty, ragged, too large, or not of finite numbers; or a name or
            number is out of range.
        ShapeError: padding is "valid" and the matrix is larger than the image.

    >>> apply_filter([[0, 0, 8], [0, 0, 8], [0, 0, 8]], "sobel", padding="valid").ravel().tolist()
    [32.0, 0.0]
    """
    be = get_backend(backend) if isinstance(backend, str) else backend
    pixels, weights = _checked_image(image), _checked_matrix(matrix)
    flip = check_flag("flip", flip)
    if flip:
        weights = weights[..., ::-1, ::-1]
    if border not in BORDERS:
        raise unknown("border", border, BORDERS)
    planes = pixels.reshape(1, -1, *pixels.shape[-2:])
    size: Pair = weights.shape[-2:]
    strides, dilations = pair("stride", stride, 1), pair("dilation", dilation, 1)
    pads = _pads(padding, size, dilations, flip)
    _check_room(planes.shape[2:], size, dilations, pads)
    if BORDERS[border] and pads != ((0, 0), (0, 0)):
        planes = np.pad(planes, ((0, 0), (0, 0), *pads), mode=BORDERS[border])  # type: ignore[call-overload]
        pads = ((0, 0), (0, 0))
    channels, y = planes.shape[1], be.asarray(np.ascontiguousarray(planes, be.dtype))
    with be.limit_threads():
        for part in _factors(weights):
            rows, columns = part.shape[-2:]
            # The outputs of a group, which is a channel, come one after the other.
            kernel = np.broadcast_to(part, (channels, *part.shape)).reshape(-1, 1, rows, columns)
            y = be.conv2d(
                y,
                be.asarray(np.ascontiguousarray(kernel, be.dtype)),
                # A factor of one row neither skips rows nor needs padding there.
                stride=(
                    strides[0] if rows == size[0] else 1,
                    strides[1] if columns == size[1] else 1,
                ),
                padding=(
                    pads[0] if rows == size[0] else 0,
                    pads[1] if columns == size[1] else 0,
                ),
                dilation=dilations,
                groups=channels,
            )
        found = be.to_numpy(y)
    found = found.reshape(channels, -1, *found.shape[2:]).swapaxes(0, 1)
    result: Floats = found.reshape(*weights.shape[:-2], *pixels.shape[:-2], *found.shape[2:])
    return result


def magnitude(components: ArrayLike) -> Floats:
    """Return the root of the sum of squares over the first axis: of a gradient, its magnitude."""
    values = np.asarray(components)
    squared: Floats = np.square(values[0])
    for value in values[1:]:
        squared += np.square(value)
    return np.sqrt(squared, out=squared)


def _checked_image(image: ArrayLike) -> NDArray[Any]:
    pixels = np.asarray(image)
    if pixels.dtype.kind not in "buif" or pixels.ndim not in (2, 3) or not pixels.size:
        raise DataError(
            "an image must be numbers of shape (H, W) or (C, H, W), got "
            f"{pixels.dtype} {pixels.shape}"
        )
    return pixels


def _checked_matrix(matrix: str | ArrayLike) -> Floats:
    if isinstance(matrix, str):
        return filter_matrix(matrix)
    try:
        values = np.asarray(matrix, np.float64)
    except (TypeError, ValueError):
        raise SettingError("the matrix must be rows of numbers, all of one length") from None
    if values.ndim not in (2, 3) or not values.size:
        raise SettingError(
            f"the matrix must have the shape (kh, kw) or (M, kh, kw), got {values.shape}"
        )
    if math.prod(values.shape[-2:]) > MAX_ELEMENTS:
        raise SettingError(
            f"the matrix has {math.prod(values.shape[-2:]):,} elements, at most "
            f"{MAX_ELEMENTS:,} are possible"
        )
    if not (abs(values) <= np.finfo(np.float32).max).all():
        raise SettingError("the matrix must have finite elements, got NaN, infinity or more")
    return values


def _pads(padding: str, size: Pair, dilation: Pair, flip: bool) -> tuple[Pair, Pair]:
    """Return the padding as ((top, bottom), (left, right))."""
    if padding not in PADDINGS:
        raise unknown("padding", padding, PADDINGS)
    if padding == "valid":
        return (0, 0), (0, 0)
    sides = same_padding if padding == "same" else full_padding
    vertical, horizontal = map(sides, size, dilation)
    return (vertical[::-1], horizontal[::-1]) if flip else (vertical, horizontal)


def _check_room(plane: Pair, size: Pair, dilation: Pair, pads: tuple[Pair, Pair]) -> None:
    """Raise ShapeError unless the matrix fits into the padded image."""
    extent = tuple(map(effective_kernel, size, dilation))
    if any(e > p + sum(side) for e, p, side in zip(extent, plane, pads, strict=True)):
        raise ShapeError(
            f"the matrix covers {extent[0]} x {extent[1]} pixels and the image has {plane[0]} x "
            f'{plane[1]}: use padding "same" or "full", or a smaller matrix or dilation'
        )


def _factors(weights: Floats) -> list[Floats]:
    """Return the weights of one or two convolutions, (M, kh, kw) each, that equal ``weights``.

    A large matrix of rank 1, as of a blur, is a column times a row: 2 k elements instead of k^2.
    """
    stacked = weights.reshape(-1, *weights.shape[-2:])
    if len(stacked) > 1 or stacked.size < MIN_SEPARABLE or min(stacked.shape[1:]) == 1:
        return [stacked]
    u, values, v = np.linalg.svd(stacked[0], full_matrices=False)
    if values[1] > 1e-14 * values[0]:
        return [stacked]
    root = math.sqrt(values[0])
    return [root * u[None, :, :1], root * v[None, :1, :]]
