"""Plots of runs, results and networks, as figures of Matplotlib.

>>> data = gpucnn.data.mnist().limit(200)
>>> history = gpucnn.fit(gpucnn.models.mlp(), data, epochs=2, batch_size=20)
>>> gpucnn.plots.curves(history).savefig("curves.png")

Each function returns a ``matplotlib.figure.Figure``, which notebooks show as the last line of a
cell. pyplot is not used: no window opens, and Matplotlib's settings stay as they are. ``to_svg``
returns a figure as an element for a web page, and ``report`` writes a page with all of them.
Matplotlib and Jinja2 are installed by ``gpucnn[report]``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gpucnn.config import import_extra

if TYPE_CHECKING:
    from gpucnn.plots.augmentation import augmented
    from gpucnn.plots.inputs import receptive_field, saliency
    from gpucnn.plots.layers import feature_maps
    from gpucnn.plots.machines import rbm_filters, reconstructions, samples
    from gpucnn.plots.page.making import report
    from gpucnn.plots.rates import learning_rates
    from gpucnn.plots.regression import predictions, worst
    from gpucnn.plots.results import (
        Calibration,
        calibration,
        confusion_matrix,
        misread,
        reliability,
    )
    from gpucnn.plots.runs import curves
    from gpucnn.plots.style import Plot
    from gpucnn.plots.svg import STYLESHEET, save_all, to_svg
    from gpucnn.plots.weights import filters

__all__ = [
    "STYLESHEET",
    "Calibration",
    "Plot",
    "augmented",
    "calibration",
    "confusion_matrix",
    "curves",
    "feature_maps",
    "filters",
    "learning_rates",
    "misread",
    "predictions",
    "rbm_filters",
    "receptive_field",
    "reconstructions",
    "reliability",
    "report",
    "saliency",
    "samples",
    "save_all",
    "to_svg",
    "worst",
]

_HOMES = {
    "STYLESHEET": "svg",
    "Calibration": "results",
    "Plot": "style",
    "augmented": "augmentation",
    "calibration": "results",
    "confusion_matrix": "results",
    "curves": "runs",
    "feature_maps": "layers",
    "filters": "weights",
    "learning_rates": "rates",
    "misread": "results",
    "predictions": "regression",
    "rbm_filters": "machines",
    "receptive_field": "inputs",
    "reconstructions": "machines",
    "reliability": "results",
    "report": "page.making",
    "saliency": "inputs",
    "samples": "machines",
    "save_all": "svg",
    "to_svg": "svg",
    "worst": "regression",
}


def __getattr__(name: str) -> Any:
    """Import Matplotlib when the first plot is asked for; SettingError if it is not installed."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gpucnn.plots' has no attribute {name!r}")
    import_extra("matplotlib.figure", "Matplotlib", "drawing plots", "report")
    value = globals()[name] = getattr(import_module(f"gpucnn.plots.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
