"""The plot of ``python -m bench scale``: what was measured above, what is predicted below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.harness import Row
from bench.scaling.measurements import SIZES
from bench.scaling.model import Line
from bench.scaling.predictions import NETWORKS
from gpucnn import plots


def draw(
    sums: Mapping[int, Row],
    links: Mapping[str, Line],
    errors: Sequence[Mapping[str, Any]],
    predicted: Mapping[str, Any],
) -> plots.Plot:
    """Return the figure: sums, steps of two ranks, and the speedup of GPUs for each network."""
    from gpucnn.plots.style import style

    measured = bool(links)
    with style():
        figure = plots.Plot(figsize=(7.2, 6.6 if measured else 3.6), layout="constrained")
        rows = figure.subplots(1 + measured, 2, squeeze=False)
        if measured:
            draw_sums(rows[0][0], sums, links)
            draw_steps(rows[0][1], errors)
        for axes, (name, network) in zip(rows[-1], predicted.items(), strict=True):
            draw_speedups(axes, NETWORKS[name], network)
        return figure.lay_out()


def draw_sums(axes: Any, rows: Mapping[int, Row], links: Mapping[str, Line]) -> None:
    """Draw the seconds of sums over their bytes, with the fitted lines."""
    from gpucnn.plots.style import SERIES, number_ticks

    for colour, (name, link) in zip(SERIES, links.items(), strict=False):
        sizes = [size for size, row in rows.items() if name in row.costs]
        seconds = [1e6 * min(rows[size].costs[name]) for size in sizes]
        axes.plot(sizes, seconds, "o", color=colour)
        axes.plot(sizes, [1e6 * link.at(size) for size in sizes], color=colour, label=name)
    axes.set(xscale="log", yscale="log", xlabel="size", ylabel="µs")
    axes.set_xticks(list(SIZES)[::2], ["1 KiB", "16 KiB", "256 KiB", "4 MiB"], minor=False)
    axes.minorticks_off()
    number_ticks(axes.yaxis)
    axes.set_title("Measured: a sum of two ranks")
    axes.legend()


def draw_steps(axes: Any, errors: Sequence[Mapping[str, Any]]) -> None:
    """Draw the model's step of two ranks over the measured one; on the diagonal they agree."""
    from gpucnn.plots.style import INK, MUTED, SERIES, number_ticks

    marks = dict(zip(NETWORKS, "os", strict=False))
    engines = dict.fromkeys(error["engine"] for error in errors)
    colours = dict(zip(engines, SERIES, strict=False))
    for error in errors:
        x, y = 1e3 * error["measured"], 1e3 * error["model"]
        colour = colours[error["engine"]]
        axes.plot([x], [y], marks[error["network"]], color=colour, fillstyle="none", markersize=7)
    for name in dict.fromkeys(error["network"] for error in errors):
        axes.plot([], [], marks[name], color=INK, fillstyle="none", label=NETWORKS[name])
    if errors:
        ends = [1e3 * f(e[k] for e in errors for k in ("measured", "model")) for f in (min, max)]
        axes.plot(ends, ends, color=MUTED, linewidth=0.8, zorder=1)
    axes.set(xscale="log", yscale="log", xlabel="measured, ms", ylabel="model, ms")
    number_ticks(axes.xaxis)
    number_ticks(axes.yaxis)
    axes.set_title("Measured: a step of two ranks")
    axes.legend()


def draw_speedups(axes: Any, title: str, network: Mapping[str, Any]) -> None:
    """Draw the speedup over one GPU by the batch of all GPUs."""
    from gpucnn.plots.style import MUTED, SERIES

    batches = network["batches"]
    for colour, (count, row) in zip(SERIES, network["gpus"].items(), strict=False):
        if count != "1":
            axes.plot(batches, row["speedup"], "o-", color=colour, label=f"{count} GPUs")
            axes.axhline(int(count), color=colour, linewidth=0.8, linestyle="--")
    axes.axhline(1, color=MUTED, linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(batches, [f"{batch:,}" for batch in batches], rotation=45)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel="images in the batch of all GPUs", ylabel="speedup over one GPU")
    axes.set_title(f"Predicted, not run: {title}")
    axes.legend(loc="lower right")
