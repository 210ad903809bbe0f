"""Reports as tables and as plain data."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from bench.harness import Report, Row

MISSING = "PyTorch is not installed, so it is not compared: pip install 'gpucnn[bench]'"
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def cost(value: float, unit: str) -> str:
    """Return a cost with three digits, seconds in a suitable unit."""
    if math.isinf(value):
        return "never"
    if unit != "s":
        return f"{value:.0f} {unit}"
    scale, name = next(((s, n) for s, n in _UNITS if value >= s), _UNITS[-1])
    value /= scale
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{min(digits, 2)}f} {name}"


def line(row: Row) -> str:
    """Return a row as a line of text: each peer's median cost, or the reason why it has none."""
    costs = [f"{name} {cost(row.median(name), row.unit)}" for name in row.costs]
    return f"{row.case}: " + ", ".join(
        [*costs, *(f"{name} refused: {reason}" for name, reason in row.refused.items())]
    )


def ratio(row: Row, ours: str) -> str:
    """Return PyTorch's best over ``ours``: the median of the rounds, and the range."""
    best = row.best("PyTorch")
    if best is None or ours not in row.costs:
        return ""
    middle, least, greatest = row.ratio(best, ours)
    return f"{middle:.2f}\n({least:.2f}-{greatest:.2f})"


def table(report: Report) -> Table:
    """Return the table of medians, with PyTorch's ratio next to each of gpucnn's."""
    names = list(dict.fromkeys(n for row in report.rows for n in (*row.costs, *row.refused)))
    torch = any(name.startswith("PyTorch") for name in names)
    columns = Table(title=report.title)
    columns.add_column("case", overflow="fold")
    for name in names:
        columns.add_column(name, justify="right", min_width=max(map(len, name.split())))
        if torch and name.startswith("gpucnn"):
            columns.add_column("PyTorch\n/ it", justify="right", style="bold", no_wrap=True)
    for row in report.rows:
        cells = [row.case]
        for name in names:
            reason = escape(row.refused.get(name, ""))
            cells.append(cost(row.median(name), row.unit) if name in row.costs else reason)
            if torch and name.startswith("gpucnn"):
                cells.append(ratio(row, name))
        columns.add_row(*cells)
    return columns


def as_data(report: Report) -> dict[str, Any]:
    """Return a report as plain data: all costs, their medians and ratios."""
    data = asdict(report)
    for row, plain in zip(report.rows, data["rows"], strict=True):
        plain["medians"] = {name: row.median(name) for name in row.costs}
        best = row.best("PyTorch")
        if best is not None:
            plain["pytorch"] = best
            plain["pytorch_over"] = {
                name: dict(zip(("median", "min", "max"), row.ratio(best, name), strict=True))
                for name in row.costs
                if name.startswith("gpucnn")
            }
    return data
