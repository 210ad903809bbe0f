"""Reads a CUDA source: compiler options, kernels, and shared memory."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from gpucnn.emulator import abi
from gpucnn.emulator.errors import CompileError
from gpucnn.emulator.toolchain import OWN_CODE
from gpucnn.errors import SettingError

CUPYS_OPTIONS = ("-ftz=true", "--device-as-default-execution-space")
"""What CuPy passes to NVRTC after the options of a RawModule. Of options that contradict each
other NVRTC takes the last."""

# Options of NVRTC without effect here: a GPU's speed, architecture and rounding, and functions
# without ``__device__``, which the emulator compiles in any case.
_HARMLESS = re.compile(
    r"--?(prec-div|prec-sqrt|gpu-architecture|arch|maxrregcount|restrict"
    r"|extra-device-vectorization|generate-line-info|lineinfo|device-debug|G|disable-warnings|w"
    r"|default-device|device-as-default-execution-space|ptxas-options|Xptxas|split-compile"
    r"|extra-opts|minimal|no-source-include)(=.*)?"
)
PREDEFINED = tuple(f"-D{name}={value}" for name, value in abi.macros("language.h").items())
"""The macros that sources may test, as options of g++."""
DYNAMIC = "gpu_dynamic_shared"  # the memory of all `extern __shared__` arrays
RED_ZONE = 1024  # bytes between shared arrays, so that overruns do not reach the next one

_DEFINE = re.compile(r"(?:-D|--define-macro=)\s*(\w+)(?:=(.*))?")


@dataclass(frozen=True)
class Options:
    """Options of NVRTC.

    defines: macros by name.
    contract: whether a * b + c may become one fma.
    flush: whether float32 arithmetic takes subnormal numbers as zero.
    """

    defines: dict[str, str] = field(default_factory=dict)
    contract: bool = True
    flush: bool = False

    @property
    def text(self) -> str:
        """The macros as lines of C."""
        return "".join(f"#define {name} {value}\n" for name, value in self.defines.items())


def parse_options(options: Iterable[str]) -> Options:
    """Parse NVRTC's options; SettingError for one that the emulator does not support."""
    defines: dict[str, str] = {}
    contract, flush = True, False
    for option in options:
        define = _DEFINE.fullmatch(option)
        if define:
            value = define.group(2)
            defines[define.group(1)] = "1" if value is None else value
        elif re.fullmatch(r"--?(fmad|fmad=true|fmad=false)", option):
            contract = not option.endswith("=false")
        elif re.fullmatch(r"--?(ftz=true|ftz=false|use_fast_math)", option):
            flush = not option.endswith("=false")
        elif option not in ("--std=c++17", "-std=c++17") and not _HARMLESS.fullmatch(option):
            raise SettingError(
                f"the emulator does not support the compiler option {option!r}; use -Dname=value,"
                " --std=c++17 or --fmad=false"
            )
    return Options(defines, contract, flush)


@dataclass(frozen=True)
class Signature:
    """A kernel as its source declares it."""

    name: str
    parameters: tuple[str, ...]  # their names
    restrict: tuple[bool, ...]  # which are declared __restrict__
    bounds: str  # the arguments of __launch_bounds__ as C++; may be empty


def _matching(text: str, start: int, where: str) -> int:
    """Return the position after the parenthesis that closes the one at ``start``."""
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] == "(") - (text[position] == ")")
        if depth == 0:
            return position + 1
    raise CompileError(f"a parenthesis after {where} is not closed")


def _split_parameters(text: str) -> list[str]:
    """Split at the commas outside brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "(<[{") - (character in ")>]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip() not in ("", "void")]


def _name_of(parameter: str, index: int) -> str:
    """Return the name in ``const float* __restrict__ x = 0``; without a name, a numbered one."""
    words = re.findall(r"[A-Za-z_]\w*", parameter.split("=")[0].split("[")[0])
    types = {"int", "unsigned", "float", "double", "char", "short", "long", "bool", "__restrict__"}
    if len(words) < 2 or words[-1] in types:
        return f"argument{index}"
    return str(words[-1])


def find_kernels(code: str) -> list[Signature]:
    """Return the kernels of a preprocessed source, except templates, which have several names."""
    found: dict[str, Signature] = {}
    for match in re.finditer(r"\b__global__\b", code):
        before = re.split(r"[;{}]", code[: match.start()])[-1]
        if re.search(r"\btemplate\b", before):
            continue
        rest, bounds = code[match.end() :], ""
        limit = re.match(r"[^({;]*?\b__launch_bounds__\s*", rest)
        if limit:
            end = _matching(rest, limit.end(), "__launch_bounds__")
            bounds = rest[limit.end() + 1 : end - 1].strip()
            rest = rest[: limit.start()] + rest[end:]
        name = re.match(r"[^({;]*?\b(\w+)\s*(?=\()", rest)
        if not name:
            continue
        end = _matching(rest, name.end(), name.group(1))
        parameters = _split_parameters(rest[name.end() + 1 : end - 1])
        found[name.group(1)] = Signature(
            name.group(1),
            tuple(_name_of(parameter, index) for index, parameter in enumerate(parameters)),
            tuple("__restrict__" in parameter for parameter in parameters),
            bounds,
        )
    return list(found.values())


def find_dynamic_shared(code: str) -> list[str]:
    """Return the names declared as ``extern __shared__ T name[]``, with keywords in any order."""
    extern = r"\b(?:extern\b[^;{}]*?\b__shared__|__shared__\s+extern)\b"
    declared = re.findall(extern + r"[^;{}]*?(\w+)\s*\[\s*\]", code)
    return sorted(set(declared))


def exports(kernels: list[Signature], dynamic_bytes: int) -> str:
    """Return the C++ code that is appended to the source: descriptions of the kernels
    (runtime/export.h), and the memory of the ``extern __shared__`` arrays.
    """
    lines = [
        "",
        f'#line 1 "{OWN_CODE}"',
        '__attribute__((aligned(128), visibility("default")))',
        f'extern "C" thread_local unsigned char {DYNAMIC}[{dynamic_bytes}] = {{}};',
        f'extern "C" GPU_VISIBLE GPU_UNCHECKED void *gpu_shared_base() {{ return {DYNAMIC}; }}',
    ]
    for kernel in kernels:
        names = "".join(f'"{name}", ' for name in kernel.parameters)
        lines.append(f"GPU_EXPORT({kernel.name}, ({kernel.bounds}), {names}nullptr)")
    return "\n".join(lines) + "\n"


def array_name(symbol: str) -> str:
    """Return the name of a shared array from its symbol: ``tile`` from ``_ZZ4kernE4tile``.

    It is empty for the compiler's note that an array of a class with constructors is initialised.
    """
    if symbol.startswith("_ZGV"):
        return ""
    for match in re.finditer(r"E(\d+)", symbol):
        start, end = match.end(), match.end() + int(match.group(1))
        if end <= len(symbol) and re.fullmatch(r"(_\d+)?", symbol[end:]):
            return symbol[start:end]
    return symbol


_LABEL = re.compile(r"([A-Za-z_$][\w.$]*):")
_FUNCTION = re.compile(r"\t\.type\t([\w.$]+), @function")
_SYMBOL = re.compile(r"[A-Za-z_$][\w.$]*")


def functions(assembler: str) -> set[str]:
    """Return the symbols of the functions in assembler text."""
    return set(_FUNCTION.findall(assembler))


def shared_use(assembler: str, kernels: list[str], sizes: dict[str, int]) -> dict[str, int]:
    """Return the bytes of the shared arrays that each kernel, or a function it calls, uses.

    sizes: bytes by symbol. The assembler text shows the use; the source does not, because arrays
    may be declared in templates that several kernels instantiate.
    """
    mentions: dict[str, set[str]] = {name: set() for name in functions(assembler)}
    inside: set[str] | None = None
    for line in assembler.splitlines():
        label = _LABEL.match(line)
        if label and not label.group(1).startswith(".L"):
            inside = mentions.get(label.group(1))
        elif inside is not None and not line.startswith("\t."):
            inside.update(_SYMBOL.findall(line))
    totals = {}
    for kernel in kernels:
        seen, reach = {kernel}, [kernel]
        while reach:
            found = mentions.get(reach.pop(), set()) - seen
            seen |= found
            reach += found & mentions.keys()
        totals[kernel] = sum(size for symbol, size in sizes.items() if symbol in seen)
    return totals


_SECTION = re.compile(r"\t\.(section|text|data|bss)\b(.*)")


def widen_shared(assembler: str, dynamic: list[str]) -> str:
    """Insert red zones after the shared arrays of assembler text, and define the dynamic ones."""
    lines, shared = [], False
    for line in assembler.splitlines():
        section = _SECTION.match(line)
        if section:
            shared = section.group(2).lstrip().startswith((".tbss", ".tdata"))
        lines.append(line)
        if shared and line.startswith("\t.zero\t"):
            lines.append(f"\t.zero\t{RED_ZONE}")
    for name in dynamic:
        lines += [
            f"\t.globl\t{name}",
            f"\t.hidden\t{name}",
            f"\t.type\t{name}, @tls_object",
            f"\t.set\t{name}, {DYNAMIC}",
        ]
    return "\n".join(lines) + "\n"
