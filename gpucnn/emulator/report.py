"""Turns the faults that the runtime records into exceptions with file and line."""

from __future__ import annotations

import re
import shutil
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpucnn.emulator import abi
from gpucnn.emulator.errors import EmulatorError, EmulatorWarning, Kind
from gpucnn.emulator.toolchain import OWN_CODE

_KINDS = tuple(Kind[name] for name in abi.enumerators("Kind"))


SourceLine = tuple[str | None, int | None]


def find_line(library: Path, pc: int) -> SourceLine:
    """Return file and line of the call that returns to ``pc``: see ``find_lines``."""
    return find_lines(library, [pc])[pc]


def find_lines(library: Path, pcs: Sequence[int]) -> dict[int, SourceLine]:
    """Return file and line of the calls that return to each of ``pcs`` (bytes into the library).

    Of functions inlined into each other it is the innermost one outside the emulator's own files.
    Both are None without addr2line, which comes with the compiler.
    """
    lines: dict[int, SourceLine] = dict.fromkeys(pcs, (None, None))
    tool = shutil.which("addr2line")
    if tool is None:
        return lines
    try:
        done = subprocess.run(
            [tool, "-a", "-i", "-e", str(library)],
            input="".join(f"{pc - 1:#x}\n" for pc in pcs),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError:  # no memory, or no more processes
        return lines
    pc = 0
    for found in done.stdout.splitlines():
        if found.startswith("0x"):  # the lines of the next address follow
            pc = int(found, 16) + 1
            continue
        file, _, line = found.partition(" ")[0].rpartition(":")
        known = line.isdigit() and line != "0" and not file.startswith("?")
        if known and lines[pc] == (None, None) and OWN_CODE not in Path(file).parts:
            lines[pc] = re.sub(r"^(\./)+", "", file), int(line)
    return lines


def _location(library: Path, where: Any) -> SourceLine:
    found = find_line(library, where.pc) if where.pc else (None, None)
    if where.line and not found[0]:
        return where.file.decode(errors="replace"), where.line
    return found


def _index(index: Any) -> tuple[int, int, int]:
    return index.x, index.y, index.z


def _sentence(where: Any, file: str | None, line: int | None) -> str:
    block, thread = _index(where.block), _index(where.thread)
    at = f" at {file}:{line}" if file else ""
    return f"thread {thread} of block {block}{at}"


def _error(kernel: str, library: Path, fault: Any) -> EmulatorError:
    kind = _KINDS[fault.kind]
    file, line = _location(library, fault.here)
    text = fault.text.decode(errors="replace")
    message = f"{kernel}: {kind}: {text}, by {_sentence(fault.here, file, line)}"
    if fault.has_other:
        message += ", and " + _sentence(fault.other, *_location(library, fault.other))
    return EmulatorError(
        message,
        kind=kind,
        kernel=kernel,
        block=_index(fault.here.block),
        thread=_index(fault.here.thread),
        file=file,
        line=line,
    )


def finish(kernel: str, library: Path, found: list[Any]) -> None:
    """Raise the exception for the faults of a launch; warn of what need not be a fault."""
    faults = [fault for fault in found if _KINDS[fault.kind] is not Kind.SAME_VALUE]
    if faults:
        raise error(kernel, library, faults)
    for fault in found:
        warnings.warn(str(_error(kernel, library, fault)), EmulatorWarning, stacklevel=2)


def error(kernel: str, library: Path, faults: list[Any]) -> EmulatorError | MemoryError:
    """Return the exception for the first fault of a launch, with the others in ``more``."""
    if _KINDS[faults[0].kind] is Kind.MEMORY:
        return MemoryError(f"{kernel}: {faults[0].text.decode()}")
    first, *more = (_error(kernel, library, fault) for fault in faults)
    first.more = tuple(more)
    if more:
        first.args = (f"{first} (and {len(more)} more)",)
    return first
