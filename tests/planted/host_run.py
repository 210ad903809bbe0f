"""Plants each fault of ``host.py`` in a process of its own and runs the test that is to find it.

``python tests/planted/host_run.py MODE [TEXT]`` prints a JSON object: for the name of each fault
(that contains TEXT) the failure of its test, null if it passed. Under "" are the failures of the
same tests without a fault. Children are forks, which need not import everything again.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterable
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import pytest
from planted.host import HOST_FAULTS
from planted.planting import Change, plant

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = (
    "-q", "--tb=short", "-W", "ignore:Module already imported",
    "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:timeout",
    "-o", "addopts=--strict-markers --import-mode=importlib",
)  # fmt: skip
MAX_SECONDS = 60


def failure(tests: Iterable[str], changes: Iterable[Change] = ()) -> str | None:
    """Run tests in a fork with the changes; return their output if one fails."""
    with tempfile.TemporaryFile("w+") as output:
        child = os.fork()
        if not child:
            signal.alarm(MAX_SECONDS)
            for stream in (1, 2):
                os.dup2(output.fileno(), stream)
            _end(changes, tests)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        text = output.read()
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"pytest ended with status {status}:\n{text}")
    return text if status else None


def _end(changes: Iterable[Change], tests: Iterable[str]) -> NoReturn:
    """Run the tests and end this process with pytest's status."""
    status: int = pytest.ExitCode.INTERNAL_ERROR
    try:
        plant(changes)
        status = pytest.main([*OPTIONS, *tests])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def main(mode: str, text: str = "") -> None:
    os.chdir(ROOT)
    faults = [fault for fault in HOST_FAULTS if text in fault.name and fault.tests(mode)]
    control = [test for fault in faults for test in fault.tests(mode)]
    if mode != "emulated":
        import_module("cupy")
    with redirect_stdout(sys.stderr):  # forks need not import the tests again
        pytest.main([*OPTIONS, "--collect-only", *control])
    found = {fault.name: failure(fault.tests(mode), fault.changes) for fault in faults}
    print(json.dumps({"": failure(dict.fromkeys(control)), **found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
