"""The compiler: whether there is one, its flags, and how it is run."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from gpucnn.emulator.errors import CompileError
from gpucnn.errors import BackendError

VARIABLE = "CXX"
# What these do is in the cache.
COMPILING = (
    "blocks.py", "compiled.py", "declarations.py", "layouts.py", "limits.py", "native.py",
    "options.py", "order.py", "preprocessed.py", "signatures.py", "source.py", "subnormals.py",
    "toolchain.py", "uninitialised.py",
)  # fmt: skip
RUNTIME = Path(__file__).parent / "runtime"
HEADERS = RUNTIME / "include"  # those of CUDA that sources may include
OWN_CODE = "<emulator>"  # the emulator's own files in line tables, wherever it is installed

# All modes write line tables (with version 5 of DWARF addr2line confuses the first file).
# thread_local variables of functions need no wrapper, and the linker must not merge equal names of
# two modules.
_COMMON = [
    *("-x", "c++", "-S", "-fPIC", "-pthread", "-g1", "-gdwarf-4", "-w"),
    *("-fvisibility=hidden", "-fno-gnu-unique", "-fno-extern-tls-init", "-fno-exceptions"),
    "-fno-builtin-printf",  # not puts, which would not be the emulator's
    "-fno-math-errno",  # with -fno-trapping-math, (float)(int)-0.5f would be -0
    # A large local array must not reach beyond the guard page of its thread's stack.
    "-fstack-clash-protection",
]
_MODES = {
    "fast": ["-O3"],
    # -fsanitize=thread inserts a call before each load and store. Its library is not linked: the
    # runtime defines these functions, and those of the other checks.
    "check": [
        "-O1",
        "-DGPU_CHECK",
        "-fsanitize=thread",
        "--param=tsan-distinguish-volatile=1",
        "-fsanitize=bounds,alignment,shift-exponent,signed-integer-overflow,integer-divide-by-zero",
    ],
    # The calls of -fsanitize=thread become others in blocks.py. A struct is accessed as a whole, as
    # a float4 is, and not by its fields; code to which lanes come by several ways is not duplicated
    # for each of them, since they could not meet there; blocks.py reads the jumps.
    "profile": [
        *("-O1", "-DGPU_CHECK", "-fsanitize=thread", "-fsanitize-coverage=trace-pc"),
        *("-fno-tree-sra", "-fno-thread-jumps", "-fno-jump-tables"),
    ],
}

# Messages of g++ and the linker when the machine is short of memory or disk.
_SHORT = (
    "No space left on device|Killed signal terminated|virtual memory exhausted"
    "|out of memory allocating"
)

compilations = 0  # how often this process has compiled code


def find_compiler() -> str:
    """Return the path of g++, or of the g++ that $CXX names.

    Raises BackendError where the emulator cannot run, and if CXX names a compiler other than g++.
    """
    system, machine = platform.system(), platform.machine()
    if system != "Linux" or machine.lower() not in ("x86_64", "amd64"):
        raise BackendError(f"the emulator requires Linux on x86-64; this is {system} on {machine}")
    named = os.environ.get(VARIABLE, "").strip()
    path = shutil.which(named or "g++")
    if named and (path is None or not _is_gcc(path)):
        lacks = "is not g++" if path else "was not found"
        raise BackendError(
            f"the emulator compiles kernels with g++; {VARIABLE} names {named!r}, which {lacks}:"
            f" unset {VARIABLE}, or set it to the path of g++"
        )
    if path is None:
        raise BackendError(
            "the emulator compiles kernels with g++, which was not found: apt install g++"
        )
    return path


def _is_gcc(compiler: str) -> bool:
    try:
        return "Free Software Foundation" in compiler_version(compiler)
    except CompileError:  # it does not even have the option --version
        return False


@lru_cache
def compiler_version(compiler: str) -> str:
    """Return the compiler's version text, a part of every cache key."""
    return run([compiler, "--version"], RUNTIME)


@lru_cache
def own_sources() -> str:
    """Return the emulator's sources that compiled code depends on, a part of every cache key."""
    python = [RUNTIME.with_name(name) for name in COMPILING]
    own = [*RUNTIME.glob("*.h"), *RUNTIME.glob("*.cpp"), *HEADERS.rglob("*")]
    files = sorted([*(file for file in own if file.is_file()), *python])
    return "\0".join(f"{file.name}\0{file.read_text(encoding='utf-8')}" for file in files)


@lru_cache
def _vector_flags() -> list[str]:
    """Return the flags for the vector instructions of this machine."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return []
    found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    flags = set(found.group(1).split()) if found else set()
    return ["-mavx2", "-mfma"] if {"avx2", "fma"} <= flags else []


def include_flags(folders: Iterable[str]) -> list[str]:
    """Return g++'s flags for headers: in the user's folders, and CUDA's."""
    return [*(f"-I{folder}" for folder in folders), "-isystem", str(HEADERS)]


def kernel_flags(mode: str, contract: bool, flush: bool, standard: str = "c++17") -> list[str]:
    """Return g++'s flags for kernels.

    contract: a product and a sum may become one fma; flush: see subnormals.py.
    """
    return [
        *_COMMON,
        *_MODES[mode],
        *_vector_flags(),
        f"-std={standard}",
        f"-ffp-contract={'fast' if contract else 'off'}",
        f"-DGPU_FLUSH={int(flush)}",
        f"-ffile-prefix-map={RUNTIME}={OWN_CODE}",
    ]


def local_flags(compiler: str) -> list[str]:
    """Return the flags for a source whose local variables are followed (uninitialised.py).

    A store must not leave a loop: the variable would be read before the loop for its old value.
    """
    found = re.search(r" (\d+)\.\d+", compiler_version(compiler))
    new = found is not None and int(found.group(1)) >= 12
    return ["-fno-move-loop-stores" if new else "-fno-tree-loop-im"]


def key_of_flags(flags: list[str]) -> str:
    """Return flags as text for a cache key, without the path of this installation."""
    return " ".join(flags).replace(str(RUNTIME), "")


def run(command: list[str], folder: Path, text: str | None = None) -> str:
    """Run a compiler's tool in a folder, with ``text`` as its input, and return its output.

    Raises CompileError for an error in the source, BackendError for a problem of the machine.
    """
    environment = {**os.environ, "LC_ALL": "C"}  # messages are read below
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            input=text,
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
    """Run the compiler, and count the compilation."""
    global compilations
    compilations += 1
    run(command, folder)


def _failure(text: str, command: list[str]) -> CompileError | BackendError:
    """Return the first error of g++'s output as one line that begins with file and line."""
    # If a program that g++ runs is killed, g++ reports it and exits normally.
    short = re.search(rf"^.*(?:{_SHORT}).*$", text, re.MULTILINE)
    if short:
        return BackendError(
            f"{command[0]} failed: memory or the disk is full: {short.group().strip()}"
        )
    # The assembler refuses only what a source has in asm(): "Error", not "error".
    found = re.search(
        r"^(.+?):(\d+):(?:\d+:)? (?:fatal )?(?:error|Error): (.*)$", text, re.MULTILINE
    )
    if found:
        file, line, what = found.group(1), int(found.group(2)), found.group(3)
        if " Error: " in found.group() or re.search(r"\basm\b", what):
            what = (
                f"the emulator does not support inline PTX ({what}); give it an alternative in"
                " C++: #ifdef GPUCNN_EMULATOR"
            )
        return CompileError(f"{file}:{line}: error: {what}", file, line)
    lines = text.strip().splitlines()
    return CompileError(f"{command[0]} failed: {lines[-1] if lines else 'no message'}")
