"""Gradients of which each rank computes a part on its GPU, and that are added there."""

from __future__ import annotations

from collections.abc import Iterator

from gpucnn.backends.contract import FusedGradients, StepArrays
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.fused import flat_offsets
from gpucnn.nn.chain import Saved
from gpucnn.nn.sequential import Sequential, custom_class
from gpucnn.training.processes.nccl import Nccl
from gpucnn.training.processes.part import Part

BUCKET_BYTES = 1 << 20
"""Gradients of later layers that have this size are added while those of earlier layers are
computed. A smaller sum takes about as long."""


class DeviceGradients:
    """The gradients of a step of which each rank of ``group`` computes a part.

    No operation waits for the host, so the step can be captured and replayed.
    """

    def __init__(
        self, part: Part, group: Nccl, totals: Array, bucket_bytes: int = BUCKET_BYTES
    ) -> None:
        """``totals`` is memory for those of a step."""
        self.part, self.totals = part, totals
        self.sums = BucketSums(part.model, group, bucket_bytes)
        self.backward = None if custom_class(part.model) else self.sums.backward

    def set_grads(self, arrays: StepArrays) -> None:
        """As ``FusedGradients.set_grads``. NaN and infinity of one rank are in the sums of all."""
        be = self.part.model.backend
        self.totals[...] = 0
        self.sums.begin()
        self.part.set_grads(arrays, self.totals, self.backward)
        self.sums.end(self.totals)
        arrays.totals[...] += self.totals
        loss = (self.totals[0] / arrays.indices.size).astype(be.dtype)
        be.check_finite(arrays.failed_step, loss, arrays.grads, arrays.step)


class SingleGradients:
    """The gradients of a single rank, which NCCL adds all the same."""

    def __init__(self, gradients: FusedGradients, group: Nccl) -> None:
        self.gradients, self.group = gradients, group

    def set_grads(self, arrays: StepArrays) -> None:
        """As ``FusedGradients.set_grads``."""
        self.gradients.set_grads(arrays)
        self.group.sum(arrays.grads)


class BucketSums:
    """Sums of a model's gradients in slices, each begun as soon as backward has set it.

    Gradients lie in the order of the layers, and backward sets those of the last layer first. The
    slices follow from the layers' sizes alone: all ranks add the same ones, in the same order.
    """

    def __init__(self, model: Sequential, group: Nccl, bucket_bytes: int) -> None:
        self.model, self.group = model, group
        self.slices = list(_slices(model, bucket_bytes))
        self.begun = 0

    def begin(self) -> None:
        """Begin a step."""
        self.begun = 0

    def backward(self, grad: Array, saved: Saved) -> None:
        """As ``Sequential.backward``, without the gradient of the input."""
        model, be = self.model, self.model.backend
        shape = (len(grad), *model.input_shape)
        blocks = list(model.chain.plan(be, shape, training=True))
        while saved:
            grads = model.chain.backward(be, grad, [saved.pop()], bool(saved))
            self._begin_sums(blocks.pop())
            if grads is not None:
                grad = grads

    def end(self, totals: Array) -> None:
        """Add what is left, and ``totals``; later work has all sums."""
        if len(self.slices) == 1:
            self.group.sum(self.model.flat_grads, totals)
            return
        self._begin_sums(0)
        _, last = self.slices[-1]
        self.group.begin_sum(self.model.flat_grads[last], totals)
        self.group.end_sums()

    def _begin_sums(self, layer: int) -> None:
        """Begin the sums of the gradients of ``layer`` and those after it, but the last sum."""
        while self.begun < len(self.slices) - 1 and self.slices[self.begun][0] >= layer:
            self.group.begin_sum(self.model.flat_grads[self.slices[self.begun][1]])
            self.begun += 1


def _slices(model: Sequential, least_bytes: int) -> Iterator[tuple[int, slice]]:
    """Yield slices of the gradients, the last layers' first, each with its first layer."""
    offsets = flat_offsets(parameter.size for parameter in model.parameters())
    starts, count = [], 0
    for layer in model.layers.values():
        starts.append(offsets[count])
        count += len(layer.parameters)
    end, least = offsets[-1], max(1, least_bytes // model.backend.dtype.itemsize)
    for index in reversed(range(len(starts))):
        if 0 < starts[index] <= end - least:
            yield index, slice(starts[index], end)
            end = starts[index]
    yield 0, slice(0, end)
