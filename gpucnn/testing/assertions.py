"""What tests call: ``check_op`` for a custom operation, on the backends of this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from numpy.typing import DTypeLike

from gpucnn.backends import Backend, get_backend, has_nvidia_driver
from gpucnn.errors import BackendError
from gpucnn.nn import CustomOp
from gpucnn.testing.checking import variations
from gpucnn.testing.custom import cases_of, reference_outcomes
from gpucnn.testing.running import Outcome, run_case


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
    for outcome in _outcomes(op, chosen, dtype):
        if outcome.failure:
            how = f", {outcome.variation}" if str(outcome.variation) else ""
            raise AssertionError(
                f"{op.__name__} {outcome.direction} on {outcome.backend}, {outcome.case.name}"
                f"{how}: {outcome.failure}"
            )


def _outcomes(op: type[CustomOp], backends: list[Backend], dtype: DTypeLike) -> Iterator[Outcome]:
    cases = cases_of(op, dtype)
    for case in cases:
        yield from reference_outcomes(case)
    for backend in backends:
        for case in cases:
            for variation in variations(case, backend, backend.name == "emulated"):
                yield from run_case(backend, case, variation)
