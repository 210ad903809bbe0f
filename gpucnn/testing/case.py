"""A case of the table, and how its operation is run on a backend or by the naive loops.

A case makes its arrays under the names of the operation's parameters. float32 arrays stand for the
backend's dtype; they are converted to float64 for the references, so that all compute with the same
numbers. Other dtypes are kept. The results of an operation that returns None are its arguments
after the call.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends import Backend
from gpucnn.backends.contract.operations import operation, operations
from gpucnn.testing import naive
from gpucnn.testing.tolerance import assert_close
from gpucnn.testing.values import normal

Array = Any
Arrays = dict[str, Any]
Maker = Callable[[np.random.Generator], dict[str, NDArray[Any]]]


@dataclass(frozen=True, eq=False)
class Case:
    """An operation, a function that makes its arrays, and its other arguments."""

    op: str
    name: str
    make: Maker
    options: dict[str, Any] = field(default_factory=dict)
    terms: int = 1
    """Number of terms in the longest sum, forward or backward (tolerance.py)."""
    differentiable: bool = True
    """Whether the operation is differentiable near the arrays: no ties, kinks, clamps or NaN."""

    def __str__(self) -> str:
        return f"{self.op}-{self.name}"

    def describe(self) -> str:
        """Return the name, shapes and options of the case on one line."""
        arrays = [f"{name} {array.shape}" for name, array in self.arrays().items()]
        options = [f"{name}={value!r}" for name, value in self.options.items()]
        return f"{self.op} [{self.name}] of {', '.join(arrays + options)}"

    @property
    def has_backward(self) -> bool:
        """Whether the operation has a backward with this case's options."""
        # A fused ReLU has a backward of its own.
        return operations()[self.op].backward is not None and "relu" not in self.options

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return new arrays, with the same numbers at each call."""
        return self.make(np.random.default_rng(zlib.crc32(str(self).encode())))

    @property
    def is_loss(self) -> bool:
        """Whether the output gradient is a number."""
        return operations()[self.op].is_loss

    def output_grad(self, results: Arrays) -> Any:
        """Return an output gradient: a number for losses, else an array like the output."""
        if self.is_loss:
            return 0.75
        return normal(np.random.default_rng(len(str(self))), *results["output"].shape)


def forward(ops: Any, case: Case, arrays: Arrays) -> Arrays:
    """Run the operation of ``ops``, a backend or ``naive``; return its results by name."""
    arguments = {**arrays, **case.options}
    results = getattr(ops, case.op)(**arguments)
    return operations()[case.op].name_results(results, arrays)


def backward_arguments(case: Case, arrays: Arrays, results: Arrays, grad: Any) -> Arrays:
    """Return the arguments of the backward by name."""
    known = {**arrays, **results, **case.options, "grad": grad}
    known["input_shape"] = arrays["input"].shape
    parameters = operation(f"{case.op}_backward").parameters
    return {name: known[name] for name in parameters if name in known}


def backward(ops: Any, case: Case, arguments: Arrays, **more: Any) -> Arrays:
    """Run the backward of ``ops``, a backend or ``naive``; return its gradients by name."""
    grads = getattr(ops, f"{case.op}_backward")(**arguments, **more)
    return operation(f"{case.op}_backward").name_results(grads, arguments)


def to_backend(backend: Backend, arrays: Arrays) -> Arrays:
    """Return arrays of the backend: float32 in the backend's dtype, others unchanged."""
    return {
        name: backend.asarray(array, backend.dtype if array.dtype == np.float32 else array.dtype)
        for name, array in arrays.items()
    }


def to_numpy(backend: Backend, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Return NumPy arrays of results; True and False become arrays."""
    return {
        name: np.asarray(value) if isinstance(value, bool) else backend.to_numpy(value)
        for name, value in arrays.items()
    }


def widened(arrays: Arrays) -> Arrays:
    """Return copies in float64 for the naive loops; integers keep their dtype."""
    return {
        name: array.astype(np.float64 if array.dtype.kind == "f" else array.dtype)
        for name, array in arrays.items()
    }


def rounded(arrays: Arrays) -> Arrays:
    """Return results rounded to float32; integers keep their dtype."""
    return {
        name: np.asarray(value, np.float32 if np.asarray(value).dtype.kind == "f" else None)
        for name, value in arrays.items()
    }


@dataclass(frozen=True)
class Reference:
    """The results of the naive loops for a case.

    ``saved`` are the results of the forward rounded to float32: the arguments of every backward,
    including that of the naive loops.
    """

    results: Arrays
    saved: Arrays
    grad: Any = None
    grads: Arrays = field(default_factory=dict)


@cache
def reference(case: Case) -> Reference:
    """Return the results and gradients of a case by the naive loops."""
    arrays = case.arrays()
    results = {k: np.asarray(v) for k, v in forward(naive, case, widened(arrays)).items()}
    saved = rounded(results)
    if not case.has_backward:
        return Reference(results, saved)
    grad = case.output_grad(results)
    wide_grad = grad if isinstance(grad, float) else grad.astype(np.float64)
    arguments = backward_arguments(case, widened(arrays), widened(saved), wide_grad)
    grads = backward(naive, case, arguments)
    return Reference(results, saved, grad, grads)


def saved_arguments(backend: Backend, case: Case) -> Arrays:
    """Return the arguments of the backward on a backend, equal to those of the naive loops."""
    known = reference(case)
    grad = known.grad
    if not isinstance(grad, float):
        grad = to_backend(backend, {"grad": grad})["grad"]
    arrays, saved = to_backend(backend, case.arrays()), to_backend(backend, known.saved)
    return backward_arguments(case, arrays, saved, grad)


def array_arguments(arguments: Arrays) -> Arrays:
    """Return only those arguments that are arrays."""
    return {name: value for name, value in arguments.items() if hasattr(value, "dtype")}


def compare(backend: Backend, case: Case, actual: Arrays, wanted: Arrays) -> None:
    """Fail unless results have the names, dtypes, shapes and numbers of the naive loops."""
    __tracebackhide__ = True
    assert actual.keys() == wanted.keys(), case.describe()
    given = case.arrays()
    for name, value in to_numpy(backend, actual).items():
        is_real = wanted[name].dtype.kind == "f"
        keeps_dtype = name in given and given[name].dtype != np.float32
        dtype = backend.dtype if is_real and not keeps_dtype else wanted[name].dtype
        what = f"{backend!r} {case.describe()}: {name}"
        assert value.dtype == dtype, f"{what} has dtype {value.dtype}, expected {dtype}"
        assert_close(value, wanted[name], terms=case.terms, what=what)
