"""The operations of the contract by name, with their parameters and the names of their results.

``gpucnn check``, the tests and the benchmarks iterate over them, so that an operation is declared
only as a method of its family.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from gpucnn.backends.contract.activations import Activations
from gpucnn.backends.contract.augmentation import Augmenting
from gpucnn.backends.contract.boltzmann import Boltzmann
from gpucnn.backends.contract.convolution import Convolution
from gpucnn.backends.contract.group_normalization import GroupNormalization
from gpucnn.backends.contract.joining import Joining
from gpucnn.backends.contract.linear import Linear
from gpucnn.backends.contract.losses import Losses
from gpucnn.backends.contract.normalization import Normalization
from gpucnn.backends.contract.pooling import Pooling
from gpucnn.backends.contract.random import Random
from gpucnn.backends.contract.recurrent import Recurrent
from gpucnn.backends.contract.resampling import Resampling
from gpucnn.backends.contract.training import Training
from gpucnn.errors import SettingError

FAMILIES: tuple[type, ...] = (
    Convolution, Pooling, Resampling, Activations, Boltzmann, Normalization, GroupNormalization,
    Random, Linear, Joining, Recurrent, Losses, Augmenting, Training,
)  # fmt: skip

IN_PLACE = {"batch_norm": ("running_mean", "running_var", "num_batches_tracked")}
"""Arguments that an operation changes besides returning a result."""


@dataclass(frozen=True)
class Operation:
    """An operation of the contract, and its backward if it has one."""

    name: str
    parameters: Mapping[str, inspect.Parameter]
    backward: Operation | None = None

    @property
    def is_loss(self) -> bool:
        """Whether ``grad`` of the backward is a number, and not an array like the output."""
        return (
            self.backward is not None
            and self.backward.parameters["grad"].default is not inspect.Parameter.empty
        )

    @property
    def options_of_results(self) -> tuple[str, ...]:
        """The parameters that ask for a further result: "return_indices"."""
        return tuple(name for name in self.parameters if name.startswith("return_"))

    @property
    def results(self) -> tuple[str, ...]:
        """The names of the results: "output", and that of each option, as "indices".

        Those of a backward are the gradients of "input", "weight" and "bias".
        """
        if self.name.endswith("_backward"):
            return ("input", "weight", "bias")
        further = (name.removeprefix("return_") for name in self.options_of_results)
        return ("output", *further)

    def name_results(self, results: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the results of a call by name; for None, the array arguments of the call."""
        if results is None:
            return {name: value for name, value in arguments.items() if hasattr(value, "shape")}
        return name_results(self.name, results, self.results)


def name_results(what: str, results: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Return what ``what`` returned, an array or a tuple of arrays, by name.

    Named tuples have names of their own, such as the statistics of ``batch_norm``. SettingError if
    there are more results than names: the rest would be lost.
    """
    values = results if isinstance(results, tuple) else (results,)
    names = getattr(results, "_fields", names)
    if len(values) > len(names):
        raise SettingError(
            f"{what} returns {len(values)} results, but only {', '.join(names)} are named"
        )
    return dict(zip(names, values, strict=False))


@cache
def operations() -> dict[str, Operation]:
    """Return the forward operations by name."""
    methods = {
        name: method
        for family in FAMILIES
        for name, method in vars(family).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }

    def operation(name: str) -> Operation | None:
        if name not in methods:
            return None
        parameters = dict(inspect.signature(methods[name]).parameters)
        del parameters["self"]
        return Operation(name, parameters, operation(f"{name}_backward"))

    forward = (operation(name) for name in methods if not name.endswith("_backward"))
    return {found.name: found for found in forward if found is not None}


def operation(name: str) -> Operation:
    """Return a forward or backward operation by name."""
    found = operations()[name.removesuffix("_backward")]
    if found.name == name:
        return found
    assert found.backward is not None
    return found.backward
