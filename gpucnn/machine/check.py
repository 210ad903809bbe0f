"""The consistency of a backend: every operation compared with NumPy in float64.

The arguments of an operation follow from the names of its parameters in the contract, so a new
operation is checked without any code here if its parameters have the names of others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends import Backend, get_backend
from gpucnn.backends.contract.operations import Operation, operations
from gpucnn.errors import unknown
from gpucnn.testing.tolerance import tolerance

ROUNDED = ("conv2d", "conv_transpose2d", "linear")
"""Operations that round the operands of products to TF32 if the backend's precision is tf32."""

Arguments = dict[str, Any]

SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "conv2d": {"input": (32, 6, 14, 14), "weight": (16, 6, 5, 5), "bias": (16,)},
    "conv_transpose2d": {"input": (32, 16, 7, 7), "weight": (16, 6, 3, 3), "bias": (6,)},
    "linear": {"input": (64, 400), "weight": (120, 400), "bias": (120,)},
    "pool": {"input": (32, 6, 28, 28)},
    "adam_step": {
        **{name: (5000,) for name in ("param", "grad", "exp_avg", "exp_avg_sq")},
        "rates": (3,),
    },
    "sgd_step": {**{name: (5000,) for name in ("param", "grad", "velocity")}, "rates": (1,)},
    "begin_step": {"table": (4, 3), "rates": (3,)},
    "other": {"input": (64, 100), "mask": (64, 100), "target": (64, 100), "array": (5000,)},
}
LARGE: dict[str, dict[str, tuple[int, ...]]] = {
    "conv2d": {"input": (4, 32, 14, 14), "weight": (64, 32, 3, 3), "bias": (64,)},
    "conv_transpose2d": {"input": (4, 64, 12, 12), "weight": (64, 32, 3, 3), "bias": (32,)},
    "linear": {"input": (64, 1024), "weight": (1024, 1024), "bias": (1024,)},
}
"""Shapes with products large enough to be rounded to TF32, which replace those above."""

OPTIONS: Arguments = {"kernel_size": 2, "norm_type": 2, "num_classes": 10, "batch_size": 20}
OPTIONS |= {"return_indices": True}
NUMBERS: dict[str, Callable[[np.random.Generator], NDArray[Any]]] = {
    "images": lambda rng: rng.integers(0, 256, (64, 1, 28, 28), np.uint8),
    "counter": lambda rng: np.array([1, 5]),
    "order": lambda rng: rng.permutation(64),
    "indices": lambda rng: rng.integers(0, 64, 20),
    "step": lambda rng: np.array([3]),
    "labels": lambda rng: rng.integers(0, 10, 64),
    "scale": lambda rng: rng.uniform(0.1, 1, 1),
    "shift": lambda rng: rng.uniform(-1, 1, 1),
    "totals": lambda rng: rng.uniform(0, 9, 2),
    "loss": lambda rng: np.asarray(rng.uniform(1, 2)),
    "grads": lambda rng: rng.normal(size=5000),
    "failed_step": lambda rng: np.zeros(1, np.int64),
    "scores": lambda rng: rng.normal(size=(64, 10)),
}
TERMS = {"softmax": 100}
"""Number of terms in the sums of operations whose results are as large as their arguments."""
CLASSES = {"cross_entropy": 64, "one_hot": 64, "add_metrics": 64, "begin_step": 20}
"""Operations whose targets are classes, with their number of samples."""
FLOAT64 = ("totals",)
"""Arrays that are float64 on every backend."""


@dataclass(frozen=True)
class Result:
    """An operation on two backends: the largest error in units of the tolerance, and both times."""

    op: str
    error: float
    seconds: float
    reference_seconds: float

    @property
    def ok(self) -> bool:
        """Whether the error is within the tolerance, and not NaN."""
        return self.error <= 1


def check(backend: Backend, seed: int = 0, only: str = "") -> Iterator[Result]:
    """Compare every operation of ``backend``, forward and backward, with NumPy in float64.

    ``only`` selects the operations whose names contain it; SettingError if there is none.
    """
    reference = get_backend("numpy", "float64")
    shapes = SHAPES if backend.precision == "ieee" else SHAPES | LARGE
    selected = [op for name, op in operations().items() if only in name]
    if not selected:
        raise unknown("operation", only, operations())
    for op in selected:
        rng = np.random.default_rng([seed, len(op.name)])
        known = _make_arguments(op, rng, shapes)
        result, outputs = _compare(backend, reference, op, known)
        yield result
        if op.backward is not None:
            known |= {**outputs, "grad": _output_grad(op, outputs, rng)}
            known["input_shape"] = known["input"].shape
            yield _compare(backend, reference, op.backward, known)[0]


def _compare(
    backend: Backend, reference: Backend, op: Operation, known: Arguments
) -> tuple[Result, Arguments]:
    """Run an operation on both backends; return the comparison and the results of the reference."""
    found, seconds = _run(backend, op, known)
    wanted, reference_seconds = _run(reference, op, known)
    forward = op.name.removesuffix("_backward")
    error = _error(backend, forward, found, wanted, known)
    return Result(op.name, error, seconds, reference_seconds), wanted


def _make_arguments(
    op: Operation, rng: np.random.Generator, known: dict[str, dict[str, tuple[int, ...]]]
) -> Arguments:
    shapes = known.get(op.name, known["pool" if "pool" in op.name else "other"])
    arguments: Arguments = {}
    for name in op.parameters:
        if name == "target" and op.name in CLASSES:
            arguments[name] = rng.integers(0, 10, CLASSES[op.name])
        elif name in NUMBERS:
            arguments[name] = _single(NUMBERS[name](rng))
        elif name in shapes:
            # Between 0 and 1, where every operation is differentiable.
            arguments[name] = _single(rng.uniform(0.1, 0.9, shapes[name]))
        elif name in OPTIONS:
            arguments[name] = OPTIONS[name]
    if "input" in arguments and not op.is_loss and "pool" not in op.name:
        arguments["input"] = arguments["input"] - np.float32(0.5)
    return arguments


def _single(array: NDArray[Any]) -> NDArray[Any]:
    """Return floating-point arrays as float32, which every backend represents exactly."""
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _output_grad(op: Operation, results: Arguments, rng: np.random.Generator) -> Any:
    return 0.75 if op.is_loss else _single(rng.uniform(-1, 1, results["output"].shape))


def _run(backend: Backend, op: Operation, known: Arguments) -> tuple[Arguments, float]:
    """Return the results of an operation by name, as NumPy arrays, and the best of three times."""
    function = getattr(backend, op.name)
    seconds = math.inf
    results: Any = None
    for _ in range(3):
        # New copies each time, since some operations work in place.
        arguments = {
            name: _to_backend(backend, name, known[name]) for name in op.parameters if name in known
        }
        backend.synchronize()
        began = time.perf_counter()
        results = function(**arguments)
        backend.synchronize()
        seconds = min(seconds, time.perf_counter() - began)
    named = op.name_results(results, arguments).items()
    return {k: np.asarray(_host(backend, v)) for k, v in named if v is not None}, seconds


def _to_backend(backend: Backend, name: str, value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    floats = np.float64 if name in FLOAT64 else backend.dtype
    return backend.asarray(value.copy(), floats if value.dtype.kind == "f" else value.dtype)


def _host(backend: Backend, value: Any) -> Any:
    return value if isinstance(value, bool) else backend.to_numpy(value)


def _length(op: str, name: str, result: NDArray[Any], known: Arguments) -> float:
    """Return the approximate number of terms in the sum of an element of a result, from the shapes.

    An operation whose results are as large as its arguments is assumed to add nothing, unless it is
    in ``TERMS``.
    """
    weight, grad = known.get("weight"), known.get("grad")
    if weight is None:
        arrays = (v for v in known.values() if isinstance(v, np.ndarray) and v.dtype.kind == "f")
        largest = max((array.size for array in arrays), default=1)
        return max(largest / result.size, TERMS.get(op, 1))
    if grad is not None and name != "input":  # the gradient of weight or bias
        return float(grad.size / known["bias"].size)
    return float(weight.size / min(weight.shape[:2]))


def _error(
    backend: Backend, op: str, found: Arguments, wanted: Arguments, known: Arguments
) -> float:
    """Return the largest difference in units of the tolerance, or NaN if there is one."""
    worst = 0.0
    for name, reference in wanted.items():
        if found[name].shape != reference.shape:
            return math.nan
        relative, absolute = 0.0, float(np.finfo(np.float64).tiny)  # integers must be equal
        if reference.dtype.kind == "f":
            length = _length(op, name, reference, known)
            precision = backend.precision if op in ROUNDED else "ieee"
            relative, absolute = tolerance(backend.dtype, reference, length, precision)
        with np.errstate(over="ignore", invalid="ignore"):  # of incorrect results
            difference = np.abs(found[name] - reference * 1.0)
            error = np.max(difference / (absolute + relative * np.abs(reference)))
        worst = float(np.maximum(worst, error))  # unlike max(), propagates NaN
    return worst
