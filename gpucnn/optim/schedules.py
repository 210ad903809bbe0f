"""Learning rate schedules: a factor of the learning rate as a function of the run's progress."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gpucnn.config import check_number


@dataclass(frozen=True)
class Schedule:
    """Base class of all schedules, with a constant factor of 1 after warm-up.

    ``warmup`` is the fraction of the run in which the factor rises linearly from 0.1 to 1. The
    schedule of the subclass covers the rest of the run.
    """

    warmup: float = 0.0

    def __post_init__(self) -> None:
        check_number(f"{type(self).__name__}: warmup", self.warmup, 0.0, 1.0)

    def factor(self, progress: float) -> float:
        """Return the factor at ``progress``, from 0 (first step) to 1 (end of the run).

        It is called for all steps of an epoch when the epoch begins.
        """
        if progress < self.warmup:
            return 0.1 + 0.9 * progress / self.warmup
        return self._after_warmup((progress - self.warmup) / (1 - self.warmup))

    def _after_warmup(self, progress: float) -> float:
        return 1.0


@dataclass(frozen=True)
class ConstantLR(Schedule):
    """A constant learning rate."""


@dataclass(frozen=True)
class StepLR(Schedule):
    """Multiply the factor by ``gamma`` after each fraction ``every`` of the run."""

    every: float = 1 / 3
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("StepLR: every", self.every, 1e-6)
        check_number("StepLR: gamma", self.gamma, 0.0)

    def _after_warmup(self, progress: float) -> float:
        # 0.6 / 0.2 is slightly less than 3.
        return self.gamma ** math.floor(progress / self.every + 1e-9)


@dataclass(frozen=True)
class CosineAnnealingLR(Schedule):
    """Half a cosine from 1 to 0 (Loshchilov and Hutter, arXiv:1608.03983), without restarts."""

    def _after_warmup(self, progress: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class OneCycleLR(Schedule):
    """Rise from 1 / div_factor to 1, then fall to 1 / (div_factor * final_div_factor).

    The rise takes the fraction ``pct_start`` of the run; both are half a cosine. Momentum is not
    changed (Smith and Topin, arXiv:1708.07120).
    """

    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("OneCycleLR: pct_start", self.pct_start, 0.0, 1.0)
        check_number("OneCycleLR: div_factor", self.div_factor, 1.0)
        check_number("OneCycleLR: final_div_factor", self.final_div_factor, 1.0)

    def _after_warmup(self, progress: float) -> float:
        low = 1 / self.div_factor
        if progress < self.pct_start:
            return _cosine(low, 1.0, progress / self.pct_start)
        fall = (progress - self.pct_start) / (1 - self.pct_start)
        return _cosine(1.0, low / self.final_div_factor, fall)


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


SCHEDULES: dict[str, Schedule] = {
    "constant": ConstantLR(),
    "step": StepLR(),
    "cosine": CosineAnnealingLR(),
    "warmup": ConstantLR(warmup=0.2),
    "warmup-cosine": CosineAnnealingLR(warmup=0.2),
    "one-cycle": OneCycleLR(),
}
"""Schedules by their names on the command line."""
