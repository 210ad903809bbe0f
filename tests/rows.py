"""What a row of the table of cases is, how to run one, and short ways to write them.

A row makes its arrays under the names that the operation gives them. float32 arrays stand for "the
backend's dtype": they are widened for the references, so that everyone sees the same numbers.
Other dtypes stay as they are. An operation that returns None works in place, and its results are
its arguments after the call.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import naive
import numpy as np
from numpy.typing import NDArray

from gpucnn.backends import Backend
from gpucnn.backends.contract.operations import operation, operations

Array = Any
Arrays = dict[str, Any]
Maker = Callable[[np.random.Generator], dict[str, NDArray[Any]]]
Values = Callable[..., NDArray[Any]]
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Case:
    """One row: an operation, its arrays (a function of a generator) and its other arguments."""

    op: str
    name: str
    make: Maker
    options: dict[str, Any] = field(default_factory=dict)
    length: int = 1
    """Terms in the longest sum, forward or backward (tolerance.py)."""
    smooth: bool = True
    """Whether numbers near the arrays have a derivative: no ties, kinks, clamps or NaN."""

    def __str__(self) -> str:
        return f"{self.op}-{self.name}"

    @property
    def has_backward(self) -> bool:
        # With ``relu`` two operations are one: each has its own backward.
        return operations()[self.op].backward is not None and "relu" not in self.options

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the row's arrays, fresh and the same each time."""
        return self.make(np.random.default_rng(zlib.crc32(str(self).encode())))

    @property
    def is_loss(self) -> bool:
        """Whether the backward is given the gradient of a number, as a number."""
        return operations()[self.op].is_loss

    def output_grad(self, results: Arrays) -> Any:
        """Return a gradient to give the backward: a number for losses, else like the output."""
        if self.is_loss:
            return 0.75
        return normal(np.random.default_rng(len(str(self))), *results["output"].shape)


def forward(ops: Any, case: Case, arrays: Arrays) -> Arrays:
    """Run the row's operation of ``ops``, a backend or naive.py, and name its results."""
    arguments = {**arrays, **case.options}
    results = getattr(ops, case.op)(**arguments)
    return operations()[case.op].name_results(results, arrays)


def backward_arguments(case: Case, arrays: Arrays, results: Arrays, grad: Any) -> Arrays:
    """Return what the contract says that the row's backward takes, by name."""
    known = {**arrays, **results, **case.options, "grad": grad}
    known["input_shape"] = arrays["input"].shape
    parameters = operation(f"{case.op}_backward").parameters
    return {name: known[name] for name in parameters if name in known}


def backward(ops: Any, case: Case, arguments: Arrays, **more: Any) -> Arrays:
    """Run the row's backward of ``ops``, a backend or naive.py, and name its gradients."""
    grads = getattr(ops, f"{case.op}_backward")(**arguments, **more)
    return operation(f"{case.op}_backward").name_results(grads, arguments)


def to_backend(backend: Backend, arrays: Arrays) -> Arrays:
    """Return the arrays, float32 ones in the backend's dtype and the others in their own."""
    return {
        name: backend.asarray(array, backend.dtype if array.dtype == np.float32 else array.dtype)
        for name, array in arrays.items()
    }


def to_numpy(backend: Backend, arrays: Arrays) -> dict[str, NDArray[Any]]:
    return {
        name: np.asarray(value) if isinstance(value, bool) else backend.to_numpy(value)
        for name, value in arrays.items()
    }


def widened(arrays: Arrays) -> Arrays:
    """Return copies for the references to read, and in-place operations to write."""
    return {
        name: array.astype(np.float64 if array.dtype.kind == "f" else array.dtype)
        for name, array in arrays.items()
    }


def rounded(arrays: Arrays) -> Arrays:
    return {
        name: np.asarray(value, np.float32 if np.asarray(value).dtype.kind == "f" else None)
        for name, value in arrays.items()
    }


@dataclass(frozen=True)
class Reference:
    """What the loops say of a row. ``saved`` are the forward's results rounded to float32, the
    numbers that every backward is given, the loops' as well."""

    results: Arrays
    saved: Arrays
    grad: Any = None
    grads: Arrays = field(default_factory=dict)


@cache
def reference(case: Case) -> Reference:
    """Return the row's results and gradients by naive.py."""
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
    """Return the backend's arguments for the row's backward: the same numbers as the loops'."""
    known = reference(case)
    grad = known.grad
    if not isinstance(grad, float):
        grad = to_backend(backend, {"grad": grad})["grad"]
    arrays, saved = to_backend(backend, case.arrays()), to_backend(backend, known.saved)
    return backward_arguments(case, arrays, saved, grad)


def array_arguments(arguments: Arrays) -> Arrays:
    """Return the arguments that are arrays; the others are numbers, pairs, names and flags."""
    return {name: value for name, value in arguments.items() if hasattr(value, "dtype")}


# --- values -------------------------------------------------------------------------------------


def normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.standard_normal(shape).astype(np.float32)


def positive(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return (0.1 + np.abs(normal(rng, *shape))).astype(np.float32)


def probabilities(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.uniform(0.05, 0.95, shape).astype(np.float32)


def off_zero(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Numbers at least 0.1 from zero, away from ReLU's kink."""
    return positive(rng, *shape) * rng.choice(np.float32([-1, 1]), shape)


def spaced(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Distinct numbers an eighth apart, shuffled: no window has a tie, nor has one nearby.

    None is zero, where the length of a vector, Lp pooling's p = 2, has a kink.
    """
    count = math.prod(shape)
    return ((rng.permutation(count) - count // 2 + 0.5) / 8).reshape(shape).astype(np.float32)


def below_zero(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Distinct numbers below -1, which padding by zeros would beat."""
    return -1 - positive(rng, *shape)


def few_levels(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Numbers of three values only: every window has ties."""
    return rng.integers(-1, 2, shape).astype(np.float32)


def with_nan(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Numbers with some NaN and infinities among them, two of either side by side."""
    values = normal(rng, *shape)
    flat = values.reshape(-1)
    flat[rng.choice(flat.size, max(1, flat.size // 9), replace=False)] = np.nan
    flat[rng.choice(flat.size, max(1, flat.size // 9), replace=False)] = -np.inf
    flat[:4] = np.nan, np.nan, np.inf, np.inf
    return values


def infinities(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.choice(np.float32([-np.inf, np.inf, 0, -0.0, 1, -1]), shape)


def minus_infinity(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    del rng
    return np.full(shape, -np.inf, np.float32)


def zeros(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Zeros but for one element in five, so that some windows have nothing else."""
    return normal(rng, *shape) * (rng.uniform(size=shape) < 0.2).astype(np.float32)


def one_is(place: int, value: float) -> Values:
    def values(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
        array = normal(rng, *shape)
        array.reshape(-1)[place] = value
        return array

    return values


def times(factor: float, values: Values = normal) -> Values:
    def scaled(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
        return np.float32(factor) * values(rng, *shape)

    return scaled


def at_ends(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Probabilities that are certain, or a rounding away from it."""
    return rng.choice(np.float32([0, 1, 1e-30, 1 - 2**-24, 0.5]), shape)


# --- rows ---------------------------------------------------------------------------------------


def conv(name: str, shape: Shape, weight: Shape, *, bias: bool = True, **options: Any) -> Case:
    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        arrays = {"input": normal(rng, *shape), "weight": normal(rng, *weight)}
        return arrays | ({"bias": normal(rng, weight[0])} if bias else {})

    # The padded plane bounds the number of outputs that a weight's gradient sums over.
    pixels = shape[0] * math.prod(size + 4 for size in shape[2:])
    return Case("conv2d", name, make, options, max(math.prod(weight), pixels))


def transposed(
    name: str, shape: Shape, weight: Shape, *, bias: bool = True, **options: Any
) -> Case:
    groups = options.get("groups", 1)

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        arrays = {"input": normal(rng, *shape), "weight": normal(rng, *weight)}
        return arrays | ({"bias": normal(rng, weight[1] * groups)} if bias else {})

    pixels = shape[0] * math.prod(shape[2:])
    return Case("conv_transpose2d", name, make, options, max(math.prod(weight), pixels))


def pool(
    op: str, name: str, shape: Shape, values: Values = spaced, smooth: bool = True, **options: Any
) -> Case:
    if op == "max_pool2d":
        options["return_indices"] = True
    taps = math.prod(naive.pair(options["kernel_size"]))
    return Case(op, name, lambda rng: {"input": values(rng, *shape)}, options, taps, smooth)


def pools(name: str, shape: Shape, **options: Any) -> list[Case]:
    """Return a row for each pooling that has all the options."""
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("max_pool2d", {}),
        ("avg_pool2d", {}),
        ("sum_pool2d", {}),
        ("lp_pool2d", {"norm_type": 1}),
        ("lp_pool2d", {"norm_type": 2}),
    ]
    return [
        pool(op, f"{name}, p = {more['norm_type']}" if more else name, shape, **options, **more)
        for op, more in kinds
        if options.keys() <= operations()[op].parameters.keys()
    ]


def pointwise(
    op: str, name: str, shape: Shape, values: Values = off_zero, smooth: bool = True, **options: Any
) -> Case:
    length = shape[options.get("dim", 1)] if op == "softmax" else 1
    return Case(op, name, lambda rng: {"input": values(rng, *shape)}, options, length, smooth)


def loss(
    op: str,
    name: str,
    shape: Shape,
    values: Values = normal,
    targets: Values = normal,
    reduction: str = "mean",
    smooth: bool = True,
) -> Case:
    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        if op == "cross_entropy":
            return {"input": values(rng, *shape), "target": rng.integers(0, shape[1], shape[0])}
        return {"input": values(rng, *shape), "target": targets(rng, *shape)}

    return Case(op, name, make, {"reduction": reduction}, math.prod(shape), smooth)


def linear(name: str, shape: Shape, outs: int, bias: bool = True, **options: Any) -> Case:
    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        arrays = {"input": normal(rng, *shape), "weight": normal(rng, outs, shape[1])}
        return arrays | ({"bias": normal(rng, outs)} if bias else {})

    return Case("linear", name, make, options, max(*shape, outs))


def dropout(name: str, shape: Shape) -> Case:
    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        mask = (rng.uniform(size=shape) < 0.75).astype(np.float32) / np.float32(0.75)
        return {"input": normal(rng, *shape), "mask": mask}

    return Case("dropout", name, make)


def one_hot(name: str, size: int, classes: int) -> Case:
    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {"target": rng.integers(0, classes, size)}

    return Case("one_hot", name, make, {"num_classes": classes})


def begin(name: str, images: int, done: int, count: int, batch_size: int, width: int = 1) -> Case:
    """A row of begin_step after ``done`` steps of an epoch, the third in a run."""
    steps = -(-images // batch_size)

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {
            "counter": np.array([done, 2 * steps + done]),
            "order": rng.permutation(images + 3)[:images],
            "labels": rng.integers(0, 10, images + 3),
            "table": normal(rng, steps, width),
            "indices": np.full(count, 7),
            "target": np.full(count, 7),
            "rates": normal(rng, width),
        }

    return Case("begin_step", name, make, {"batch_size": batch_size})


def images(name: str, shape: Shape, count: int) -> Case:
    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {
            "images": rng.integers(0, 256, shape, np.uint8),
            "indices": rng.integers(0, shape[0], count),
            "scale": positive(rng, shape[1]),
            "shift": normal(rng, shape[1]),
        }

    return Case("gather_images", name, make)


def labels(name: str, size: int, count: int) -> Case:
    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {"labels": rng.integers(0, 10, size), "indices": rng.integers(0, size, count)}

    return Case("gather_labels", name, make)


def metrics(name: str, shape: Shape, scores: Values = normal) -> Case:
    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {
            "totals": np.array([12.5, 3.0]),  # float64 on every backend
            "loss": np.array(1.25, np.float32),
            "scores": scores(rng, *shape),
            "target": rng.integers(0, shape[1], shape[0]),
        }

    return Case("add_metrics", name, make)


def finite(name: str, shape: Shape, values: Values = normal) -> Case:
    return Case("all_finite", name, lambda rng: {"array": values(rng, *shape)})


def guard(
    name: str, size: int, values: Values = normal, loss: float = 1.5, already: int = 0
) -> Case:
    """A row of check_finite, ``failed_step`` being ``already`` set or 0."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        failed_step, value = np.array([already]), np.array(loss, np.float32)
        return {
            "failed_step": failed_step,
            "loss": value,
            "grads": values(rng, size),
            "step": np.array([7]),
        }

    return Case("check_finite", name, make)


def sgd(name: str, shape: Shape, lr: float, failed_step: int | None = None, **options: Any) -> Case:
    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        arrays = {key: normal(rng, *shape) for key in ("param", "grad", "velocity")}
        arrays["rates"] = np.array([lr], np.float32)
        return arrays if failed_step is None else {**arrays, "failed_step": np.array([failed_step])}

    return Case("sgd_step", name, make, options)


def adam(
    name: str,
    shape: Shape,
    grad: Values = normal,
    rates: tuple[float, float, float] = (0.01, 0.5, 1.0),
    failed_step: int | None = None,
    **options: Any,
) -> Case:
    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        arrays = {
            "param": normal(rng, *shape),
            "grad": grad(rng, *shape),
            "exp_avg": grad(rng, *shape),
            "exp_avg_sq": grad(rng, *shape) ** 2,
            "rates": np.array(rates, np.float32),
        }
        return arrays if failed_step is None else {**arrays, "failed_step": np.array([failed_step])}

    return Case("adam_step", name, make, options)
