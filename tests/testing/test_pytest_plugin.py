"""The plugin for pytest: its fixtures, and that it costs nothing where they are not used."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from available import backend_or_skip

import gpucnn
from gpucnn.testing.template import write_op

ROOT = Path(__file__).parents[2]
PLUGIN = "gpucnn.testing.pytest"
TESTS = """
def test_a_race_is_found(emulator):
    code = 'extern "C" __global__ void f(float* x) { x[0] = threadIdx.x; }'
    x = emulator.empty((1,), "float32")
    kernel = emulator.RawModule(code=code).get_function("f")
    try:
        kernel((1,), (32,), (x,))
    except emulator.EmulatorError as error:
        assert "race" in str(error)
    else:
        raise AssertionError("no race")


def test_backends(gpucnn_backend):
    assert gpucnn_backend.name in ("numpy", "emulated", "cuda")
"""


def python(*words: str, folder: Path) -> str:
    folders = [str(Path(gpucnn.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # an installed gpucnn has the plugin too
    command = [sys.executable, *words]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_files_of_a_new_operation_pass_their_test(tmp_path: Path) -> None:
    backend_or_skip("emulated")
    write_op("soft_sign", tmp_path)
    (tmp_path / "test_fixtures.py").write_text(TESTS)
    options = ("-m", "pytest", "-q", "-p", PLUGIN, "-p", "no:cacheprovider")
    found = python(*options, "--rootdir", str(tmp_path), "--noconftest", folder=tmp_path)
    assert found.splitlines()[-1].startswith(("7 passed", "9 passed"))  # with and without a GPU


def test_pytest_finds_the_plugin_and_importing_it_is_cheap(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"gpucnn": PLUGIN}
    code = f"import sys, {PLUGIN}; print([m for m in sys.modules if m[:4] in ('nump', 'cupy')])"
    assert python("-c", code, folder=tmp_path).strip() == "[]"
