"""The compiler: whether there is one, its flags, and how it is run."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
from functools import lru_cache
from pathlib import Path

from gpucnn.emulator.errors import CompileError
from gpucnn.errors import BackendError

VARIABLE = "CXX"
RUNTIME = Path(__file__).parent / "runtime"
OWN_CODE = "<emulator>"  # what line tables call the emulator's own files, wherever it is installed

# Both modes keep line tables (version 5 of DWARF confuses addr2line about the first file).
# Function-local thread_local variables need no wrapper function, and what two modules define must
# not be merged.
_COMMON = [
    *("-x", "c++", "-std=c++17", "-S", "-fPIC", "-pthread", "-g1", "-gdwarf-4", "-w"),
    *("-fvisibility=hidden", "-fno-gnu-unique", "-fno-extern-tls-init", "-fno-exceptions"),
    *("-fno-math-errno", "-fno-trapping-math"),
]
_MODES = {
    "fast": ["-O3"],
    # -fsanitize=thread puts a call before each load and store. Its library is not linked: the
    # runtime has these functions. The same holds for the other checks and theirs.
    "check": [
        "-O1",
        "-DGPU_CHECK",
        "-fsanitize=thread",
        "-fsanitize=bounds,alignment,shift-exponent,signed-integer-overflow,integer-divide-by-zero",
    ],
}

# What g++ and the linker say where the machine is at fault, not the source.
_SHORT = (
    "No space left on device|Killed signal terminated|virtual memory exhausted"
    "|out of memory allocating"
)

compilations = 0  # how often this process has run the compiler to make code


def find_compiler() -> str:
    """Return the path of g++, or of the g++ that $CXX names.

    Raises BackendError where the emulator cannot run, and where CXX names another compiler: g++
    would then be one that the user did not mean.
    """
    system, machine = platform.system(), platform.machine()
    if system != "Linux" or machine.lower() not in ("x86_64", "amd64"):
        raise BackendError(f"the emulator needs Linux on x86-64; this is {system} on {machine}")
    named = os.environ.get(VARIABLE, "").strip()
    path = shutil.which(named or "g++")
    if named and (path is None or not _is_gcc(path)):
        lacks = "is no g++" if path else "is not here"
        raise BackendError(
            f"the emulator compiles kernels with g++; {VARIABLE} names {named!r}, which {lacks}:"
            " unset it, or name one program"
        )
    if path is None:
        raise BackendError(
            "the emulator compiles kernels with g++, which is not here: apt install g++"
        )
    return path


def _is_gcc(compiler: str) -> bool:
    return "Free Software Foundation" in compiler_version(compiler)


@lru_cache
def compiler_version(compiler: str) -> str:
    """Return what a compiler says of itself, a part of every cache key."""
    done = subprocess.run(
        [compiler, "--version"],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return done.stdout


@lru_cache
def own_sources() -> str:
    """Return the emulator's own sources, Python and C++, a part of every cache key."""
    files = sorted([*RUNTIME.glob("*.h"), *RUNTIME.glob("*.cpp"), *RUNTIME.parent.glob("*.py")])
    return "\0".join(f"{file.name}\0{file.read_text(encoding='utf-8')}" for file in files)


@lru_cache
def _vector_flags() -> list[str]:
    """Return the flags for the vector instructions that this machine has."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return []
    found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    flags = set(found.group(1).split()) if found else set()
    return ["-mavx2", "-mfma"] if {"avx2", "fma"} <= flags else []


def kernel_flags(mode: str, contract: bool) -> list[str]:
    """Return g++'s flags for kernels; ``contract``: a product and a sum may become one fma."""
    return [
        *_COMMON,
        *_MODES[mode],
        *_vector_flags(),
        f"-ffp-contract={'fast' if contract else 'off'}",
        *("-include", str(RUNTIME / "cuda.h"), f"-ffile-prefix-map={RUNTIME}={OWN_CODE}"),
    ]


def key_of_flags(flags: list[str]) -> str:
    """Return flags as text for a cache key, without where this package is installed."""
    return " ".join(flags).replace(str(RUNTIME), "")


def run(command: list[str], folder: Path) -> str:
    """Run a compiler's tool in a folder and return its output.

    Raises CompileError for what is wrong in the source, BackendError where the machine is at fault.
    """
    environment = {**os.environ, "LC_ALL": "C"}  # messages are read below
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise BackendError(f"cannot run {command[0]}: {error.strerror}") from error
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise BackendError(f"{command[0]} was killed by {name}; memory may be short")
    if done.returncode:
        raise _failure(done.stderr, command)
    return done.stdout


def compile_code(command: list[str], folder: Path) -> None:
    """Run the compiler proper, and count it."""
    global compilations
    compilations += 1
    run(command, folder)


def _failure(text: str, command: list[str]) -> CompileError | BackendError:
    """Return the first error of g++'s output as one line that begins with file and line."""
    # g++ lives on where a program that it runs is killed, and says so.
    short = re.search(rf"^.*(?:{_SHORT}).*$", text, re.MULTILINE)
    if short:
        return BackendError(
            f"{command[0]} failed, as memory or the disk is full: {short.group().strip()}"
        )
    found = re.search(r"^(.+?):(\d+):(?:\d+:)? (?:fatal )?error: (.*)$", text, re.MULTILINE)
    if found:
        file, line, what = found.group(1), int(found.group(2)), found.group(3)
        return CompileError(f"{file}:{line}: error: {what}", file, line)
    lines = text.strip().splitlines()
    return CompileError(f"{command[0]} failed: {lines[-1] if lines else 'it says nothing'}")
