"""The options of NVRTC that CuPy's users pass, and what they mean for g++."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gpucnn.errors import SettingError

CUPYS_OPTIONS = ("-ftz=true", "--device-as-default-execution-space")
"""What CuPy passes to NVRTC after the options of a RawModule. Of options that contradict each
other NVRTC takes the last."""

# Options without effect here: a GPU's speed, architecture and rounding, and functions without
# ``__device__``, which the emulator compiles in any case. ``-O3`` is for CuPy's backend nvcc.
_HARMLESS = re.compile(
    r"--?(prec-div|prec-sqrt|gpu-architecture|arch|maxrregcount|restrict"
    r"|extra-device-vectorization|generate-line-info|lineinfo|device-debug|G|disable-warnings|w"
    r"|default-device|device-as-default-execution-space|ptxas-options|Xptxas|split-compile"
    r"|extra-opts|minimal|no-source-include|diag-suppress|diag-warn|display-error-number"
    r"|extended-lambda|expt-relaxed-constexpr|dopt|Ofast-compile|O\d)([=\s].*)?"
)
_SEPARATE = re.compile(
    r"-[DUI]|--(define-macro|undefine-macro|include-path|ptxas-options)|-Xptxas|-arch"
)
"""Options whose value may be an element of its own."""

_DEFINE = re.compile(r"(?:-D|--define-macro[=\s])\s*(\w+(?:\([^)]*\))?)(?:=(.*))?", re.DOTALL)
_UNDEFINE = re.compile(r"(?:-U|--undefine-macro[=\s])\s*(\w+)")
_INCLUDE = re.compile(r"(?:-I|--include-path[=\s])\s*(.+)")
_STANDARD = re.compile(r"--?std=c\+\+(03|11|14|17|20)")


@dataclass(frozen=True)
class Options:
    """Options of NVRTC.

    text: the macros as lines of C.
    contract: whether a * b + c may become one fma.
    flush: whether float32 arithmetic takes subnormal numbers as zero.
    folders: where headers are found, as absolute paths.
    standard: that of C++ for g++. The emulator's own headers are C++17, so that sources of earlier
    standards are compiled as C++17.
    """

    text: str = ""
    contract: bool = True
    flush: bool = False
    folders: tuple[str, ...] = field(default=())
    standard: str = "c++17"


def _joined(options: Iterable[str]) -> Iterator[str]:
    """Join options with their values."""
    waiting = ""
    for option in options:
        if waiting or not _SEPARATE.fullmatch(option):
            yield f"{waiting} {option}" if waiting else option
            waiting = ""
        else:
            waiting = option
    if waiting:
        raise SettingError(f"the compiler option {waiting!r} lacks its value")


def parse(options: Iterable[str]) -> Options:
    """Parse NVRTC's options; SettingError for one that the emulator does not support."""
    lines: list[str] = []
    folders: list[str] = []
    contract, flush, standard = True, False, "17"
    for option in _joined(options):
        if define := _DEFINE.fullmatch(option):
            value = "1" if define[2] is None else define[2]
            lines.append(f"#define {define[1]} {value}\n")
            if define[1] == "NDEBUG":
                lines.append("#undef assert\n#define assert(condition) ((void)0)\n")
        elif undefine := _UNDEFINE.fullmatch(option):
            lines.append(f"#undef {undefine[1]}\n")
        elif include := _INCLUDE.fullmatch(option):
            folders.append(os.path.abspath(include[1]))
        elif found := _STANDARD.fullmatch(option):
            standard = "20" if found[1] == "20" else "17"
        elif re.fullmatch(r"--?(fmad|fmad=true|fmad=false)", option):
            contract = not option.endswith("=false")
        elif re.fullmatch(r"--?(ftz=true|ftz=false|use_fast_math)", option):
            flush = not option.endswith("=false")
        elif not _HARMLESS.fullmatch(option):
            raise SettingError(
                f"the emulator does not support the compiler option {option!r}; use -Dname=value,"
                " -Ifolder, --std=c++17 or --fmad=false"
            )
    return Options("".join(lines), contract, flush, tuple(folders), f"c++{standard}")
