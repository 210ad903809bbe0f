"""Restricted Boltzmann machines: the sampling of a layer of units, and what gradients are made of.

``linear`` computes the inputs of the hidden units, ``linear_transpose`` those of the visible units,
and ``linear_backward`` the products of a gradient (``gpucnn.rbm``).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.random import Random


class Units(NamedTuple):
    """The units of a layer (N, F), of the backend's dtype."""

    probabilities: Array
    samples: Array


class Boltzmann(Random):
    """Restricted Boltzmann machines."""

    def sample_units(
        self,
        input: Array,
        key: int,
        step: Array,
        bias: Array | None = None,
        *,
        samples: Array | None = None,
    ) -> Units:
        """Return sigmoid(x + b) of x (N, F) and b (F,), and samples of 0 and 1.

        ``key`` and ``step`` are as for ``bernoulli``, which returns the same samples for these
        probabilities. They are written to ``samples`` (N, F) if it is given, which is returned.
        """
        op = "sample_units"
        self._check(op, "input", input, (None, None))
        if bias is not None:
            self._check(op, "bias", bias, (input.shape[1],))
        if samples is not None:
            self._check(op, "samples", samples, tuple(input.shape))
        key = self._check_key(op, key, step)
        return Units(*self._sample_units(input, key, step, bias, samples))

    @abstractmethod
    def _sample_units(
        self, input: Array, key: int, step: Array, bias: Array | None, samples: Array | None
    ) -> tuple[Array, Array]: ...

    def stack_rows(
        self, first: Array, second: Array, first_factor: float = 1.0, second_factor: float = 1.0
    ) -> Array:
        """Return (N + M, F): the rows of ``first`` (N, F), then of ``second`` (M, F).

        They are multiplied by their factors.
        """
        self._check("stack_rows", "first", first, (None, None))
        self._check("stack_rows", "second", second, (None, first.shape[1]))
        return self._stack_rows(first, second, float(first_factor), float(second_factor))

    @abstractmethod
    def _stack_rows(
        self, first: Array, second: Array, first_factor: float, second_factor: float
    ) -> Array: ...
