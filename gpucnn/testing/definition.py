"""What a case tests: an operation of the contract, or one of a user's own.

``Definition`` holds how backends compute an operation and how the reference does, forward and
backward. ``contract_definition`` makes that of an operation of the contract, with the loops of
``naive`` as the reference. A definition of other functions is tested in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from gpucnn.backends import Backend
from gpucnn.backends.contract.augmentation import Augmenting
from gpucnn.backends.contract.operations import IN_PLACE, Operation, name_results, operations
from gpucnn.backends.contract.training import Training
from gpucnn.testing import naive

Array = Any
Arrays = dict[str, Any]

PRODUCTS = ("conv2d", "conv_transpose2d", "linear", "linear_transpose")
"""Operations of the contract that round the operands of products at precision "tf32"."""


@dataclass(frozen=True, eq=False)
class Function:
    """One direction of an operation, as backends and the reference compute it.

    Attributes:
        name: the name, such as "conv2d_backward".
        compute: called as ``compute(backend, **arguments)``, with arrays of the backend.
        reference: called as ``reference(**arguments)``, with NumPy arrays of float64 and integers.
        parameters: the names of the arguments. A backward gets those of these that are arrays,
            results or options of its case, ``grad``, the gradient of the output, and
            ``input_shape``.
        results: the names of what the functions return: an array, a tuple of arrays (None for one
            that is missing), or a mapping with names of its own. A function that returns None
            changes its arguments: these are its results.
        inexact: results of float64 on every backend that are computed from numbers of the
            backend's dtype, and are as accurate as these.
        in_place: arguments that are changed besides, which are results as well.
    """

    name: str
    compute: Callable[..., Any]
    reference: Callable[..., Any]
    parameters: Collection[str]
    results: tuple[str, ...] = ("output",)
    inexact: Collection[str] = ()
    in_place: Collection[str] = ()

    def run(self, backend: Backend | None, arguments: Arrays) -> Arrays:
        """Return the results by name: those of a backend, or of the reference if it is None."""
        with np.errstate(all="ignore"):  # of infinities
            if backend is None:
                found = self.reference(**arguments)
            else:
                found = self.compute(backend, **arguments)
        if found is None:
            return {name: value for name, value in arguments.items() if hasattr(value, "shape")}
        if isinstance(found, Mapping):
            return dict(found)
        changed = {name: arguments[name] for name in self.in_place if name in arguments}
        return name_results(self.name, found, self.results) | changed


@dataclass(frozen=True, eq=False)
class Definition:
    """An operation, forward and backward.

    Attributes:
        name: the name of the operation.
        forward: the operation.
        backward: its gradients; None if it has none.
        is_loss: whether the gradient of the output is a number, not an array like the output.
        is_product: whether its operands may be rounded to TF32.
        is_plumbing: whether it is a part of a training step that is neither layer nor loss.
    """

    name: str
    forward: Function
    backward: Function | None = None
    is_loss: bool = False
    is_product: bool = False
    is_plumbing: bool = False


@cache
def contract_definition(name: str) -> Definition:
    """Return the definition of an operation of the contract; the reference is that of naive/."""
    op = operations()[name]
    return Definition(
        name,
        _function(op),
        None if op.backward is None else _function(op.backward),
        is_loss=op.is_loss,
        is_product=name in PRODUCTS,
        is_plumbing=hasattr(Training, name) or hasattr(Augmenting, name),
    )


def _function(op: Operation) -> Function:
    def compute(backend: Backend, **arguments: Any) -> Any:
        return getattr(backend, op.name)(**arguments)

    return Function(
        op.name,
        compute,
        getattr(naive, op.name),
        tuple(op.parameters),
        op.results,
        in_place=IN_PLACE.get(op.name, ()),
    )
