"""The plot of the learning-rate finder."""

import re

import numpy as np
import pytest

from gpucnn import plots
from gpucnn.training.rates import LearningRates


@pytest.mark.parametrize("decades", [1, 3, 8])
def test_the_learning_rates_at_the_axis_are_plain_numbers(decades: int) -> None:
    """Powers would be written in the notation for formulas, which the plots do not interpret."""
    rates = tuple(np.geomspace(10.0**-decades, 1, 40))
    losses = tuple(np.linspace(2.3, 0.5, 40))
    plot = plots.learning_rates(LearningRates(rates, losses, losses, rates[20], False))
    labels = [text.get_text() for text in plot.axes[0].get_xticklabels()]
    shown = [float(label) for label in labels if label]
    assert len(shown) <= 16
    assert len([value for value in shown if rates[0] <= value <= 1.001]) >= 2
    assert not re.search("mathdefault|\\$", plot.render("svg").decode())
