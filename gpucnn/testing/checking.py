"""``gpucnn check``: the cases of the operations that are asked for, in several variations."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from numpy.typing import DTypeLike

from gpucnn.backends import Backend, get_backend
from gpucnn.errors import SettingError, unknown
from gpucnn.nn import CustomOp
from gpucnn.testing.case import Case
from gpucnn.testing.cases import ALL_CASES
from gpucnn.testing.custom import OpDefinition, cases_of, cases_of_file, reference_outcomes
from gpucnn.testing.running import Outcome, Variation, run_case

Name = str | type[CustomOp]

ORDERS = ("forward", "reverse", "random")
"""The orders of threads in which every case runs in the emulator's check mode."""

LARGE = 3000
"""Elements of all arrays of a case; one with more runs in one of the orders only."""


def check(
    backend: Backend, names: Sequence[Name] = (), checked: bool | None = None
) -> Iterator[Outcome]:
    """Run the cases of a backend and compare each result with the reference in float64.

    Args:
        backend: the backend; its dtype and precision are what is checked.
        names: what to check, as for ``select``; by default every operation.
        checked: whether the emulator runs in its check mode, in several orders of threads; None
            for yes. Elsewhere guards around arrays show writes outside them.

    Yields:
        The outcome of each run. The iterator ends early if the device is lost.

    Raises:
        SettingError: no operation or case has one of the names.
    """
    emulated = backend.name == "emulated" and checked is not False
    cases = select(names, backend.dtype)
    if backend.precision == "tf32":
        cases = [case for case in cases if case.tested.is_product]  # others are as without TF32
    for case in cases:
        if isinstance(case.tested, OpDefinition):
            yield from reference_outcomes(case)
    for case in cases:
        for variation in variations(case, backend, emulated):
            for outcome in run_case(backend, case, variation):
                yield outcome
                if outcome.lost:
                    return


def select(names: Sequence[Name] = (), dtype: DTypeLike = "float32") -> list[Case]:
    """Return the cases of the operations with these names, in the order of the table.

    A name is that of an operation, such as "conv2d", of a case, such as "conv2d-stride 2", or a
    pattern of such names, as in a shell: "*pool2d". It may also be a custom operation, the class or
    FILE.py:CLASS, whose cases are for backends of ``dtype``. SettingError if there is none.
    """
    custom = [name for name in names if is_custom(name)]
    own = [name for name in names if isinstance(name, str) and name not in custom]
    for text in own:
        if not any(_matches(case, text) for case in ALL_CASES):
            raise unknown("operation", text, {case.op: None for case in ALL_CASES})
    found = [case for case in ALL_CASES if not names or any(_matches(case, name) for name in own)]
    for name in custom:
        found += cases_of(name, dtype) if isinstance(name, type) else cases_of_file(name, dtype)
    return found


def is_custom(name: Name) -> bool:
    """Return whether a name is that of a user's operation: a class, or a Python file's."""
    return isinstance(name, type) or ".py:" in name or name.endswith(".py")


def _matches(case: Case, name: str) -> bool:
    return fnmatchcase(case.op, name) or fnmatchcase(str(case), name)


def variations(case: Case, backend: Backend, checked: bool) -> list[Variation]:
    """Return the ways in which a case is run on a backend.

    Matrix products are computed in tiles of every kind, also those that are not chosen for arrays
    as small as these; those of the two smallest kinds take turns, by the case's name. ``checked``:
    in the emulator's check mode.
    """
    number = zlib.crc32(str(case).encode())
    orders = ORDERS if checked else ("",)
    if checked and sum(array.size for array in case.arrays().values()) > LARGE:
        orders = (ORDERS[number % len(ORDERS)],)
    kinds: tuple[str, ...] = ("auto",)
    if case.tested.is_product and backend.name in ("cuda", "emulated"):
        kinds = ("auto", "naive", ("small", "narrow")[number % 2], "middle", "large")
        if backend.precision == "tf32":
            return [Variation(orders[-1], variant="small"), Variation(orders[0], variant="large")]
    found = [Variation(order, variant=kinds[0]) for order in orders]
    for place, kind in enumerate(kinds[1:]):
        found.append(Variation(orders[place % len(orders)], variant=kind))
    return found


def get_backends(
    name: str, dtype: DTypeLike = "float32", precision: str | None = None
) -> list[Backend]:
    """Return the backend with each precision that it has, or with the one that is asked for."""
    first = get_backend(name, dtype, precision=precision or "ieee")
    if precision or first.dtype != "float32" or first.name == "numpy":
        return [first]
    try:
        return [first, get_backend(first.name, dtype, precision="tf32")]
    except SettingError:  # a GPU without tensor cores for TF32
        return [first]


def run(
    op: str,
    name: str,
    backend: str | Backend = "auto",
    *,
    order: str = "",
    seed: int = 0,
    variant: str = "auto",
    dtype: DTypeLike = "float32",
    precision: str = "ieee",
) -> None:
    """Run one case, and raise AssertionError with what is wrong unless its results are correct.

    Args:
        op: the name of the operation.
        name: the name of the case.
        backend: a backend or its name.
        order: the emulator's order of threads, "forward", "reverse" or "random", in its check mode;
            "" for its fast mode, and for other backends.
        seed: the seed of the order "random".
        variant: how matrix products are computed, a key of ``gpucnn.testing.running.VARIANTS``.
        dtype: the dtype of the backend, if it is given by its name.
        precision: its precision.

    Raises:
        AssertionError: a result is wrong, or a kernel has a fault.
        SettingError: there is no such case.
    """
    made = get_backend(backend, dtype, precision=precision)
    cases = {case.name: case for case in select([op], made.dtype)}
    if name not in cases:
        raise unknown(f"case of {op}", name, cases)
    for outcome in run_case(made, cases[name], Variation(order, seed, variant)):
        if outcome.failure:
            raise AssertionError(f"{outcome.operation} [{name}]: {outcome.failure}")
