"""A chain: layers one after the other, and how a batch goes through them and back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.errors import SettingError
from gpucnn.nn.layers.base import Layer, TrainingPass
from gpucnn.nn.plan import Block, make_plan

MOST_PLANS = 6
"""Plans that a chain keeps. A run needs at most six: for full batches and the shorter last one, in
training and on the test and held-out images."""

Saved = list[tuple[Block, Any]]
"""What a training forward returns for backward: each block and what it saved."""


class Chain:
    """Layers one after the other, by name: those of a model, or of a path inside a layer.

    Passes go through the blocks of a plan. The plans used last are kept, and shared by threads.
    """

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        self.layers = layers
        self._plans = lru_cache(MOST_PLANS)(partial(make_plan, layers))

    def plan(
        self, be: Backend, shape: tuple[int, ...], training: bool = False
    ) -> Mapping[int, Block]:
        """Return the blocks for batches of ``shape`` (N, ...), by the index of their first layer.

        ``training`` is whether there will be backward passes.
        """
        return self._plans(be, shape, training)

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Saved]:
        """As ``Layer.forward``; nothing is saved in inference."""
        saved: Saved = []
        for index, block in self.plan(be, tuple(x.shape), training is not None).items():
            result = block.forward(be, x, training and training.inside(index))
            if not isinstance(result, tuple):
                raise SettingError(
                    f"{type(block).__name__}.forward must return (output, saved), "
                    f"got {type(result).__name__}"
                )
            x, kept = result
            if training is not None:
                saved.append((block, kept))
            del result, kept  # in inference, their memory is free before the next block allocates
        return x, saved

    def backward(
        self, be: Backend, grad: Array, saved: Saved, input_grad: bool = True
    ) -> Array | None:
        """As ``Layer.backward``; uses up ``saved``, so that each block's memory is free at once."""
        while saved:
            block, kept = saved.pop()
            grad = block.backward(be, grad, kept, input_grad or bool(saved))
        return grad if input_grad else None

    def __reduce__(self) -> tuple[Any, ...]:
        """Have a copy or a pickle make plans of its own."""
        return Chain, (self.layers,)
