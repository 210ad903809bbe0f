"""Every operation as plain loops: the references of the tests (gpucnn/testing/naive)."""

from __future__ import annotations

import sys
from typing import Any

from bench import cases
from bench.sides import Job, by_position, timed
from gpucnn.testing import naive


def about() -> dict[str, Any]:
    """Return versions and threads of the process."""
    return {"python": sys.version.split()[0]}


def load(spec: dict[str, Any]) -> Job:
    """Return the job of an operation."""
    case = cases.CASES[spec["case"]]

    def check() -> dict[str, Any]:
        function, changed = cases.call(naive, case, case.draw(), spec["direction"])
        result = function()
        return by_position(tuple(changed) if result is None else result)

    return Job(check, timed(cases.call(naive, case, case.draw(), spec["direction"])[0]))
