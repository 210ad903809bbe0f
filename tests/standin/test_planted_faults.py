"""Faults planted in the host code: the tests that the table names find them, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from available import standin_or_skip
from planted import host, host_run
from planted.planting import MODES

README = Path(__file__).with_name("README.md")


def check_faults(mode: str, **environment: str) -> None:
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, host_run.__file__, mode],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("", None) is None, "the tests fail without a fault"
    faults = {fault.name: fault for fault in host.HOST_FAULTS}
    assert found.keys() == {name for name, fault in faults.items() if fault.tests(mode)}
    wrong = {name: text for name, text in found.items() if not faults[name].accepts(text)}
    assert not wrong, "\n".join(f"{name}: {text}" for name, text in wrong.items())


@pytest.mark.cuda
@pytest.mark.skipif(
    os.environ.get("STANDIN_MODE", "eager") != "eager",
    reason="the test sets the mode itself, and runs in the default mode",
)
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "emulated"])
def test_faults_are_found_on_the_standin(mode: str) -> None:
    standin_or_skip("a GPU has no modes")
    check_faults(mode, STANDIN_MODE=mode, STANDIN_DEVICES="2")


def test_faults_are_found_in_the_emulator() -> None:
    check_faults("emulated")


def test_the_table_in_the_readme_is_that_of_the_faults() -> None:
    assert host.table() in README.read_text(encoding="utf-8")
