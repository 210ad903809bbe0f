"""Tests of the operations of backends: what ``gpucnn check`` and the project's own tests run.

``check`` runs the cases of a backend and yields an ``Outcome`` for each run; ``run`` runs one case
and raises AssertionError if it fails. A ``Case`` has arrays and options for an operation of the
contract, or for one of a user's own, described by a ``Definition``: how backends compute it, and a
reference that computes it in float64 with NumPy. ``run_case`` runs such a case::

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

from gpucnn.testing.case import Case, reference
from gpucnn.testing.checking import check, get_backends, run, select, variations
from gpucnn.testing.comparison import Comparison, Difference, assert_close, compare_arrays
from gpucnn.testing.definition import Definition, Function
from gpucnn.testing.running import Outcome, Variation, run_case
from gpucnn.testing.tolerance import tolerance

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
    "compare_arrays",
    "get_backends",
    "reference",
    "run",
    "run_case",
    "select",
    "tolerance",
    "variations",
]
