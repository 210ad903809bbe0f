"""What tests call: ``check_op`` for a custom operation, on the backends of this machine."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext

from numpy.typing import DTypeLike

from gpucnn.backends import Backend, get_backend, has_nvidia_driver
from gpucnn.errors import BackendError, GpucnnError
from gpucnn.nn import CustomOp
from gpucnn.testing.case import (
    Case,
    assert_results,
    backward,
    forward,
    reference,
    saved_arguments,
    to_backend,
)
from gpucnn.testing.custom import OpDefinition, cases_of, compare_gradients

ORDERS = ("forward", "reverse", "random")
"""The orders of threads in which the emulator runs the kernels."""


def available(dtype: DTypeLike = "float32") -> list[Backend]:
    """Return the backends that this machine has: numpy, and emulated and cuda where they run."""
    found = [get_backend("numpy", dtype)]
    names = ["emulated", "cuda"] if has_nvidia_driver() else ["emulated"]
    for name in names:
        try:
            found.append(get_backend(name, dtype))
        except BackendError:
            continue
    return found


def check_op(
    op: type[CustomOp],
    backends: str | Iterable[str] | None = None,
    dtype: DTypeLike = "float32",
) -> None:
    """Do what ``gpucnn check FILE.py:CLASS`` does; AssertionError for the first failure.

    Args:
        op: the class of the operation.
        backends: the names of backends, or of one; by default all that this machine has.
        dtype: that of the arrays on them, "float32" or "float64".

    Raises:
        AssertionError: the loops, the NumPy functions and the kernels do not agree, a kernel has a
            fault, or the gradients are not those of the forward. The message has the case and the
            first wrong element.
        BackendError: this machine has no backend of that name.
        SettingError: a method of the class cannot be called, or returns something else than it
            should.
    """
    if backends is None:
        chosen = available(dtype)
    else:
        names = [backends] if isinstance(backends, str) else backends
        chosen = [get_backend(name, dtype) for name in names]
    cases = cases_of(op, dtype)
    for case in cases:
        _check_reference(case)
    for backend in chosen:
        for case in cases:
            for order in ORDERS if backend.name == "emulated" else ("",):
                _run(backend, case, order)


def _check_reference(case: Case) -> None:
    """Compare the NumPy functions with the loops, if there are any, and gradients, in float64."""
    definition = case.tested
    assert isinstance(definition, OpDefinition)
    if definition.how == "naive" and hasattr(definition.op, "forward_numpy"):
        _run(get_backend("numpy", "float64"), case)
    if case.differentiable and case.has_backward:
        found = compare_gradients(case)
        if found.message:
            raise AssertionError(f"{case.describe()}: backward_{definition.how}: {found.message}")


def _run(backend: Backend, case: Case, order: str = "") -> None:
    """Compare a case on a backend with the reference; in check mode, in an order of threads."""
    from gpucnn import emulator

    known = reference(case)
    with emulator.checking(order) if order else nullcontext():
        try:
            arguments = to_backend(backend, case.arrays())
            assert_results(backend, case, forward(backend, case, arguments), known.results)
            if case.has_backward:
                arguments = saved_arguments(backend, case)
                assert_results(backend, case, backward(backend, case, arguments), known.grads)
        except GpucnnError as error:  # of a kernel
            raise AssertionError(f"{backend!r} {case.describe()}: {error}") from error
