"""Reads g++'s assembler text for profile mode: basic blocks, their order and their arithmetic.

In profile mode kernels call the runtime at the start of each basic block and before each access
(runtime/trace.cpp). The calls are numbered in the order of order.py, their *rank*, and a table of
their return addresses is added to the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from gpucnn.emulator.order import Edges, weak_order

PLACES = "gpu_places"
_FUNCTION = re.compile(r"\t\.type\t([\w.$]+), @function")
_LABEL = re.compile(r"(\.L[\w.$]+):")
_INSTRUCTION = re.compile(r"\t(?:notrack |rep |repz |lock )?([a-z]\w*)\s*(\S*)")
_ENDS = {"ret", "ud2", "hlt"}
# Scalar floating-point arithmetic; at -O1 g++ makes no vector instructions of it.
_ARITHMETIC = re.compile(
    r"v?(?:(?:add|sub|mul|div|sqrt)|(?P<fma>fn?m(?:add|sub)\d*))s(?P<type>[sd])"
)
# Check mode's functions are not called: these take their place.
_RENAMED = (("__tsan_", "gpu_trace_"), ("gpu_check_atomic", "gpu_trace_atomic"))

Work = tuple[int, int, int]
"""Of a block: instructions without calls, and operations on float32 and on float64 numbers."""


@dataclass
class Ranked:
    """Assembler text with the table of places, and the work of each place, by rank.

    The work of a block belongs to the call at its start; other calls have none.
    """

    text: str
    work: list[Work]


@dataclass
class _Function:
    """A function's basic blocks, each the numbers of its lines, and their successors."""

    blocks: list[list[int]] = field(default_factory=lambda: [[]])
    edges: Edges = field(default_factory=dict)

    def begin(self, falls: bool) -> None:
        if falls:
            self.edges.setdefault(len(self.blocks) - 1, []).append(len(self.blocks))
        self.blocks.append([])


def rank_calls(assembler: str) -> Ranked:
    """Return assembler text in which profile mode's calls are ranked."""
    for name, other in _RENAMED:
        assembler = assembler.replace(name, other)
    lines = assembler.splitlines()
    labels: dict[int, str] = {}  # after a line
    work: list[list[int]] = []
    for first, last in _functions(lines):
        function = _read(lines, first, last)
        ends: dict[int, int] = {}  # the place whose work a block's last instruction belongs to
        origins = {to: block for block, next_ in function.edges.items() for to in next_}
        for block in weak_order(list(range(len(function.blocks))), function.edges):
            place = ends.get(origins.get(block, -1), -1)
            for number in function.blocks[block]:
                if lines[number].startswith("\tcall"):
                    labels[number] = f".Lgpu_place{len(work)}"
                    if "__sanitizer_cov_trace_pc" in lines[number]:
                        place = len(work)
                    work.append([0, 0, 0])
                elif place >= 0:
                    for i, amount in enumerate(_work_of(lines[number])):
                        work[place][i] += amount
            ends[block] = place
    return Ranked(_with_table(lines, labels), [(a, b, c) for a, b, c in work])


def _work_of(line: str) -> Work:
    found = _INSTRUCTION.match(line)
    arithmetic = found and _ARITHMETIC.fullmatch(found.group(1))
    if not arithmetic:
        return 1, 0, 0
    operations = 2 if arithmetic.group("fma") else 1
    return (1, operations, 0) if arithmetic.group("type") == "s" else (1, 0, operations)


def _with_table(lines: list[str], labels: dict[int, str]) -> str:
    text = []
    for number, line in enumerate(lines):
        text.append(line)
        if number in labels:
            text.append(f"{labels[number]}:")
    text += [
        '\t.section .data.rel.ro.local,"aw"',
        "\t.align 8",
        f"\t.globl {PLACES}",
        f"{PLACES}:",
        *(f"\t.quad .Lgpu_place{rank}" for rank in range(len(labels))),
    ]
    return "\n".join(text) + "\n"


def _functions(lines: list[str]) -> Iterator[tuple[int, int]]:
    """Yield the functions: the first line after a function's label, and its line ``.size``."""
    named, first, name = set(), None, ""
    for number, line in enumerate(lines):
        typed = _FUNCTION.match(line)
        if typed:
            named.add(typed.group(1))
        elif line.endswith(":") and line[:-1] in named:
            first, name = number + 1, line[:-1]
        elif first is not None and line.startswith(f"\t.size\t{name},"):
            yield first, number
            first = None


def _read(lines: list[str], first: int, last: int) -> _Function:
    """Return the basic blocks of the function in these lines."""
    function = _Function()
    labels: dict[str, int] = {}
    jumps: list[tuple[int, str]] = []
    ended = False  # the last instruction does not continue with the next one
    for number in range(first, last):
        label = _LABEL.match(lines[number])
        found = None if label else _INSTRUCTION.match(lines[number])
        if ended and (label or found):
            function.begin(False)
            ended = False
        elif label and function.blocks[-1]:
            function.begin(True)
        if label:
            labels[label.group(1)] = len(function.blocks) - 1
        if not found:
            continue
        name, target = found.groups()
        function.blocks[-1].append(number)
        if name.startswith("j"):
            jumps.append((len(function.blocks) - 1, target))
            ended = name == "jmp"
            if not ended:
                function.begin(True)
        elif name in _ENDS:
            ended = True
    for block, target in jumps:
        if target in labels:
            function.edges.setdefault(block, []).append(labels[target])
    return function
