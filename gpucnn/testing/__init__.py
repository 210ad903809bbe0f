"""Tests of the operations of backends: what ``gpucnn check`` and the project's own tests run.

``check`` runs the cases of a backend and yields an ``Outcome`` for each run; ``run`` runs one case
and raises AssertionError if it fails; ``check_op`` does so for a ``gpucnn.nn.CustomOp``. A ``Case``
has arrays and options for an operation of the contract, or for one of a user's own, described by a
``Definition``: how backends compute it, and a reference that computes it in float64 with NumPy.
``run_case`` runs such a case::

    definition = Definition(
        "scale",
        Function("scale", lambda backend, input: my_scale(backend, input), lambda input: 2 * input,
                 parameters=("input",)),
    )
    case = Case("scale", "normal", lambda rng: {"input": values.normal(rng, 300)},
                definition=definition)
    for outcome in run_case(get_backend("emulated"), case, Variation(order="reverse")):
        assert not outcome.failure, outcome.failure

``cases`` holds the table, ``naive`` the loops that are its reference, and ``values`` makes arrays:
with ties, NaN, infinities and others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpucnn.testing.assertions import check_op
    from gpucnn.testing.case import Case, reference
    from gpucnn.testing.checking import check, get_backends, run, select, variations
    from gpucnn.testing.comparison import Comparison, Difference, assert_close, compare_arrays
    from gpucnn.testing.definition import Definition, Function
    from gpucnn.testing.running import Outcome, Variation, run_case

__all__ = [
    "Case",
    "Comparison",
    "Definition",
    "Difference",
    "Function",
    "Outcome",
    "Variation",
    "assert_close",
    "check",
    "check_op",
    "compare_arrays",
    "get_backends",
    "reference",
    "run",
    "run_case",
    "select",
    "variations",
]

_HOMES = {
    "assertions": ("check_op",),
    "case": ("Case", "reference"),
    "checking": ("check", "get_backends", "run", "select", "variations"),
    "comparison": ("Comparison", "Difference", "assert_close", "compare_arrays"),
    "definition": ("Definition", "Function"),
    "running": ("Outcome", "Variation", "run_case"),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: pytest loads the plugin in this package at every start."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"gpucnn.testing.{home}"), name)
    raise AttributeError(f"module 'gpucnn.testing' has no attribute {name!r}")
