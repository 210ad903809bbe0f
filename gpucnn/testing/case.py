"""A case of the table, and how its operation is run on a backend or by the reference.

A case makes its arrays under the names of the operation's parameters. float32 arrays stand for the
backend's dtype; they are converted to float64 for the references, so that all compute with the same
numbers. Other dtypes are kept. The results of an operation that returns None are its arguments
after the call.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends import Backend
from gpucnn.testing.comparison import Comparison, compare_arrays, wrong
from gpucnn.testing.definition import Array, Arrays, Definition, contract_definition
from gpucnn.testing.values import normal

__all__ = [
    "Array",
    "Arrays",
    "Case",
    "Reference",
    "array_arguments",
    "assert_results",
    "backward",
    "backward_arguments",
    "compare",
    "forward",
    "reference",
    "saved_arguments",
    "to_backend",
    "to_numpy",
    "widened",
]

Maker = Callable[[np.random.Generator], dict[str, NDArray[Any]]]


@dataclass(frozen=True, eq=False)
class Case:
    """An operation with arguments: what ``gpucnn check`` and the tests run.

    Attributes:
        op: the name of the operation.
        name: what is special about the arguments; with ``op`` it identifies the case.
        make: returns the arrays by parameter, drawn from a generator. Arrays of float32 have the
            backend's dtype when they are passed to it; others keep theirs.
        options: the other arguments of the forward; the backward gets those that it has.
        terms: the number of terms in the longest sum, forward or backward (tolerance.py).
        differentiable: whether the operation is differentiable near the arrays: no ties, kinks,
            clamps or NaN. Tests compare the gradients of such cases with differences.
        backward_only: parameters that only the backward has, and the results of the forward that
            are passed as these, such as {"relu_output": "output"}.
        definition: the operation, if it is not one of the contract's.
    """

    op: str
    name: str
    make: Maker
    options: dict[str, Any] = field(default_factory=dict)
    terms: int = 1
    differentiable: bool = True
    backward_only: dict[str, str] = field(default_factory=dict)
    definition: Definition | None = None

    def __str__(self) -> str:
        return f"{self.op}-{self.name}"

    @property
    def tested(self) -> Definition:
        """The operation."""
        return self.definition or contract_definition(self.op)

    def describe(self) -> str:
        """Return the name, shapes and options of the case on one line."""
        arrays = [f"{name} {array.shape}" for name, array in self.arrays().items()]
        options = [f"{name}={value!r}" for name, value in self.options.items()]
        return f"{self.op} [{self.name}] of {', '.join(arrays + options)}"

    @property
    def has_backward(self) -> bool:
        """Whether the operation has a backward with this case's options."""
        # A fused ReLU has a backward of its own, unless the operation's includes it.
        includes_relu = "relu" not in self.options or "relu_output" in self.backward_only
        return self.tested.backward is not None and includes_relu

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return new arrays, with the same numbers at each call."""
        return self.make(np.random.default_rng(zlib.crc32(str(self).encode())))

    @property
    def is_loss(self) -> bool:
        """Whether the output gradient is a number."""
        return self.tested.is_loss

    def output_grad(self, results: Arrays) -> Any:
        """Return an output gradient: a number for losses, else an array like the output."""
        if self.is_loss:
            return 0.75
        return normal(np.random.default_rng(len(str(self))), *results["output"].shape)


def forward(backend: Backend | None, case: Case, arrays: Arrays) -> Arrays:
    """Run the operation on a backend, or by the reference for None; return its results by name."""
    return case.tested.forward.run(backend, {**arrays, **case.options})


def backward_arguments(case: Case, arrays: Arrays, results: Arrays, grad: Any) -> Arrays:
    """Return the arguments of the backward by name."""
    function = case.tested.backward
    assert function is not None, case
    known = {**arrays, **results, **case.options, "grad": grad}
    if "input" in arrays:
        known["input_shape"] = arrays["input"].shape
    known |= {name: results[result] for name, result in case.backward_only.items()}
    return {name: known[name] for name in function.parameters if name in known}


def backward(backend: Backend | None, case: Case, arguments: Arrays, **more: Any) -> Arrays:
    """Run the backward of a backend, or the reference for None; return the gradients by name."""
    function = case.tested.backward
    assert function is not None, case
    return function.run(backend, arguments | more)


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
    """The results of the reference for a case.

    ``saved`` are the results of the forward rounded to float32: the arguments of every backward,
    including that of the reference.
    """

    results: Arrays
    saved: Arrays
    grad: Any = None
    grads: Arrays = field(default_factory=dict)


@cache
def reference(case: Case) -> Reference:
    """Return the results and gradients of a case by its reference, in float64."""
    arrays = case.arrays()
    results = {k: np.asarray(v) for k, v in forward(None, case, widened(arrays)).items()}
    saved = rounded(results)
    if not case.has_backward:
        return Reference(results, saved)
    grad = case.output_grad(results)
    wide_grad = grad if isinstance(grad, float) else grad.astype(np.float64)
    arguments = backward_arguments(case, widened(arrays), widened(saved), wide_grad)
    grads = {k: np.asarray(v) for k, v in backward(None, case, arguments).items()}
    return Reference(results, saved, grad, grads)


def saved_arguments(backend: Backend, case: Case) -> Arrays:
    """Return the arguments of the backward on a backend, equal to those of the reference."""
    known = reference(case)
    grad = known.grad
    if not isinstance(grad, float):
        grad = to_backend(backend, {"grad": grad})["grad"]
    arrays, saved = to_backend(backend, case.arrays()), to_backend(backend, known.saved)
    return backward_arguments(case, arrays, saved, grad)


def array_arguments(arguments: Arrays) -> Arrays:
    """Return only those arguments that are arrays."""
    return {name: value for name, value in arguments.items() if hasattr(value, "dtype")}


def compare(backend: Backend, case: Case, actual: Arrays, wanted: Arrays) -> Comparison:
    """Compare results, as NumPy arrays, with the reference: names, dtypes, shapes and numbers."""
    definition = case.tested
    if actual.keys() != wanted.keys():
        return wrong(f"the results are {', '.join(actual)}, expected {', '.join(wanted)}")
    precision = backend.precision if definition.is_product else "ieee"
    given, found = case.arrays(), [Comparison(0.0, 0.0)]
    for name, value in actual.items():
        is_real = wanted[name].dtype.kind == "f"
        keeps_dtype = name in given and given[name].dtype != np.float32
        dtype = backend.dtype if is_real and not keeps_dtype else wanted[name].dtype
        if value.dtype != dtype:
            found.append(wrong(f"{name} has dtype {value.dtype}, expected {dtype}"))
        else:
            accuracy = backend.dtype if name in definition.forward.inexact else dtype
            found.append(compare_arrays(name, value, wanted[name], case.terms, precision, accuracy))
    return reduce(Comparison.merged, found)


def assert_results(backend: Backend, case: Case, actual: Arrays, wanted: Arrays) -> None:
    """Raise AssertionError unless the results of a backend are those of the reference."""
    __tracebackhide__ = True
    found = compare(backend, case, to_numpy(backend, actual), wanted)
    if found.message:
        raise AssertionError(f"{backend!r} {case.describe()}: {found.message}")
