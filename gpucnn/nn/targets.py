"""The numbers that a network for regression predicts, and the units in which it computes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Targets:
    """What K outputs of a network mean.

    A network is trained on standardised targets, (target - mean) / std, so that the usual learning
    rates serve whatever their units are.

    Args:
        names: a name for each target, K strings.
        mean: the mean of each training target, K floats.
        std: their standard deviations, K floats above 0.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.names)

    def standardise(self, targets: Numbers) -> Numbers:
        """Return targets (N, K) as the network computes them."""
        standardised: Numbers = (targets - np.array(self.mean)) / np.array(self.std)
        return standardised

    def restore(self, outputs: NDArray[Any]) -> Numbers:
        """Return outputs (N, K) of a network in the units of the targets."""
        restored: Numbers = outputs.astype(np.float64) * np.array(self.std) + np.array(self.mean)
        return restored

    def describe(self) -> dict[str, list[Any]]:
        """Return the fields as plain data."""
        return {name: list(values) for name, values in vars(self).items()}

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> Targets:
        """Return the targets that ``describe`` described."""
        return cls(**{name: tuple(description[name]) for name in ("names", "mean", "std")})
