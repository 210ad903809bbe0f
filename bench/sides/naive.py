"""Every operation as plain loops: the references of the tests (tests/naive)."""

from __future__ import annotations

import sys
from typing import Any

from bench import cases
from bench.peers import ROOT
from bench.sides import Job, by_position, timed

sys.path.append(str(ROOT / "tests"))


def about() -> dict[str, Any]:
    """Return versions and threads of the process."""
    return {"python": sys.version.split()[0]}


def load(spec: dict[str, Any]) -> Job:
    """Return the job of an operation."""
    import naive

    case = cases.CASES[spec["case"]]

    def check() -> dict[str, Any]:
        function, changed = cases.call(naive, case, case.draw(), spec["direction"])
        result = function()
        return by_position(tuple(changed) if result is None else result)

    return Job(check, timed(cases.call(naive, case, case.draw(), spec["direction"])[0]))
