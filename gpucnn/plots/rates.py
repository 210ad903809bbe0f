"""The plot of the learning-rate finder."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpucnn.plots.style import INK, MUTED, SERIES, WIDTH, Plot, number_ticks, style
from gpucnn.training.rates import LearningRates


def learning_rates(found: LearningRates) -> Plot:
    """Draw the loss of each step of ``training.find_lr`` over its learning rate.

    A ring marks the suggestion. Losses far above that of the first step are beyond the upper edge.

    Example:
        >>> data = gpucnn.data.mnist().limit(200)
        >>> found = gpucnn.training.find_lr(gpucnn.models.mlp(), data, steps=40)
        >>> gpucnn.plots.learning_rates(found).axes[0].get_xlabel()
        'learning rate'
    """
    with style():
        figure = Plot(figsize=(WIDTH, 3.3), layout="constrained")
        axes = figure.subplots()
        axes.plot(found.rates, found.losses, color=MUTED, linewidth=0.8, label="loss of a batch")
        axes.plot(found.rates, found.smoothed, color=SERIES[0], label="moving average")
        if found.suggestion is not None:
            loss = found.smoothed[found.rates.index(found.suggestion)]
            label = f"suggestion: {found.suggestion:.2g}"
            ring: dict[str, Any] = {"markersize": 11, "fillstyle": "none", "linestyle": ""}
            axes.plot([found.suggestion], [loss], marker="o", color=INK, label=label, **ring)
        axes.set_xscale("log")
        number_ticks(axes.xaxis)
        low = float(np.min(found.losses))
        high = min(float(np.max(found.losses)), 1.5 * found.smoothed[0])
        room = 0.05 * ((high - low) or 1.0)
        axes.set_ylim(low - room, high + room)
        axes.set_xlabel("learning rate")
        axes.set_title("Loss")
        axes.legend()
        return figure.lay_out()
