"""Fused operations: what a backend may compute in fewer passes than layer by layer.

A model describes its layers in the contract's terms (``LayerSpec``), and each backend recognises
the sequences that it has a faster way for. What those are is known in the backend alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import Array, ParameterGrads
from gpucnn.backends.contract.window import Window


@dataclass(frozen=True)
class LayerSpec:
    """A layer as backends see it: an operation of the contract on one input shape.

    ``op`` is the operation's name, "conv2d", "relu", …; shapes leave out the batch. ``window`` is
    that of a convolution or pooling.
    """

    op: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    window: Window | None = None
    groups: int = 1
    bias: bool = False


class FusedLayers(Protocol):
    """Several layers as one operation, with memory of its own for one batch size.

    ``backward`` belongs to the last ``forward``, and no two threads share the memory.
    """

    def forward(self, input: Array, weight: Array, bias: Array | None) -> Array:
        """Return the output, a new array."""

    def backward(self, grad: Array, input_grad: bool, out: ParameterGrads) -> Array | None:
        """Return the last input's gradient, None unless asked for; write the others to ``out``."""


@dataclass(frozen=True)
class StepArrays:
    """The arrays that the gradients of a training step are computed from and written to.

    N samples of a batch, M images, C channels, P parameters.
    """

    images: Array
    """uint8 (M, C, H, W)"""
    indices: Array
    """int64 (N,): the batch is ``images[indices]``"""
    targets: Array
    """int64 (N,): classes"""
    scale: Array
    """(C,): a pixel becomes pixel * scale + shift"""
    shift: Array
    """(C,)"""
    parameters: Array
    """(P,): the model's flat parameters"""
    grads: Array
    """(P,): the gradients of the mean loss are written here"""
    totals: Array
    """float64 (2,): the sum of losses and the number of correct classes, added to"""
    failed_step: Array
    """int64 (1,): set to ``step`` if it is 0 and the loss or a gradient is NaN or infinite"""
    step: Array
    """int64 (1,): the number of this step, from 1"""


class FusedGradients(Protocol):
    """Everything from a batch's images to a network's gradients, for one batch size."""

    def set_grads(self, arrays: StepArrays) -> None:
        """Write ``arrays.grads``, as ``gather_images``, the layers and the loss would.

        And update ``totals`` as ``add_metrics`` and ``failed_step`` as ``check_finite`` would.
        """


class Fusion(Arrays):
    """The questions that a model asks a backend; by default the answer is no."""

    def fuse_layers(
        self, layers: Sequence[LayerSpec], samples: int, training: bool = True
    ) -> FusedLayers | None:
        """Return ``layers``, one after the other, as one operation; None where that is no faster.

        The first layer has the parameters. ``samples`` is the batch size. There is a ``backward``
        only if made for ``training``.
        """
        return None

    def fuse_gradients(
        self, layers: Sequence[LayerSpec], loss: str, samples: int
    ) -> FusedGradients | None:
        """Return the gradients of a whole network as one operation, or None.

        ``loss`` is the operation whose mean over the ``samples`` of a batch is minimised.
        """
        return None
