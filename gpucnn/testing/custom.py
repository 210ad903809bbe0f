"""Checks an operation of a user's own, a ``gpucnn.nn.CustomOp``, in three ways.

The reference is ``forward_naive`` and ``backward_naive`` if the class has them, else the NumPy
functions. The NumPy functions are compared with it, then the kernels, on inputs of many kinds; and
its gradients are compared with differences of its forward, in float64.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpucnn.backends import Backend, get_backend
from gpucnn.errors import GpucnnError, SettingError, unknown
from gpucnn.nn import CustomOp, TrainingPass
from gpucnn.nn.imports import import_file
from gpucnn.nn.layers import hooks
from gpucnn.testing import values
from gpucnn.testing.case import Arrays, Case
from gpucnn.testing.comparison import Comparison, Difference
from gpucnn.testing.definition import Definition, Function
from gpucnn.testing.derivatives import directional_derivative
from gpucnn.testing.running import Outcome, Variation, run_case

Shape = tuple[int, ...]

SHAPES: tuple[Shape, ...] = (
    (3, 5, 7), (1, 1, 1), (2, 8, 16), (1, 15, 17), (1, 1, 257), (63,), (256,), (1025,),
)  # fmt: skip
"""The shapes that are tried without ``examples``: odd planes, and sizes of a block and one more."""

KINDS: dict[str, values.Values] = {
    "normal": values.normal,
    "distinct": values.spaced,
    "ties and zeros": values.few_levels,
    "large": values.times(1e4),
    "NaN and infinities": values.with_nan,
}
"""The inputs, by the names of the cases. At the distinct ones gradients are checked."""

BATCH = 3


def load_op(spec: str) -> type[CustomOp]:
    """Return the class that FILE.py:CLASS names; SettingError if it is not a ``CustomOp``."""
    path, _, name = (spec if ".py:" in spec else f"{spec}:").rpartition(":")
    module = import_file(Path(path))
    found = getattr(module, name, None)
    if isinstance(found, type) and issubclass(found, CustomOp) and found is not CustomOp:
        return found
    classes = [
        key
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, CustomOp) and value is not CustomOp
    ]
    if found is not None:
        raise SettingError(f"{spec} is not a class derived from gpucnn.nn.CustomOp")
    if not classes:
        raise SettingError(f"{path} defines no class derived from gpucnn.nn.CustomOp")
    if not name:
        raise SettingError(f"{path}: expected a class after it, such as {path}:{classes[0]}")
    raise unknown(f"operation in {path}", name, classes)


# --- cases --------------------------------------------------------------------------------------


def cases_of_file(spec: str, dtype: DTypeLike = "float32") -> list[Case]:
    """Return the cases of the operation FILE.py:CLASS, as ``cases_of``."""
    return cases_of(load_op(spec), dtype, spec)


def cases_of(kind: type[CustomOp], dtype: DTypeLike = "float32", spec: str = "") -> list[Case]:
    """Return the cases of an operation for backends of ``dtype``.

    ``spec`` is what the operation is called: by default FILE.py:CLASS. SettingError if the class
    has nothing to compare with, or arguments but no ``examples``.
    """
    spec = spec or _spec(kind)
    given = kind.examples() is not None
    found = []
    for number, (op, shape) in enumerate(_examples(kind)):
        definition = _define(op, np.dtype(dtype), spec)
        every = given or not number
        for name, make in KINDS.items():
            if not (every or name == "normal"):
                continue
            if name == "NaN and infinities" and not kind.special_values:
                continue
            found.append(_case(op, shape, BATCH, name, make, definition))
        if every:
            found.append(_case(op, shape, 1, "normal", values.normal, definition))
    return found


def _spec(kind: type[CustomOp]) -> str:
    try:
        path = Path(inspect.getfile(kind))
    except (OSError, TypeError):  # a class of a notebook
        return kind.__name__
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path}:{kind.__name__}"


def _examples(kind: type[CustomOp]) -> list[tuple[CustomOp, Shape]]:
    """Return instances and the shapes of their inputs, without the batch."""
    name = kind.__name__
    advice = (
        f"define a static method examples() of {name} that yields pairs of an instance and the "
        f"shape of an input, such as ({name}(...), (3, 5, 7))"
    )
    found = kind.examples()
    if found is not None:
        pairs = list(found)
        if not pairs:
            raise SettingError(f"{name}.examples returned nothing: {advice}")
        for pair in pairs:
            if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], kind)):
                raise SettingError(f"{name}.examples returned {pair!r}: {advice}")
        return [(op, tuple(shape)) for op, shape in pairs]
    try:
        op = kind()
    except TypeError as error:
        raise SettingError(f"{name}() failed: {error}; {advice}") from None
    accepted = []
    for shape in SHAPES:
        try:
            op.output_shape(shape)
        except (GpucnnError, ValueError):  # of an unpacked shape
            continue
        accepted.append((op, shape))
    if not accepted:
        raise SettingError(f"{name} takes none of the shapes {SHAPES}: {advice}")
    return accepted


def _case(
    op: CustomOp, shape: Shape, batch: int, name: str, make: values.Values, definition: OpDefinition
) -> Case:
    def arrays(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        drawn = {"input": make(rng, batch, *shape)}
        for key, parameter in op.parameters.items():
            start = parameter.draw(rng, parameter.shape, parameter.fan_in, parameter.fan_out)
            # Different numbers also where the initial weights are equal, such as zero.
            drawn[key] = np.asarray(start + 0.1 * rng.normal(size=parameter.shape), np.float32)
        return drawn

    sizes = "x".join(map(str, (batch, *shape)))
    terms = math.prod(shape) * (batch if op.parameters else 1)
    return Case(
        definition.name,
        f"{op!r} {name} {sizes}",
        arrays,
        terms=terms,
        differentiable=name == "distinct",
        definition=definition,
    )


# --- the operation and its reference ------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class OpDefinition(Definition):
    """A custom operation; ``how`` is which forward is the reference, "naive" or "numpy"."""

    op: CustomOp = field(kw_only=True)
    how: str = field(kw_only=True)


def _define(op: CustomOp, dtype: np.dtype[Any], spec: str) -> OpDefinition:
    """Return how backends compute an operation, and the reference for backends of ``dtype``."""
    how, weights = _reference_of(op, "forward"), tuple(op.parameters)
    forward = Function(
        spec,
        partial(_forward, op),
        partial(_forward_reference, op, how, dtype),
        ("input", *weights),
    )
    backward = Function(
        f"{spec}_backward",
        partial(_backward, op),
        partial(_backward_reference, op, dtype),
        ("grad", "input", "output", *weights),
    )
    has_backward = any(hasattr(op, f"backward_{end}") for end in ("numpy", "naive", "cuda"))
    return OpDefinition(spec, forward, backward if has_backward else None, op=op, how=how)


def _reference_of(op: CustomOp, direction: str) -> str:
    """Return which functions are the reference of a direction, "naive" or "numpy"."""
    for how in ("naive", "numpy"):
        if hasattr(op, f"{direction}_{how}"):
            return how
    raise SettingError(
        f"{type(op).__name__} has neither {direction}_naive nor {direction}_numpy to compare the "
        "kernels with"
    )


def _set_weights(op: CustomOp, be: Backend, weights: Arrays) -> None:
    for name, parameter in op.parameters.items():
        parameter.data, parameter.grad = weights[name], be.empty(parameter.shape)


def _forward(op: CustomOp, be: Backend, input: Any, **weights: Any) -> Any:
    _set_weights(op, be, weights)
    return op.forward(be, input)[0]


def _backward(op: CustomOp, be: Backend, grad: Any, input: Any, output: Any, **weights: Any) -> Any:
    _set_weights(op, be, weights)
    taken = hooks.taken(op, "backward_cuda" if be.launches_kernels else "backward_numpy")
    known = {"input": input, "output": output}
    if "saved" in taken:
        _, (_, found) = op.forward(be, input, TrainingPass(0))
        known["saved"] = found["saved"]
    saved = {name: known[name] for name in known if name in taken}
    grads = {"input": op.backward(be, grad, (input.shape, saved))}
    return grads | {name: parameter.grad for name, parameter in op.parameters.items()}


def _forward_reference(
    op: CustomOp, how: str, dtype: np.dtype[Any], input: Any, **weights: Any
) -> NDArray[Any]:
    shape = (len(input), *op.output_shape(input.shape[1:]))
    output, _ = hooks.run_forward(op, how, {"input": input, **weights}, np.dtype(np.float64), shape)
    return _in_range(output, dtype)


def _backward_reference(
    op: CustomOp,
    dtype: np.dtype[Any],
    grad: Any,
    input: Any,
    output: Any,
    **weights: Any,
) -> dict[str, NDArray[Any]]:
    how = _reference_of(op, "backward")
    known = {"grad": grad, "input": input, "output": output, **weights}
    if "saved" in hooks.taken(op, f"backward_{how}"):
        shape = output.shape
        _, known["saved"] = hooks.run_forward(op, how, known, np.dtype(np.float64), shape)
    found = hooks.run_backward(op, how, known, np.dtype(np.float64), input.shape)
    return {key.removesuffix("_grad"): _in_range(value, dtype) for key, value in found.items()}


def _in_range(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return numbers that a backend's dtype cannot hold as infinite, as it computes them."""
    with np.errstate(over="ignore"):
        return np.where(np.isinf(array.astype(dtype)), np.copysign(np.inf, array), array)


# --- gradients ----------------------------------------------------------------------------------


def compare_gradients(case: Case) -> Comparison:
    """Compare the gradients of a case's reference with differences of its forward, in float64.

    One random direction for the input and for each parameter. A wrong derivative at a kink is
    found at one step size and not at a smaller one.
    """
    arrays = {name: array.astype(np.float64) for name, array in case.arrays().items()}
    assert case.tested.backward is not None
    forward, backward = case.tested.forward.reference, case.tested.backward.reference
    output = forward(**arrays)
    rng = np.random.default_rng(len(str(case)))
    grad = rng.normal(size=output.shape)
    grads = backward(grad=grad, output=output, **arrays)
    found = Comparison(0.0, 0.0)
    for name, array in arrays.items():
        direction = rng.normal(size=array.shape)

        def along(t: float, name: str = name, direction: Any = direction) -> float:
            moved = {**arrays, name: arrays[name] + t * direction}
            return float((forward(**moved) * grad).sum())

        got = float((grads[name] * direction).sum())
        size = float(np.abs(grads[name] * direction).sum())
        found = found.merged(_compare_slopes(name, got, along, size))
    return found


def _compare_slopes(name: str, got: float, along: Any, size: float) -> Comparison:
    """Compare a slope with that of a function; ``size`` is the sum of the slope's terms."""
    found = Comparison(math.inf, 0.0)
    for step, relative in ((1e-3, 1e-6), (1e-5, 1e-5)):
        expected = directional_derivative(along, step)
        allowed = relative * max(size, abs(expected), 1e-3)
        error = abs(got - expected) / allowed
        if error <= 1:
            return Comparison(error, relative)
        if error < found.error or math.isnan(error):
            what = f"the gradient of {name}, along a random direction,"
            difference = Difference(what, (), got, expected, allowed, 1, 1)
            found = Comparison(error if error == error else math.inf, relative, difference)
    return found


# --- running ------------------------------------------------------------------------------------


def reference_outcomes(case: Case) -> Iterator[Outcome]:
    """Yield what is checked of a custom operation before its kernels, in float64.

    The NumPy functions are compared with the loops, if there are any, and the gradients of the
    reference with differences.
    """
    definition = case.tested
    assert isinstance(definition, OpDefinition)
    if definition.how == "naive" and hasattr(definition.op, "forward_numpy"):
        for outcome in run_case(get_backend("numpy", "float64"), case):
            yield _labelled(outcome, f"{outcome.direction}_numpy")
    if case.differentiable and case.has_backward:
        began = time.perf_counter()
        found = compare_gradients(case)
        seconds = time.perf_counter() - began
        outcome = Outcome(
            case, "backward", Variation(), "numpy", "float64", "ieee", found, (), seconds
        )
        yield _labelled(outcome, f"backward_{_reference_of(definition.op, 'backward')}")


def _labelled(outcome: Outcome, method: str) -> Outcome:
    """Return an outcome whose message begins with the method that was run."""
    found = outcome.comparison
    if not found.message:
        return outcome
    problem = f"{method}: {found.message}"
    return replace(outcome, comparison=replace(found, problem=problem, difference=None))
