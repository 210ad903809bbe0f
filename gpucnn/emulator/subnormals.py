"""Makes compiled code treat subnormal numbers as a GPU does.

CuPy compiles with -ftz=true: float32 arithmetic takes a subnormal operand as zero and returns zero
for a subnormal result, with the number's sign, and float64 arithmetic keeps subnormal numbers
(PTX ISA, "Floating Point Instructions"). Loads, stores, moves and selections change nothing.

This machine's processor has one setting for both types, the register MXCSR. A launch sets it as
the code of the module needs it most often, ``gpu_mxcsr``, and ``edit`` inserts instructions that
change it for the others. Calls of the C library become calls of runtime/subnormals.cpp.
"""

from __future__ import annotations

import re
from functools import cache

from gpucnn.emulator.toolchain import RUNTIME

FLUSH, KEEP = 0x9FC0, 0x1F80
"""MXCSR for float32 and for float64: exceptions masked, rounding to nearest."""

_OPERATIONS = (
    r"v?(?:add|sub|mul|div|sqrt|rcp|rsqrt|min|max|u?comi|cmp\w*|round|hadd|hsub|addsub|dp"
    r"|fn?m(?:addsub|subadd|add|sub)\d+)"
)
_CONVERSIONS = r"v?cvt(?:ss2sd|ps2pd|sd2ss|pd2ps[xy]?)"
# An instruction of float32 or float64 arithmetic; conversions between them count as float32, the
# only one of the two types that they can flush. A conversion of an integer is exact or normal.
_ARITHMETIC = re.compile(
    rf"\t(?:(?P<single>{_OPERATIONS}[sp]s|{_CONVERSIONS})|{_OPERATIONS}[sp]d)\t"
)
# Where code may be entered or left: there MXCSR is as the launch has set it. Labels of the debugger
# are .LBB1 or .LVL1.
_BOUNDARY = re.compile(r"(?:\.L\d+|[^.\s][\w.$]*):|\t(?:call|j\w+|ret|rep ret|ud2|notrack)\b")


@cache
def _library_call() -> re.Pattern[str]:
    """Return the pattern of a reference to a function of the C library: name, f, and the rest."""
    text = (RUNTIME / "functions.h").read_text(encoding="utf-8")
    names = re.findall(r"\bF\((\w+)\)", text)
    return re.compile(rf"\b({'|'.join(names)})(f?)(@PLT|@GOTPCREL)")


def _redirect(assembler: str, flush: bool) -> str:
    """Return the text with calls of the runtime instead of the C library.

    flush: whether MXCSR flushes at calls; otherwise functions of float64 are as they should be.
    """

    def own(match: re.Match[str]) -> str:
        name, single, suffix = match.groups()
        if single:
            return f"gpu_flush_{name}{suffix}"
        return f"gpu_keep_{name}{suffix}" if flush else match.group()

    return _library_call().sub(own, assembler)


def edit(assembler: str, flush: bool) -> str:
    """Return assembler text of g++ with changes of MXCSR, and with ``gpu_mxcsr``.

    flush: whether float32 arithmetic flushes subnormal numbers; otherwise all are kept.
    """
    if not flush:
        return assembler + _data(KEEP)
    kinds = [bool(match["single"]) for match in _ARITHMETIC.finditer(assembler)]
    usual = 2 * sum(kinds) >= len(kinds)  # float32
    lines, now = [], usual
    for line in _redirect(assembler, usual).splitlines():
        found = _ARITHMETIC.match(line)
        needed = now
        if found:
            needed = bool(found["single"])
        elif _BOUNDARY.match(line):
            needed = usual
        if needed != now:
            lines.append(f"\tldmxcsr\tgpu_mxcsr_{'flush' if needed else 'keep'}(%rip)")
            now = needed
        lines.append(line)
    return "\n".join(lines) + "\n" + _data(FLUSH if usual else KEEP)


def _data(usual: int) -> str:
    """Return the definitions of ``gpu_mxcsr`` and of the values that inserted code loads."""
    values = {"gpu_mxcsr": usual, "gpu_mxcsr_flush": FLUSH, "gpu_mxcsr_keep": KEEP}
    lines = ["\t.section\t.rodata", "\t.align\t4"]
    for name, value in values.items():
        lines += [f"\t.hidden\t{name}", f"\t.globl\t{name}", f"{name}:", f"\t.long\t{value:#x}"]
    return "\n".join(lines) + "\n"
