"""Install what the stand-in needs into this Python's environment, and build it: see setup.

Nothing is built twice. An object is named after the checksum of all that it is made of, and the
libraries are links to objects: a build that is cut off leaves the previous one in place.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import packages
from packages import AGAIN, BUILD, HERE, MODULE, NAME, PYTHON, SETUP, Failure, temporary_folder

EMULATOR = HERE.parents[1] / "gpucnn" / "emulator"
OBJECTS = BUILD / "objects"
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
LIBRARIES = {"nccl": "libnccl.so.2", "nvrtc": "libnvrtc.so.12"}  # of src/nccl*.cpp, src/nvrtc*.cpp

COMPILER = os.environ.get("CXX", "").strip() or "g++"
# NVIDIA's headers refuse compilers that are newer than they are, unless this is defined.
FLAGS = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-pthread", "-D__NV_NO_HOST_COMPILER_CHECK"]
# One library serves all versions of Python.
OWN_FLAGS = [
    *(*FLAGS, "-O2", "-DPy_LIMITED_API=0x030B0000"),
    *("-Wall", "-Wextra", "-Wmissing-declarations", "-Wshadow", "-Wconversion"),
]
CUPYS_FLAGS = [*FLAGS, "-O1", "-w"]

# As CuPy's install/cupy_builder/_command.py gives them to Cython.
DIRECTIVES = [
    *("embedsignature=True", "c_api_binop_methods=True", "binding=False"),
    *("warn.deprecated.IF=False", "freethreading_compatible=True"),
]
CONSTANTS = "CUPY_USE_CUDA_PYTHON=False,CUPY_CUFFT_STATIC=False,CUPY_HIP_VERSION=0"


def check_machine() -> None:
    """Raise Failure where the stand-in cannot be built."""
    system, machine = platform.system(), platform.machine()
    if system != "Linux" or machine != "x86_64":
        raise Failure(f"expected Linux on x86-64, as for the emulator; this is {system} {machine}")
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise Failure(f"{PYTHON} is not CPython with a GIL: {SETUP} PYTHON, with one that is")
    if sys.prefix == sys.base_prefix and not (Path(sys.prefix) / "conda-meta").is_dir():
        raise Failure(
            f"{PYTHON} is not of a virtual environment, into which packages can be installed: "
            f"python3 -m venv .venv && {SETUP} .venv/bin/python"
        )
    if ":" in str(HERE):
        raise Failure(f"{HERE} has a colon, which LD_LIBRARY_PATH cannot hold: rename the folder")
    if shutil.which(COMPILER) is None:
        fix = "apt install g++" if COMPILER == "g++" else "unset CXX, or set it to the path of g++"
        raise Failure(f"{COMPILER}, the compiler, was not found: {fix}")
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        version = "{}.{}".format(*sys.version_info)
        raise Failure(f"Python.h was not found for {PYTHON}: apt install python{version}-dev")


@contextmanager
def locked() -> Iterator[None]:
    """Wait for other runs of setup in this checkout, and remove what killed ones left."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another setup", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        for folder in BUILD.glob("tmp-*"):
            shutil.rmtree(folder, ignore_errors=True)
        OBJECTS.mkdir(exist_ok=True)
        yield


def headers() -> list[str]:
    """Return the options for the folders of NVIDIA's headers and Python's."""
    nvidia = Path(sysconfig.get_path("purelib")) / "nvidia"
    folders = [nvidia / name / "include" for name in ("cuda_runtime", "cuda_profiler_api", "cu13")]
    folders.append(Path(sysconfig.get_path("include")))
    return [part for folder in folders for part in ("-isystem", str(folder))]


def cuda_version() -> str:
    """Return the CUDA version of the headers, 12090 for 12.9."""
    text = (Path(headers()[1]) / "cuda.h").read_text(encoding="utf-8")
    return text.split("#define CUDA_VERSION ")[1].split()[0]


def checksum(*parts: str | Path) -> str:
    """Return a name for these texts and files."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part.read_bytes()
        digest.update(hashlib.sha256(data).digest())
    return digest.hexdigest()[:16]


def object_file(name: str, key: str, suffix: str, make: Callable[[Path], None]) -> Path:
    """Return the object of this name and key; ``make`` writes it if it does not exist."""
    wanted = OBJECTS / f"{name}.{key}{suffix}"
    if not wanted.exists():
        with temporary_folder() as work:
            make(work / wanted.name)
            os.rename(work / wanted.name, wanted)
    return wanted


def run(command: list[str], what: str, folder: Path = HERE) -> str:
    """Run a tool and return what it prints; raise Failure if it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise Failure(f"{what} cannot be built: see above", done.stdout)
    return done.stdout


def compile_own(source: Path, key: str) -> Path:
    """Return the object of one of the stand-in's own files."""

    def make(to: Path) -> None:
        command = [COMPILER, *OWN_FLAGS, *headers(), "-isystem", str(EMULATOR), "-c", str(source)]
        print(run([*command, "-o", str(to)], f"src/{source.name}"), end="", flush=True)

    return object_file(source.stem, checksum(key, source), ".o", make)


def compile_cupys(key: str) -> Path:
    """Return the object of CuPy's own module."""
    constants = f"{CONSTANTS},CUPY_CUDA_VERSION={cuda_version()}"

    def make(to: Path) -> None:
        folder = packages.cupy_source()
        what = f"CuPy's {MODULE}"
        cpp = to.with_suffix(".cpp")
        options = [part for directive in DIRECTIVES for part in ("-X", directive)]
        cython = [sys.executable, "-m", "cython", "-3", "--cplus", *options, "-E", constants]
        run([*cython, "-o", str(cpp), MODULE], what, folder)
        paths = [*headers(), "-I", str((folder / MODULE).parent)]
        run([COMPILER, *CUPYS_FLAGS, *paths, "-c", str(cpp), "-o", str(to)], what)

    return object_file(f"runtime{SUFFIX}", checksum(key, constants, *DIRECTIVES), ".o", make)


def link(name: str, *objects: Path) -> Path:
    """Link a library, unless there is one of the same objects; return its path."""
    command = [COMPILER, "-shared", "-pthread", "-Wl,-rpath,$ORIGIN"]
    key = checksum(*command, *(path.name for path in objects))

    def make(to: Path) -> None:
        inputs = map(str, objects)
        run([*command, f"-Wl,-soname,{name}", *inputs, "-ldl", "-o", str(to)], name)

    library = object_file(name, key, ".so", make)
    target, entry = f"{OBJECTS.name}/{library.name}", BUILD / name
    if not entry.is_symlink() or os.readlink(entry) != target:
        with temporary_folder() as work:
            (work / name).symlink_to(target)
            os.replace(work / name, entry)
    return library


def functions(kind: str, library: Path) -> set[str]:
    """Return CUDA's and NCCL's functions that a library defines, or leaves undefined."""
    text = run(["nm", "--dynamic", f"--{kind}-only", str(library)], library.name)
    return set(re.findall(r"\b(cu[A-Z]\w+|cuda[A-Z]\w+|nccl[A-Z]\w+)$", text, re.MULTILINE))


def check_functions(module: Path, library: Path) -> None:
    """Raise Failure if a module of CuPy's calls functions that a library does not define."""
    missing = sorted(functions("undefined", module) - functions("defined", library))
    if missing:
        raise Failure(
            f"CuPy {packages.cupy_pin()[1]} is not supported: it calls {', '.join(missing)}, "
            f"which {HERE}/src does not define"
        )


def build() -> set[Path]:
    """Build all that has changed; return the objects in use."""
    sources = sorted((HERE / "src").glob("*.cpp"))
    shared = [*sorted((HERE / "src").glob("*.h")), *sorted((EMULATOR / "runtime").glob("*.h"))]
    common = checksum(run([COMPILER, "--version"], COMPILER), HERE / "requirements.txt")
    own = checksum(common, *OWN_FLAGS, *shared)
    cupys = checksum(common, *CUPYS_FLAGS, sys.version.split()[0])
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        module = pool.submit(compile_cupys, cupys)  # the longest first
        compiled = list(pool.map(lambda source: compile_own(source, own), sources))
    objects = dict(zip(sources, compiled, strict=True))
    parts = {
        name: [objects.pop(source) for source in sources if source.name.startswith(name)]
        for name in ("nccl", "nvrtc")
    }
    cuda, entry = link("libcuda.so.1", *objects.values()), BUILD / "libcuda.so.1"
    nvrtc, nccl = (link(LIBRARIES[name], *parts[name], entry) for name in ("nvrtc", "nccl"))
    runtime = link(f"runtime{SUFFIX}", module.result(), entry)
    check_functions(runtime, cuda)
    check_functions(packages.nccl_module(), nccl)
    linked = {cuda, nvrtc, nccl, runtime}
    return {module.result(), *objects.values(), *parts["nccl"], *parts["nvrtc"], *linked}


def remove_unused(used: set[Path], sources: str) -> None:
    """Remove objects and caches of other sources; those of other Pythons stay."""
    for path in OBJECTS.iterdir():
        other = path.name.startswith("runtime.cpython") and SUFFIX not in path.name
        if path not in used and not other:
            path.unlink()
    packages.remove_other_sources()
    for folder in (BUILD / "cupy-cache").glob("*"):
        if folder.name != sources.split()[0]:
            shutil.rmtree(folder, ignore_errors=True)


def main(sources: str) -> None:
    """Install and build; ``sources`` is the checksum of the sources, which run compares."""
    check_machine()
    packages.check_cupy()
    with locked():
        packages.install()
        remove_unused(build(), sources)
        with temporary_folder() as work:
            (work / "sources").write_text(f"{sources}\n")
            os.replace(work / "sources", BUILD / "sources")
    command = [str(HERE / "run"), str(Path(sys.executable).with_name("pytest")), "-m", "cuda"]
    print(f"the stand-in works under CuPy {packages.cupy_pin()[1]}: {shlex.join(command)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except Failure as failure:
        sys.exit(f"{failure.log}{NAME}: {failure}")
    except OSError as error:
        sys.exit(f"{NAME}: {error.filename or BUILD}: {error.strerror}; then {AGAIN}")
    except KeyboardInterrupt:
        sys.exit(130)
