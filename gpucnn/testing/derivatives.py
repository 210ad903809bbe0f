"""Derivatives by differences, accurate enough to check gradients to 1e-6."""

from __future__ import annotations

from collections.abc import Callable


def directional_derivative(function: Callable[[float], float], step: float) -> float:
    """Return d function / dt at 0 by central differences, their two leading errors cancelled.

    (f(h) - f(-h)) / 2h errs by terms in h², h⁴, …; combining the steps h, h/2 and h/4 removes the
    first two (Richardson extrapolation), so the step can be wide enough for rounding not to matter.
    """
    wide, half, fine = ((function(h) - function(-h)) / (2 * h) for h in (step, step / 2, step / 4))
    once, again = (4 * half - wide) / 3, (4 * fine - half) / 3
    return (16 * again - once) / 15
