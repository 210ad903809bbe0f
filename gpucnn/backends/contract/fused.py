"""Fused operations: sequences of layers that a backend computes in fewer passes.

A model describes its layers in terms of the contract (``LayerSpec``). Each backend recognises the
sequences for which it has a fused operation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import Array, ParameterGrads
from gpucnn.backends.contract.window import Window

PARAMETER_ALIGNMENT = 8
"""Each parameter begins at a multiple of this number of elements in a model's flat vectors: 32
bytes in float32, a sector, the least that a GPU transfers. Elements in between are zero."""


def flat_offsets(sizes: Iterable[int]) -> list[int]:
    """Return where parameters of ``sizes`` elements begin in a flat vector, and its length."""
    padded = (-(-size // PARAMETER_ALIGNMENT) * PARAMETER_ALIGNMENT for size in sizes)
    return list(accumulate(padded, initial=0))


@dataclass(frozen=True)
class LayerSpec:
    """A layer in terms of the contract: an operation and the shapes of its input and output.

    ``op`` is the name of the operation, such as "conv2d". Shapes do not include the batch.
    ``window`` is that of a convolution or pooling.
    """

    op: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    window: Window | None = None
    groups: int = 1
    bias: bool = False


class FusedLayers(Protocol):
    """Several layers as one operation, with buffers for one batch size.

    ``backward`` refers to the last ``forward``. An instance must not be used by several threads at
    the same time.
    """

    def forward(self, input: Array, weight: Array, bias: Array | None) -> Array:
        """Return the output, a new array."""

    def backward(self, grad: Array, input_grad: bool, out: ParameterGrads) -> Array | None:
        """Return the gradient of the input if ``input_grad``; write the others to ``out``."""


@dataclass(frozen=True)
class StepArrays:
    """The arrays that the gradients of a training step are computed from and written to.

    N samples of a batch, M images, C channels, P elements of the model's flat vectors.
    """

    images: Array
    """uint8 (M, C, H, W): all images, or a ring of those of the batches to come"""
    indices: Array
    """int64 (N,): the batch is ``images[indices]``"""
    targets: Array
    """int64 (N,): classes; or numbers (N, K), in regression"""
    scale: Array
    """(C,): a pixel becomes pixel * scale + shift"""
    shift: Array
    """(C,)"""
    parameters: Array
    """(P,): the model's flat parameters, layer by layer, weight before bias (``flat_offsets``)"""
    grads: Array
    """(P,): the gradients of the mean loss are written here; padding stays zero"""
    totals: Array
    """float64 (2,): the sum of losses and the number of correct classes, added to; in regression
    (1 + 2 K,): see ``add_errors``"""
    failed_step: Array
    """int64 (1,): set to ``step`` if it is 0 and the loss or a gradient is NaN or infinite"""
    step: Array
    """int64 (1,): the number of this step, from 1"""
    partners: Array | None = None
    """int64 (N,), with mixup: the position in the batch of the image that each is mixed with"""
    own_share: Array | None = None
    """(1,), with mixup: how much of each image is its own"""


class FusedGradients(Protocol):
    """The gradients of a network as one operation, for one batch size."""

    def set_grads(self, arrays: StepArrays) -> None:
        """Write ``arrays.grads``, and update ``totals`` and ``failed_step``.

        The results are those of ``gather_images``, the layers, the loss, ``add_metrics`` and
        ``check_finite``.
        """


class Fusion(Arrays):
    """Fused operations; by default a backend has none."""

    def fuse_layers(
        self, layers: Sequence[LayerSpec], samples: int, training: bool = True
    ) -> FusedLayers | None:
        """Return consecutive ``layers`` as one operation, or None if the backend has none.

        Only the first layer has parameters. ``samples`` is the batch size. ``backward`` requires
        ``training``.
        """
        return None

    def fuse_gradients(
        self, layers: Sequence[LayerSpec], loss: str, samples: int
    ) -> FusedGradients | None:
        """Return the gradients of a network as one operation, or None if the backend has none.

        ``loss`` is the name of the loss operation, with reduction "mean" and its other defaults.
        ``samples`` is the batch size.
        """
        return None
