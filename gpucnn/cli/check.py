"""``gpucnn check``: every operation of a backend compared with its reference in float64."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.text import Text

from gpucnn.backends import Backend, choose_backend, get_backend
from gpucnn.cli.console import PlainConsole, is_fancy, make_console, print_table
from gpucnn.cli.display import plain_json
from gpucnn.errors import BackendError, SettingError
from gpucnn.testing.checking import ORDERS, check, get_backends, is_custom, select
from gpucnn.testing.compiling import compiling
from gpucnn.testing.running import Outcome

UNITS = (
    "error: the largest |got - expected|, in units of the tolerance. tolerance: relative to the "
    "largest magnitude in a result, and the most of any case: 8 roundings times the square root of "
    "the number of added terms (tf32: twice the rounding of both operands)."
)


@dataclass
class Row:
    """The outcomes of an operation in one precision."""

    operation: str
    precision: str
    is_plumbing: bool
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The operation, and the precision if it is not the usual one."""
        return self.operation + (", tf32" if self.precision == "tf32" else "")

    def of(self, direction: str) -> list[Outcome]:
        """Return the outcomes of one direction."""
        return [outcome for outcome in self.outcomes if outcome.direction == direction]

    @property
    def failures(self) -> list[Outcome]:
        """The outcomes that are wrong."""
        return [outcome for outcome in self.outcomes if outcome.failure]

    @property
    def cases(self) -> int:
        """The number of cases."""
        return len({outcome.case.name for outcome in self.outcomes})

    @property
    def tolerance(self) -> float:
        """The largest relative tolerance of a case."""
        return max(outcome.comparison.tolerance for outcome in self.outcomes)

    def cells(self) -> tuple[str | Text, ...]:
        """Return the cells of the table."""
        errors = [_error_cell(self.of(direction)) for direction in ("forward", "backward")]
        exact = f"{self.tolerance:.1e}" if self.tolerance else "exact"
        return (self.title, str(self.cases), *errors, exact)

    def describe(self) -> dict[str, Any]:
        """Return the row for ``--json``."""
        errors = {
            f"{direction}_error": _largest(self.of(direction))
            for direction in ("forward", "backward")
        }
        return {
            "operation": self.operation,
            "precision": self.precision,
            "plumbing": self.is_plumbing,
            "ok": not self.failures,
            "cases": self.cases,
            "runs": len(self.outcomes),
            **errors,
            "tolerance": self.tolerance,
            "seconds": sum(outcome.seconds for outcome in self.outcomes),
            "failures": [_describe(outcome) for outcome in self.failures],
        }


def _error_cell(outcomes: list[Outcome]) -> str | Text:
    if not outcomes:
        return ""
    if any(outcome.failure for outcome in outcomes):
        return Text("WRONG", "bold red")
    return f"{_largest(outcomes):.3f}"


def _largest(outcomes: list[Outcome]) -> float | None:
    """Return the largest error of some outcomes, in units of the tolerance."""
    return max((outcome.comparison.error for outcome in outcomes), default=None)


def _describe(outcome: Outcome) -> dict[str, Any]:
    """Return a failure for ``--json``."""
    found = outcome.difference
    return {
        "case": outcome.case.name,
        "direction": outcome.direction,
        **asdict(outcome.variation),
        "kernels": list(outcome.kernels),
        "message": outcome.failure,
        "difference": None if found is None else asdict(found),
        "python": outcome.line,
    }


def check_command(arguments: argparse.Namespace) -> int:
    """Print the largest error of each operation; return 1 if a result is wrong."""
    select(arguments.names)  # reports an unknown name before anything is compiled
    backends = get_backends(_backend(arguments), arguments.dtype, arguments.precision)
    if arguments.fast and backends[0].name != "emulated":
        raise SettingError(f"--fast is for --backend emulated, not for {backends[0].name}")
    console, began = make_console(), time.perf_counter()
    ahead: AbstractContextManager[None] = nullcontext()
    if backends[0].name == "emulated" and not arguments.names and not arguments.fast:
        ahead = compiling(backends[0].dtype.name)
    with ahead:
        rows = _collect(backends, arguments, console)
    failed = [row for row in rows if row.failures]
    if arguments.json:
        found = {
            "backend": backends[0].name,
            "dtype": backends[0].dtype.name,
            "mode": _mode(backends[0], arguments.fast),
            "seconds": time.perf_counter() - began,
            "operations": [row.describe() for row in rows],
        }
        print(json.dumps(plain_json(found)))
        return 1 if failed else 0
    _print_rows(console, rows)
    for row in failed:
        _print_failure(console, row)
    _print_verdict(console, backends[0], arguments.fast, rows, time.perf_counter() - began)
    if arguments.backend == "auto" and backends[0].name == "numpy":
        console.print("no kernel was run: add --backend emulated, or cuda")
    return 1 if failed else 0


def _backend(arguments: argparse.Namespace) -> str:
    """Return the backend's name: a user's kernels are run in the emulator if there is no GPU."""
    name: str = arguments.backend
    if name == "auto" and any(map(is_custom, arguments.names)):
        if choose_backend(arguments.dtype)[0].name == "cuda":
            return "cuda"
        with suppress(BackendError):
            return get_backend("emulated").name
    return name


def _collect(
    backends: list[Backend], arguments: argparse.Namespace, console: PlainConsole
) -> list[Row]:
    """Run all cases; on a terminal, show which operation is being checked."""
    rows: dict[tuple[str, str], Row] = {}

    def outcomes() -> Iterator[Outcome]:
        for backend in backends:
            yield from check(backend, arguments.names, checked=not arguments.fast)

    def add(outcome: Outcome) -> Row:
        case, precision = outcome.case, outcome.precision
        row = Row(case.op, precision, case.tested.is_plumbing)
        row = rows.setdefault((case.op, precision), row)
        row.outcomes.append(outcome)
        return row

    if arguments.json or not is_fancy(console):
        for outcome in outcomes():
            add(outcome)
    else:
        with console.status("checking") as status:
            for outcome in outcomes():
                status.update(f"checking {add(outcome).title}")
    return list(rows.values())


def _print_rows(console: PlainConsole, rows: list[Row]) -> None:
    """Print the table of the layers and losses, and that of the rest of a training step."""
    headings = ("cases", "forward error", "backward error", "tolerance")
    for title, plumbing in (("layers and losses", False), ("training step", True)):
        cells = [row.cells() for row in rows if row.is_plumbing == plumbing]
        if cells:
            print_table(console, cells, (title, *headings))
    console.print(UNITS)


def _print_failure(console: PlainConsole, row: Row) -> None:
    """Print the first failure of an operation."""
    first, failed = row.failures[0], len(row.failures)
    console.print(
        Text(f"{first.operation}: ", "bold red")
        + Text(f"{failed} of {len(row.outcomes)} runs failed, the first in the case ")
        + Text(f"{first.case.name!r}" + (f", {first.variation}" if str(first.variation) else ""))
    )
    if first.kernels:
        name = "kernel" if len(first.kernels) == 1 else "kernels"
        console.print_indented(f"{name}: {', '.join(first.kernels)}", 2)
    console.print_indented(first.failure, 2)
    console.print(f"  {first.line}", soft_wrap=True)


def _print_verdict(
    console: PlainConsole, backend: Backend, fast: bool, rows: list[Row], seconds: float
) -> None:
    """Print what was checked, and which operations are wrong."""
    runs = sum(len(row.outcomes) for row in rows)
    what = f"{backend.name} backend, {backend.dtype}{_mode(backend, fast)}: {runs:,} runs"
    wrong = [row.title for row in rows if row.failures]
    count = "1 operation" if len(rows) == 1 else f"all {len(rows)} operations"
    verdict = f"wrong: {', '.join(wrong)}" if wrong else f"{count} ok"
    if any(outcome.lost for row in rows for outcome in row.outcomes):
        verdict += "; the device was lost, so the others were not checked"
    console.print(f"{what} in {seconds:.1f} s; {verdict}")


def _mode(backend: Backend, fast: bool) -> str:
    if backend.name != "emulated":
        return ""
    orders = f"{', '.join(ORDERS[:-1])} and {ORDERS[-1]}"
    return ", fast mode" if fast else f", check mode, {orders} order of threads"
