"""The package itself: what it exports, what it ships, how fast it is there."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import gpucnn
from gpucnn.backends.cuda.sources import kernel_folder, signatures

ROOT = Path(__file__).parent.parent
OPTIONAL = (
    *("PIL", "scipy", "matplotlib", "jinja2", "starlette", "uvicorn", "anyio"),
    *("onnx", "safetensors", "tensorboardX", "google.protobuf", "cupy"),
)
EVERYTHING = "import gpucnn; [getattr(gpucnn, name) for name in gpucnn.__all__]"


def python(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_all_public_names_exist() -> None:
    assert sorted(gpucnn.__all__) == dir(gpucnn)
    for name in gpucnn.__all__:
        assert getattr(gpucnn, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        gpucnn.fitt  # noqa: B018


def test_import_is_quick_and_changes_no_environment() -> None:
    """gpucnn loads its parts when they are asked for; the rest is NumPy's own time."""
    code = (
        "import time; t = time.perf_counter(); import numpy; u = time.perf_counter(); "
        "import gpucnn; print(time.perf_counter() - u)"
    )
    assert statistics.median(float(python(code)) for _ in range(5)) < 0.05
    code = f"import os; a = dict(os.environ); {EVERYTHING}; print(a == dict(os.environ))"
    assert python(code) == "True"


def test_nothing_but_the_command_line_knows_of_a_terminal() -> None:
    assert python(f"{EVERYTHING}; import sys; print('rich' in sys.modules)") == "False"


def test_training_imports_no_optional_dependency() -> None:
    """Neither the package nor `gpucnn train` needs an extra, or takes the time to import one."""
    train = "train --backend numpy --limit 64 --epochs 1 --batch-size 32 --workers 1 --out"
    with TemporaryDirectory() as folder:
        code = (
            f"{EVERYTHING}; import sys; from gpucnn.cli.main import run; "
            f"assert run([*{train.split()}, {folder + '/run'!r}]) == 0; "
            f"print(sorted(set(sys.modules) & set({OPTIONAL})))"
        )
        assert python(code).splitlines()[-1] == "[]"


def test_the_kernels_are_in_the_installed_package() -> None:
    """Installed from a wheel, as CI does it, the package has its own copy of the sources."""
    names = {path.name for path in kernel_folder().iterdir()}
    assert {"common.cuh", "relu.cu", "conv2d.cu"} <= names
    assert len(signatures(kernel_folder())) > 50
    package = Path(gpucnn.__file__).parent
    assert (package / "backends" / "cuda" / "tiles.json").is_file()
    if package.parent != ROOT:
        assert kernel_folder() == package / "kernels"
        for path in (ROOT / "kernels").iterdir():
            assert (package / "kernels" / path.name).read_bytes() == path.read_bytes()


def test_dependencies_are_those_that_were_decided_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [requirement.split(">")[0] for requirement in project["dependencies"]]
    assert names == ["numpy", "rich", "threadpoolctl"]
    for extra, wheel in (("cuda12", "cupy-cuda12x[ctk]"), ("cuda13", "cupy-cuda13x[ctk]")):
        assert project["optional-dependencies"][extra] == [f"{wheel}>=14.0.1,!=14.1.0,<15"]
