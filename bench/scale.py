"""A step of one and of two ranks, a model of it, and what it predicts for 8 GPUs and 8 nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gpucnn
from bench.harness import BenchError, Options, Report, Row
from bench.scaling import measurements
from bench.scaling.assumptions import settle
from bench.scaling.measurements import ALONE, AT_ONCE, BATCHES
from bench.scaling.model import Line, Training, fit_line
from bench.scaling.predictions import NETWORKS, layers_of, lines, predict
from bench.show import cost
from gpucnn.config import import_extra
from gpucnn.errors import SettingError
from gpucnn.files import write_atomically

Steps = Mapping[str, Mapping[int, Row]]


def run(options: Options) -> Report:
    """Return rows for sums and steps; below them, the model, its errors and its predictions."""
    values = settle(options.assume)
    if options.out:
        prepare(Path(options.out))
    report = Report("sums and training steps of one and of two ranks", compares_pytorch=False)
    sums: dict[int, Row] = {}
    steps: dict[str, dict[int, Row]] = {}
    networks = [name for name in NETWORKS if options.selects(name)]
    if networks or options.selects("sums"):
        with measurements.engines(report) as found:
            sums = measurements.sums(report, options, found)
            for name in networks:
                if options.out_of_time():
                    report.notes.append(f"{name}: left out, no time left")
                else:
                    steps[name] = measurements.network_steps(report, options, found, name)
    links = fit_sums(sums)
    errors = list(compare_with_model(steps, links))
    report.about["sums"] = {name: vars(line) for name, line in links.items()}
    report.about["errors"] = errors
    report.notes += [*describe(links), *scaling(steps), *(describe_error(e) for e in errors), ""]
    predicted = predict(values)
    report.about["assumptions"] = {name: vars(value) for name, value in values.items()}
    report.about["predictions"] = predicted
    report.notes += lines(values, predicted)
    if options.out:
        report.notes += ["", save_plot(Path(options.out), sums, links, errors, predicted)]
    return report


def fit_sums(rows: Mapping[int, Row]) -> dict[str, Line]:
    """Return latency, and seconds for a byte, of each engine's sums."""
    names = dict.fromkeys(name for row in rows.values() for name in row.costs)
    found = {}
    for name in names:
        sizes = [size for size, row in rows.items() if name in row.costs]
        if len(sizes) > 1:
            found[name] = fit_line(sizes, [min(rows[size].costs[name]) for size in sizes])
    return found


def compare_with_model(steps: Steps, links: Mapping[str, Line]) -> Iterator[dict[str, Any]]:
    """Yield the model's and the measured seconds of each step of two ranks.

    The model has the line through the steps of one process, the median of what two at once lose,
    and the fitted sums: nothing in it was fitted to steps of two ranks.
    """
    for network, rows in steps.items():
        single = {batch: min(row.costs[ALONE]) for batch, row in rows.items() if ALONE in row.costs}
        both = [row.ratio(AT_ONCE, ALONE)[0] for row in rows.values() if AT_ONCE in row.costs]
        if len(single) < 2 or not both:
            continue
        slowdown = max(1.0, sorted(both)[len(both) // 2])
        layers = layers_of(getattr(gpucnn.models, network)())
        for name, link in links.items():
            model = Training(
                fit_line(list(single), list(single.values())),
                layers,
                backward=2 / 3,
                sums=lambda size, ranks, link=link: link.at(size),
                slowdown=slowdown,
            )
            for batch in BATCHES:
                if batch in rows and name in rows[batch].costs:
                    yield {
                        "network": network,
                        "engine": name,
                        "batch": batch,
                        "measured": min(rows[batch].costs[name]),
                        "model": model.step_seconds(batch, 2),
                        "slowdown": slowdown,
                    }


def describe(links: Mapping[str, Line]) -> Iterator[str]:
    """Yield the latency and the bandwidth of each engine."""
    for name, line in links.items():
        rate = f"{1e-9 / line.slope:.2f} GB/s" if line.slope else "no limit of bandwidth found"
        yield f"sums, {name}: {cost(line.base, 's')} and {rate} (least squares, fastest sums)"


def describe_error(error: Mapping[str, Any]) -> str:
    """Return a step of two ranks, what the model says, and its error."""
    return (
        f"{error['network']}, batch {error['batch']}, {error['engine']}: fastest "
        f"{cost(error['measured'], 's')}, model {cost(error['model'], 's')} "
        f"({100 * (error['model'] / error['measured'] - 1):+.0f} %), two at once compute "
        f"{error['slowdown']:.2f} times as long as one"
    )


def scaling(steps: Steps) -> Iterator[str]:
    """Yield strong and weak scaling: medians of the rounds' ratios, with their range."""
    for network, rows in steps.items():
        for batch in BATCHES:
            row, part = rows.get(batch), rows.get(batch // 2)
            for name in row.costs if row else ():
                if name not in (ALONE, AT_ONCE) and row and ALONE in row.costs:
                    strong = _range(row.ratio(ALONE, name))
                    weak = ""
                    if part and ALONE in part.costs:
                        both = Row("", costs={"part": part.costs[ALONE], "all": row.costs[name]})
                        weak = f"; {batch // 2} images a rank: efficiency " + _range(
                            both.ratio("part", "all")
                        )
                    yield f"{network}, batch {batch}, {name}: speedup {strong}{weak}"


def _range(ratio: tuple[float, float, float]) -> str:
    return f"{ratio[0]:.2f} ({ratio[1]:.2f}-{ratio[2]:.2f})"


def prepare(folder: Path) -> None:
    """Make the folder of the plot; BenchError, before anything is timed, if there can be none."""
    try:
        import_extra("matplotlib.figure", "Matplotlib", "drawing plots", "report")
        folder.mkdir(parents=True, exist_ok=True)
    except (SettingError, OSError) as error:
        raise BenchError(f"--out {folder}: {error}") from None


def save_plot(folder: Path, *what: Any) -> str:
    """Write the plot to ``folder`` and return a line with its path."""
    from bench.scaling.plot import draw

    path = folder / "scale.svg"
    write_atomically(path, draw(*what).render("svg"))
    return f"plot: {path}"
