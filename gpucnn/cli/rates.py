"""``gpucnn find-lr``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from gpucnn.cli.console import PlainConsole, make_console, print_table
from gpucnn.cli.display import plain_json
from gpucnn.cli.options import NOT_SAVED, RBM, check_model_options
from gpucnn.cli.output import printable
from gpucnn.cli.running import read_run_data
from gpucnn.cli.settings import make_settings, with_class_weights, with_recipe_model
from gpucnn.cli.sources import make_backend, model_name
from gpucnn.cli.train import first_run_model
from gpucnn.config import check_integer, import_extra
from gpucnn.errors import SettingError
from gpucnn.files import write_atomically
from gpucnn.training.rates import FIRST, LearningRates, find_lr
from gpucnn.training.settings import settle

_HEIGHT, _MOST_COLUMNS = 12, 72
"""Lines and columns of the plot."""

_LABEL = 9  # characters to the left of it


def find_lr_command(arguments: argparse.Namespace) -> int:
    """Print the losses of steps with rising learning rates, and the rate that they suggest."""
    png = None if arguments.png is None else _png(arguments.png)
    options = {name: value for name, value in vars(arguments).items() if name not in NOT_SAVED}
    options = with_recipe_model(options)
    if options.get("model") == RBM:
        raise SettingError("--model rbm has no loss to watch: gpucnn find-lr is for networks")
    check_model_options(options)
    check_integer("--steps", arguments.steps, 2 * FIRST)
    if not 0 < arguments.lowest < arguments.highest:
        raise SettingError(
            f"--from must be above 0 and below --to, got {arguments.lowest:g} and "
            f"{arguments.highest:g}"
        )
    settings = make_settings(options)
    data = read_run_data(options, settings.seed, None)
    settings = with_class_weights(settle(settings, data.is_regression), options, data)
    precision = options.get("precision", "ieee")
    backend, _ = make_backend(options.get("backend", "auto"), precision=precision)
    model = first_run_model(options, data, settings.seed)
    found = find_lr(
        model,
        data,
        settings=settings,
        backend=backend,
        lowest=arguments.lowest,
        highest=arguments.highest,
        steps=arguments.steps,
    )
    if png is not None:
        from gpucnn.plots.rates import learning_rates  # imports Matplotlib

        write_atomically(png, learning_rates(found).render("png", dpi=200))
    if arguments.json:
        print(json.dumps(plain_json({**found.as_dict(), "settings": settings.as_dict()})))
        return 0
    console = make_console()
    optimizer = type(settings.optimizer).__name__
    title = f"{model_name(options)} on {data.name}, {optimizer}, batches of {settings.batch_size}"
    console.print(printable(title))
    _draw(console, found)
    print_table(console, found.rows(), ("learning rate", "loss", "smoothed"))
    console.print(found.summary())
    if png is not None:
        console.print(printable(f"plot: {png}"))
    return 0


def _png(name: str) -> Path:
    """Return the file of a plot; SettingError if it cannot be one."""
    import_extra("matplotlib", "Matplotlib", "--png", "report")
    path = Path(name)
    if path.suffix.lower() != ".png":
        raise SettingError(f"--png needs a file with the suffix .png, got {name!r}")
    if not path.parent.is_dir():
        raise SettingError(f"--png: there is no folder {str(path.parent)!r}")
    return path


def _draw(console: PlainConsole, found: LearningRates) -> None:
    """Draw the smoothed losses over the logarithm of the rate."""
    width = min(console.width - _LABEL - 2, _MOST_COLUMNS, len(found.rates))
    if width < 10 or len(found.rates) < 10:
        return
    at = np.linspace(0, len(found.rates) - 1, width).round().astype(int)
    losses = np.array(found.smoothed)[at]
    # Where the loss grew beyond its start nothing more can be seen in its height.
    low, high = losses.min(), min(losses.max(), 1.25 * found.smoothed[0])
    spread = (high - low) or 1.0
    rows = np.clip(np.rint((high - losses) / spread * (_HEIGHT - 1)), 0, _HEIGHT - 1).astype(int)
    for row in range(_HEIGHT):
        label = f"{high - spread * row / (_HEIGHT - 1):.3f}" if row % (_HEIGHT - 1) == 0 else ""
        line = "".join("*" if found_row == row else " " for found_row in rows)
        console.print(f"{label:>{_LABEL}} |{line}".rstrip())
    mark = -1
    if found.suggestion is not None:
        mark = int(np.abs(at - found.rates.index(found.suggestion)).argmin())
    axis = "".join("^" if column == mark else "-" for column in range(width))
    console.print(f"{'loss':>{_LABEL}} +{axis}")
    first, last = f"{found.rates[0]:.0e}", f"{found.rates[-1]:.0e}"
    gap = width - len(first) - len(last)
    console.print(f"{'':>{_LABEL}}  {first}{'learning rate':^{max(gap, 0)}}{last}".rstrip())
