"""Plants each fault of ``host.py`` in a process of its own and runs the test that is to find it.

``python tests/planted/host_run.py MODE [TEXT]`` prints a JSON object: for the name of each fault
(that contains TEXT) the failure of its test, null if it passed. Under "" are the failures of the
same tests without a fault, in the modes in which the suite does not run all of them. pytest starts
and collects the tests once, and its forks run them.
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
    "-q", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:timeout",
    "-o", "addopts=--strict-markers --import-mode=importlib",
)  # fmt: skip
MAX_SECONDS = 60
CONTROLLED = ("late", "mixed")  # in the others the suite itself runs the tests without a fault


class Planted:
    """A plugin of pytest that runs the collected tests in forks: for each fault those that are to
    find it, and in the modes of ``CONTROLLED`` all of them without a fault. ``found`` has their
    failures.
    """

    def __init__(self, mode: str, text: str) -> None:
        self.mode = mode
        self.faults = [f for f in HOST_FAULTS if text in f.name and f.tests(mode)]
        self.tests = list(dict.fromkeys(t for fault in self.faults for t in fault.tests(mode)))
        self.found: dict[str, str | None] = {}
        self._failures: list[str] = []  # of the tests of this process

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        for fault in self.faults:
            tests = [items[test] for test in fault.tests(self.mode)]
            self.found[fault.name] = self._failure(tests, fault.changes)
        if self.mode in CONTROLLED:
            self.found[""] = self._failure([items[test] for test in self.tests])
        return True  # nothing is left to run

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failures.append(f"{report.nodeid}\n{report.longreprtext}\n")

    def _failure(self, tests: list[pytest.Item], changes: Iterable[Change] = ()) -> str | None:
        """Run tests in a fork with the changes; return the failures, None if there are none."""
        with tempfile.TemporaryFile("w+") as output:
            child = os.fork()
            if not child:
                signal.alarm(MAX_SECONDS)
                self._end(tests, changes, output.fileno())
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            output.seek(0)
            text = output.read()
        if status:
            raise RuntimeError(f"the tests ended with status {status}:\n{text}")
        return text or None

    def _end(self, tests: list[pytest.Item], changes: Iterable[Change], output: int) -> NoReturn:
        """Run the tests, write their failures and end this process."""
        status = 1
        try:
            plant(changes)
            for test, following in zip(tests, [*tests[1:], None], strict=True):
                test.ihook.pytest_runtest_protocol(item=test, nextitem=following)
            os.write(output, "".join(self._failures).encode())
            status = 0
        except BaseException:
            os.write(output, traceback.format_exc().encode())
        finally:
            os._exit(status)


def main(mode: str, text: str = "") -> None:
    os.chdir(ROOT)
    if mode != "emulated":
        import_module("cupy")
    planted = Planted(mode, text)
    with redirect_stdout(sys.stderr):
        status = pytest.main([*OPTIONS, *planted.tests], plugins=[planted])
    if status:
        sys.exit(f"pytest ended with status {status}")
    print(json.dumps(planted.found))


if __name__ == "__main__":
    main(*sys.argv[1:])
