"""Random kernels of nested ifs, loops, break, continue and return, and a model of how a warp runs
them: all lanes together under a mask, which shrinks where they diverge.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

LANES, WORDS = 32, 4096
Block = list[tuple[Any, ...]]
Lanes = set[int]


class Kernel:
    """A kernel ``f{seed}``: statements as tuples, for the text and for the model."""

    def __init__(self, seed: int) -> None:
        self.name = f"f{seed}"
        self._random = random.Random(seed)
        self._body = self._block(3, [], False)
        self._lines: list[str] = []
        self._line_of: dict[int, int] = {}  # of a load, by its number

    # ------------------------------------------------------------------------ statements
    def _expression(self, names: list[str], most: int) -> str:
        a, b, c = (self._random.randrange(1, 12) for _ in range(3))
        other = self._random.choice(names) if names else "1"
        return f"(t * {a} + {other} * {b} + {c}) % {most}"

    def _condition(self, names: list[str]) -> str:
        most = self._random.randrange(2, 9)
        one = f"{self._expression(names, most)} < {self._random.randrange(1, most)}"
        kind = self._random.random()
        if kind < 0.15:
            return f"({one}) && ({self._expression(names, 5)} != 2)"
        if kind < 0.3:
            return f"({one}) || ({self._expression(names, 5)} == 2)"
        return one

    def _block(self, depth: int, names: list[str], in_loop: bool) -> Block:
        count = self._random.randrange(1, 5)
        return [self._statement(depth, names, in_loop) for _ in range(count)]

    def _statement(self, depth: int, names: list[str], in_loop: bool) -> tuple[Any, ...]:
        kind = self._random.random()
        if depth == 0 or kind < 0.35:
            return ("load", self._expression(names, WORDS), self._random.randrange(10**9))
        if kind < 0.65:
            condition = self._condition(names)
            other = self._block(depth - 1, names, in_loop) if self._random.random() < 0.6 else []
            return ("if", condition, self._block(depth - 1, names, in_loop), other)
        if kind < 0.85:
            name = f"i{len(names)}"
            count = self._expression(names, self._random.randrange(2, 6))
            style = self._random.choice(["for", "while", "do"])
            return ("loop", style, name, count, self._block(depth - 1, [*names, name], True))
        if in_loop and kind < 0.97:
            return (self._random.choice(["break", "continue"]), self._condition(names))
        return ("return", f"{self._expression(names, 19)} == 3")

    # ------------------------------------------------------------------------------ as C
    def text(self) -> str:
        """The kernel with each load on a line of its own, from line 1 of a file of its name."""
        self._lines = [
            f'#line 1 "{self.name}.cu"',
            f'extern "C" __global__ void {self.name}(const int* p, int* y) {{',
            "const volatile int* x = p; int t = threadIdx.x, s = 0;",
        ]
        self._write(self._body)
        return "\n".join([*self._lines, "out: y[t] = s;", "}"])

    def _write(self, block: Block) -> None:
        for statement in block:
            kind, *rest = statement
            if kind == "load":
                self._lines.append(f"s += x[{rest[0]}];")
                self._line_of[rest[1]] = len(self._lines) - 1
            elif kind == "if":
                self._lines.append(f"if ({rest[0]}) {{")
                self._write(rest[1])
                self._lines.append("} else {")
                self._write(rest[2])
                self._lines.append("}")
            elif kind == "loop":
                self._write_loop(*rest)
            elif kind == "return":
                self._lines.append(f"if ({rest[0]}) goto out;")
            else:
                self._lines.append(f"if ({rest[0]}) {kind};")

    def _write_loop(self, style: str, name: str, count: str, body: Block) -> None:
        begin, end = {
            "for": (f"for (int {name} = 0; {name} < {count}; ++{name}) {{", "}"),
            "while": (f"for (int {name} = -1; ;) {{ if (++{name} >= {count}) break;", "}"),
            "do": (f"{{ int {name} = 0; do {{", f"}} while (++{name} < {count}); }}"),
        }[style]
        self._lines.append(begin)
        self._write(body)
        self._lines.append(end)

    # -------------------------------------------------------------------------- as a model
    def run(self) -> dict[int, tuple[int, int, int]]:
        """Return what each line loads: requests, lanes, sectors. ``text`` must come first."""
        self._requests: Counter[int] = Counter()
        self._active: Counter[int] = Counter()
        self._sectors: Counter[int] = Counter()
        self._variables = {t: {"t": t} for t in range(LANES)}
        self._execute(self._body, set(range(LANES)), [])
        return {
            line: (count, self._active[line], self._sectors[line])
            for line, count in self._requests.items()
        }

    def _value(self, expression: str, lane: int) -> int:
        python = expression.replace("&&", " and ").replace("||", " or ")
        return int(eval(python, {}, self._variables[lane]))

    def _execute(self, block: Block, mask: Lanes, loops: list[dict[str, Lanes]]) -> Lanes:
        """Run a block; return the lanes that reach its end."""
        for kind, *rest in block:
            if not mask:
                return mask
            if kind == "load":
                line = self._line_of[rest[1]]
                self._requests[line] += 1
                self._active[line] += len(mask)
                self._sectors[line] += len({self._value(rest[0], t) // 8 for t in mask})
            elif kind == "if":
                taken = {t for t in mask if self._value(rest[0], t)}
                ways = (rest[1], taken), (rest[2], mask - taken)
                mask = set().union(*(self._execute(body, lanes, loops) for body, lanes in ways))
            elif kind == "loop":
                mask = self._loop(rest, mask, loops)
            else:
                leave = {t for t in mask if self._value(rest[0], t)}
                if kind != "return":
                    loops[-1][kind] |= leave
                mask = mask - leave
        return mask

    def _loop(self, loop: list[Any], mask: Lanes, loops: list[dict[str, Lanes]]) -> Lanes:
        style, name, count, body = loop
        ended: Lanes = set()
        for t in mask:
            self._variables[t][name] = 0
        inside, first = set(mask), True
        while inside:
            if not (style == "do" and first):
                stay = {t for t in inside if self._variables[t][name] < self._value(count, t)}
                ended |= inside - stay
                inside = stay
            first = False
            leaving: dict[str, Lanes] = {"break": set(), "continue": set()}
            inside = self._execute(body, inside, [*loops, leaving]) | leaving["continue"]
            ended |= leaving["break"]
            for t in inside:
                self._variables[t][name] += 1
        return ended
