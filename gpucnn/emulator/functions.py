"""CuPy's functions of arrays that programs around raw kernels use; NumPy computes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from gpucnn.emulator.array import Shape, asarray, compute, empty, ndarray, zeros

COMPUTED = (
    # elements
    "abs", "absolute", "add", "arctan", "ceil", "clip", "conj", "cos", "divide", "equal", "exp",
    "floor", "fmax", "fmin", "greater", "isclose", "isfinite", "isinf", "isnan", "less", "log",
    "log2", "logical_and", "logical_not", "logical_or", "maximum", "minimum", "mod", "multiply",
    "negative", "power", "rint", "round", "sign", "sin", "sqrt", "square", "subtract", "tan",
    "tanh", "where",
    # sums, orders and products
    "all", "allclose", "any", "argmax", "argmin", "argsort", "array_equal", "average", "bincount",
    "count_nonzero", "cumprod", "cumsum", "diff", "dot", "einsum", "histogram", "inner", "matmul",
    "max", "mean", "median", "min", "nonzero", "outer", "prod", "searchsorted", "sort", "std",
    "sum", "tensordot", "trace", "unique", "var", "vdot",
    # shapes
    "broadcast_to", "concatenate", "expand_dims", "flip", "hstack", "meshgrid", "moveaxis", "pad",
    "repeat", "reshape", "roll", "rot90", "squeeze", "stack", "swapaxes", "take", "tile",
    "transpose", "tril", "triu", "vstack",
)  # fmt: skip
"""Functions of NumPy that take and return device arrays here."""

MADE = (
    "arange", "eye", "fromfunction", "full", "identity", "indices", "linspace", "logspace",
    "ones", "tri",
)  # fmt: skip
"""Functions of NumPy that make arrays, here on the device."""

CONSTANTS = (
    "bool_", "complex128", "complex64", "dtype", "e", "finfo", "float16", "float32", "float64",
    "iinfo", "inf", "int16", "int32", "int64", "int8", "intp", "nan", "newaxis", "pi", "uint16",
    "uint32", "uint64", "uint8", "uintp",
)  # fmt: skip
"""Types and numbers, which are NumPy's own."""

REFUSED = {
    "ElementwiseKernel": "write the kernel as a RawKernel",
    "ReductionKernel": "write the kernel as a RawKernel",
    "RawKernelFunction": "write the kernel as a RawKernel",
    "fuse": "write the kernel as a RawKernel",
    "vectorize": "write the kernel as a RawKernel",
    "fft": "compute it with NumPy, and copy the result with asarray()",
    "linalg": "compute it with NumPy, and copy the result with asarray()",
}
"""What the emulator does not have, and what to do instead."""


def _computed(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function, assigned=("__name__", "__doc__"), updated=())
    def call(*args: Any, out: ndarray | None = None, **options: Any) -> Any:
        return compute(function, args, options, out)

    return call


def _made(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function, assigned=("__name__", "__doc__"), updated=())
    def call(*args: Any, **options: Any) -> Any:
        made = function(*args, **options)
        return [asarray(x) for x in made] if isinstance(made, list | tuple) else asarray(made)

    return call


def find(name: str) -> Any:
    """Return a function or a constant by CuPy's name; AttributeError with what to do instead."""
    if name in CONSTANTS:
        return getattr(np, name)
    if name in COMPUTED:
        return _computed(getattr(np, name))
    if name in MADE:
        return _made(getattr(np, name))
    instead = REFUSED.get(name)
    hint = f": {instead}" if instead else "; gpucnn/emulator/README.md lists what there is"
    raise AttributeError(f"the emulator does not support cupy.{name}{hint}")


def array(
    values: ArrayLike | ndarray, dtype: DTypeLike | None = None, copy: bool = True
) -> ndarray:
    """Return a new array of ``values`` on the device."""
    found = asarray(values, dtype)
    return found.copy() if copy and found is values else found


def ascontiguousarray(values: ArrayLike | ndarray, dtype: DTypeLike | None = None) -> ndarray:
    """Return ``values`` on the device in the order of C, without a copy where that is so."""
    found = asarray(values, dtype)
    return found if found.flags.c_contiguous else found.copy()


def _dtype_like(array: ndarray, dtype: DTypeLike | None) -> DTypeLike:
    return array.dtype if dtype is None else dtype


def empty_like(
    array: ndarray, dtype: DTypeLike | None = None, shape: Shape | None = None
) -> ndarray:
    """Return an array with unset contents, of the shape and dtype of another."""
    return empty(array.shape if shape is None else shape, _dtype_like(array, dtype))


def zeros_like(
    array: ndarray, dtype: DTypeLike | None = None, shape: Shape | None = None
) -> ndarray:
    """Return an array of zeros, of the shape and dtype of another."""
    return zeros(array.shape if shape is None else shape, _dtype_like(array, dtype))


def full_like(
    array: ndarray, value: Any, dtype: DTypeLike | None = None, shape: Shape | None = None
) -> ndarray:
    """Return an array of one value, of the shape and dtype of another."""
    made = empty_like(array, dtype, shape)
    made.fill(value)
    return made


def ones_like(
    array: ndarray, dtype: DTypeLike | None = None, shape: Shape | None = None
) -> ndarray:
    """Return an array of ones, of the shape and dtype of another."""
    return full_like(array, 1, dtype, shape)


def copyto(target: ndarray, source: Any) -> None:
    """Copy an array of the device, or a number, into another array."""
    target[...] = source
