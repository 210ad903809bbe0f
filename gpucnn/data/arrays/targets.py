"""Labels that are numbers to predict: which are, and their conversion to float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from gpucnn.data.arrays.source import Source
from gpucnn.data.checks import not_finite
from gpucnn.data.types import Array
from gpucnn.errors import DataError, SettingError


class Labelling(NamedTuple):
    """What the user says about the labels of a data set.

    ``regression``: whether they are numbers to predict; None: if they are floats with fractions.
    ``targets``: the columns of a table that hold them, else their names; None if not given.
    """

    regression: bool | None = None
    targets: tuple[str, ...] | None = None

    def refuse(self, what: str) -> None:
        """Raise SettingError if numbers to predict are asked for, of images ``what``."""
        if self.regression:
            raise SettingError(
                "regression (--regression, --targets) is for .npz, .csv and .parquet files:"
                f" {what} have classes"
            )


AUTO = Labelling()
"""Nothing is said about the labels."""


def labelling(regression: bool | None, targets: object) -> Labelling:
    """Return what the arguments of ``gpucnn.data.load`` mean; names of targets imply regression."""
    if targets is None:
        return Labelling(regression)
    names: tuple[object, ...] = ()
    if isinstance(targets, list | tuple):
        names = tuple(targets)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise SettingError(f"targets must be names, for example ['angle'], got {targets!r}")
    if len(set(names)) < len(names):
        raise SettingError(f"targets has a name twice: {', '.join(map(str, names))}")
    if regression is False:
        raise SettingError("targets are for regression: remove them, or regression=False")
    return Labelling(True, tuple(map(str, names)))


def are_targets(arrays: Mapping[str, Array], chosen: Labelling) -> bool:
    """Return whether labels are numbers to predict: as chosen, else floats with fractions.

    Rows of floats that look like the probabilities of classes are not.
    """
    if chosen.regression is not None:
        return chosen.regression
    if any(array.dtype.kind != "f" for array in arrays.values()):
        return False
    return any(_has_fractions(array) for array in arrays.values()) and not all(
        map(_are_probabilities, arrays.values())
    )


def _has_fractions(array: Array) -> bool:
    finite = array[np.isfinite(array)]
    return bool((finite != np.rint(finite)).any())


def _are_probabilities(array: Array) -> bool:
    """Return whether rows of floats look like probabilities of two or more classes."""
    if array.ndim != 2 or array.shape[1] < 2:
        return False
    return bool((array >= 0).all()) and bool((np.abs(array.sum(1) - 1) < 1e-3).all())


def to_targets(arrays: Mapping[str, Array], source: Source) -> dict[str, Array]:
    """Convert the numbers to predict of all splits to float64 (N,) or (N, K); (N, 1) becomes (N,).

    Raises:
        DataError: another shape, text, NaN or infinity; the message names the element.
    """
    found = {name: _numbers(name, array, source) for name, array in arrays.items()}
    widths = {name: array[:1].size for name, array in found.items()}
    if len(set(widths.values())) > 1:
        listed = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise source.error(f"the numbers of targets differ: {listed}; expected the same of all")
    return found


def _numbers(name: str, array: Array, source: Source) -> Array:
    if array.dtype.kind not in "buif":
        raise source.error(
            f"{name} is {array.dtype}, expected numbers to predict (without regression, names are "
            "classes)"
        )
    if array.ndim not in (1, 2):
        raise source.error(f"{name} has shape {array.shape}, expected (N,) or (N, K)")
    numbers = array.astype(np.float64)
    if fault := not_finite(name, numbers):
        raise source.error(fault)
    return numbers[:, 0] if numbers.ndim == 2 and numbers.shape[1] == 1 else numbers


def finite_number(text: str, where: str) -> float:
    """Return the number that a cell of a table holds; DataError, with ``where``, for others."""
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise DataError(f"{where} is {text[:40]!r}, expected a finite number to predict")
    return number
