"""Every operation as plain loops over numbers: the tests' references (tests/naive.py)."""

from __future__ import annotations

import sys
from typing import Any

from bench import cases
from bench.peers import ROOT
from bench.sides import Job, named, timed

sys.path.append(str(ROOT / "tests"))


def about() -> dict[str, Any]:
    """Return what the process computes with."""
    return {"python": sys.version.split()[0]}


def load(spec: dict[str, Any]) -> Job:
    """Make the job of an operation."""
    import naive

    case = cases.CASES[spec["case"]]

    def check() -> dict[str, Any]:
        function, changed = cases.call(naive, case, case.draw(), spec["direction"])
        result = function()
        return named(tuple(changed) if result is None else result)

    return Job(check, timed(cases.call(naive, case, case.draw(), spec["direction"])[0]))
