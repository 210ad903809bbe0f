"""``setup`` and ``run``, up to where they would install or build: what they refuse, and how."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HEADERS = Path("gpucnn/emulator/runtime")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stand-in needs Linux")


@pytest.fixture
def standin(tmp_path: Path) -> Path:
    """A copy of the stand-in that is not built, in a checkout whose path has a space."""
    checkout = tmp_path / "a checkout"
    shutil.copytree(ROOT / HEADERS, checkout / HEADERS)
    copy = checkout / "tests" / "standin"
    shutil.copytree(HERE, copy, ignore=shutil.ignore_patterns("build", "__pycache__"))
    return copy


def call(command: Path, *arguments: str, **variables: str) -> tuple[int, str]:
    """Return the status and the output of a script; it is called from another folder."""
    done = subprocess.run(
        [command, *arguments],
        cwd="/",
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def typed(path: Path) -> str:
    return shlex.quote(str(path))


def mark_as_built(standin: Path) -> None:
    """Write the checksum that setup writes at its end."""
    script = 'here=$1; . "$1/sources.sh"; mkdir -p "$1/build"; sources >"$1/build/sources"'
    subprocess.run(["sh", "-c", script, "sh", standin], check=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected a Python: python3 -m venv .venv && {} .venv/bin/python"),
        (("--help",), "expected a Python: python3 -m venv .venv && {} .venv/bin/python"),
        (
            ("/no/python",),
            "/no/python does not exist: python3 -m venv .venv && {} .venv/bin/python",
        ),
        (("/bin/sh",), "/bin/sh is not Python 3.11 or newer: {} PYTHON, with the Python of an "),
        (("/bin/sh", "-x"), "expected one Python, got 2 arguments: {} .venv/bin/python"),
    ],
    ids=["none", "option", "missing", "no Python", "two"],
)
def test_setup_refuses_what_is_not_a_python(
    arguments: tuple[str, ...], message: str, standin: Path
) -> None:
    setup = standin / "setup"
    status, output = call(setup, *arguments)
    assert (status, len(output.splitlines())) == (2, 1)
    assert output.startswith(f"{setup}: {message.format(typed(setup))}")
    assert not (standin / "build").exists()


def test_setup_refuses_a_python_older_than_3_11(standin: Path, tmp_path: Path) -> None:
    old = tmp_path / "python3.10"
    old.write_text('#!/bin/sh\ntest "$1" != -c\n')
    old.chmod(0o755)
    status, output = call(standin / "setup", str(old))
    assert status == 2
    assert f"{old} is not Python 3.11 or newer" in output


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A virtual environment's Python; it has no packages, and no pip."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "v"], check=True)
    return tmp_path / "v" / "bin" / "python"


def add_package(python: Path, name: str, version: str) -> None:
    (site,) = python.parents[1].glob("lib/python*/site-packages")
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.mark.parametrize(
    ("packages", "message"),
    [
        ([], "{python} has no pip: {python} -m ensurepip, then {setup} {python}"),
        (
            [("cupy-cuda12x", "13.0.0")],
            "cupy-cuda12x 13.0.0 is installed, expected {pin}: "
            "{python} -m pip install cupy-cuda12x=={pin}, then {setup} {python}",
        ),
        (
            [("cupy-cuda13x", "14.2.0")],
            "cupy-cuda13x is installed, expected cupy-cuda12x: "
            "{python} -m pip uninstall cupy-cuda13x, then {setup} {python}",
        ),
        (
            [("cupy", "14.2.0"), ("cupy-cuda12x", "14.2.0")],
            "cupy and cupy-cuda12x are both installed and conflict: "
            "{python} -m pip uninstall cupy cupy-cuda12x, then {setup} {python}",
        ),
    ],
    ids=["no pip", "another version", "another wheel", "two"],
)
def test_setup_refuses_an_environment(
    packages: list[tuple[str, str]], message: str, standin: Path, python: Path
) -> None:
    for package in packages:
        add_package(python, *package)
    setup = standin / "setup"
    status, output = call(setup, str(python))
    assert status == 1
    wanted = message.format(python=python, setup=typed(setup), pin=pins()["cupy-cuda12x"])
    assert output.splitlines()[-1] == f"{setup}: {wanted}"


def test_setup_names_a_missing_compiler(standin: Path, python: Path) -> None:
    setup = standin / "setup"
    fix = "unset CXX, or set it to the path of g++"
    wanted = f"{setup}: nobody-g++, the compiler, was not found: {fix}\n"
    assert call(setup, str(python), CXX="nobody-g++") == (1, wanted)


def test_run_needs_a_build(standin: Path, python: Path) -> None:
    run, setup = standin / "run", typed(standin / "setup")
    for arguments, message in (
        ([str(python)], f"the stand-in is not built: {setup} {python}"),
        (["/bin/sh"], f"the stand-in is not built: {setup} PYTHON"),
        ([], f"expected a command: {typed(run)} .venv/bin/pytest -m cuda"),
        (["/no/command"], f"/no/command does not exist: {typed(run)} COMMAND..."),
    ):
        assert call(run, *arguments) == (2, f"{run}: {message}\n")


def test_run_notices_that_the_sources_have_changed(standin: Path) -> None:
    run = standin / "run"
    setup = typed(standin / "setup")
    changed = f"{run}: the stand-in is older than its sources: {setup} PYTHON\n"
    sources = [standin / "requirements.txt", *(standin / "src").iterdir()]
    for file in (sources[0], sources[-1], next((standin.parents[1] / HEADERS).glob("*.h"))):
        mark_as_built(standin)
        assert call(run, "true") == (0, "")
        with file.open("a") as opened:
            opened.write("\n")
        assert call(run, "true") == (2, changed)


def test_run_sets_the_environment_and_passes_arguments_and_status(standin: Path) -> None:
    mark_as_built(standin)
    script = (
        'echo "$STANDIN $GPUCNN_REQUIRE_GPU $LD_LIBRARY_PATH $PYTHONPATH ${CUPY_CACHE_DIR%/*}'
        ' $#${CUPY_ACCELERATORS-unset}"; exit 7'
    )
    arguments = ("sh", "-c", script, "sh", "a b", "")
    known = {"LD_LIBRARY_PATH": "/l", "PYTHONPATH": "/p", "CUPY_CACHE_DIR": "/cache"}
    known["CUPY_ACCELERATORS"] = "cub"
    wanted = f"1 0 {standin}/build:/l {standin}/python:/p {standin}/build/cupy-cache 2\n"
    assert call(standin / "run", *arguments, GPUCNN_REQUIRE_GPU="0", **known) == (7, wanted)


def pins() -> dict[str, str]:
    lines = (HERE / "requirements.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_the_pinned_packages_are_among_those_that_gpucnn_allows() -> None:
    """.ci/run installs the extra ``nvrtc`` into the environment of the stand-in."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = 0
    for line in project["optional-dependencies"]["nvrtc"]:
        requirement = Requirement(line)
        if requirement.name in pins():
            found += 1
            assert requirement.specifier.contains(pins()[requirement.name]), line
    assert found == 2  # CuPy and the headers of the runtime
