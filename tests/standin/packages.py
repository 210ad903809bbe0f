"""The packages that the stand-in is built from: installed with pip, in the versions pinned."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
NAME = os.environ.get("STANDIN_SETUP", str(HERE / "setup"))
SETUP = shlex.quote(NAME)  # as text to type
PYTHON = shlex.quote(sys.executable)
AGAIN = f"{SETUP} {PYTHON}"

MODULE = "cupy_backends/cuda/api/runtime.pyx"


class Failure(Exception):
    """What is wrong and what to type, in one line; ``log`` is printed above it."""

    def __init__(self, line: str, log: str = "") -> None:
        super().__init__(line)
        self.log = log


@contextmanager
def temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="tmp-") as name:
        yield Path(name)


def requirements() -> dict[str, str]:
    """Return the pinned packages: {name: version}."""
    lines = (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.partition("==") for line in lines if line and not line.startswith("#")]
    return {name: version for name, _, version in pins}


def cupy_pin() -> tuple[str, str]:
    """Return the wheel of CuPy and its version."""
    return next(pin for pin in requirements().items() if pin[0].startswith("cupy"))


def installed(name: str) -> str | None:
    """Return the installed version of a package."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_cupy() -> None:
    """Raise Failure if another CuPy is installed than the one that the stand-in is for."""
    wheel, version = cupy_pin()
    names = {str(found.metadata["Name"] or "").lower() for found in metadata.distributions()}
    found = sorted(name for name in names if re.fullmatch(r"cupy|cupy-(cuda|rocm).*", name))
    pip = f"{PYTHON} -m pip"
    if len(found) > 1:
        raise Failure(
            f"{' and '.join(found)} are both installed and conflict: "
            f"{pip} uninstall {' '.join(found)}, then {AGAIN}"
        )
    if found and found != [wheel]:
        raise Failure(
            f"{found[0]} is installed, expected {wheel}: {pip} uninstall {found[0]}, then {AGAIN}"
        )
    if found and installed(wheel) != version:
        raise Failure(
            f"{wheel} {installed(wheel)} is installed, expected {version}: "
            f"{pip} install {wheel}=={version}, then {AGAIN}"
        )


def install() -> None:
    """Install those of the pinned packages that are missing."""
    missing = [f"{name}=={pin}" for name, pin in requirements().items() if installed(name) != pin]
    if missing:
        print(f"installing {' '.join(missing)}", flush=True)
        pip("install", *missing)


def pip(*arguments: str, **variables: str) -> None:
    """Run pip; raise Failure with its last error."""
    if subprocess.run(
        [sys.executable, "-c", "import pip"], capture_output=True, check=False
    ).returncode:
        raise Failure(f"{PYTHON} has no pip: {PYTHON} -m ensurepip, then {AGAIN}")
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--retries", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments, *options],
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        errors = re.findall(r"^(?:ERROR|error): *(.*)", done.stderr, re.MULTILINE)
        what = f"pip failed ({errors[-1].rstrip('.') if errors else f'status {done.returncode}'})"
        if "connection broken" in done.stderr:
            what = "pip cannot reach the package index: connect to the network"
        raise Failure(f"{what}; details: {PYTHON} -m pip {' '.join(arguments)}")


def nccl_module() -> Path:
    """Return the module of CuPy's wheel that calls NCCL."""
    wheel, version = cupy_pin()
    for file in metadata.files(wheel) or []:
        if file.match("cupy_backends/cuda/libs/nccl.*.so"):
            return Path(str(file.locate()))
    raise Failure(f"{wheel} {version} is not supported: it has no module for NCCL")


def cupy_source() -> Path:
    """Return the folder of CuPy's source; pip downloads it the first time."""
    version = cupy_pin()[1]
    folder = BUILD / f"cupy-{version}"
    if folder.is_dir():
        return folder
    print(f"downloading the source of CuPy {version}", flush=True)
    with temporary_folder() as work:
        options = ["--no-deps", "--no-binary", "cupy", "--dest", str(work)]
        # pip runs CuPy's setup to learn its name; with this variable that needs no CUDA.
        pip("download", f"cupy=={version}", *options, CUPY_INSTALL_USE_STUB="1")
        with tarfile.open(next(work.glob("cupy-*.tar.gz"))) as archive:
            wanted = (f"{folder.name}/LICENSE", f"{folder.name}/cupy_backends/")
            chosen = [file for file in archive if file.name.startswith(wanted)]
            archive.extractall(work, chosen, filter="data")
        if not (work / folder.name / MODULE).is_file():
            raise Failure(f"CuPy {version} is not supported: its source lacks {MODULE}")
        os.rename(work / folder.name, folder)
    return folder


def remove_other_sources() -> None:
    """Remove the sources of other versions of CuPy."""
    for folder in BUILD.glob("cupy-[0-9]*"):
        if folder.name != f"cupy-{cupy_pin()[1]}":
            shutil.rmtree(folder)
