"""Fused operations of the CUDA backend: the gradients of a LeNet-5 (lenet5.py)."""

from __future__ import annotations

from collections.abc import Sequence

from gpucnn.backends.contract.fused import FusedGradients, Fusion, LayerSpec
from gpucnn.backends.cuda.arrays import CudaArrays
from gpucnn.backends.cuda.lenet5 import LeNet5, lenet5_sizes


class CudaFusion(CudaArrays, Fusion):
    """Recognises the networks for which there are fused kernels."""

    def fuse_gradients(
        self, layers: Sequence[LayerSpec], loss: str, samples: int
    ) -> FusedGradients | None:
        sizes = lenet5_sizes(layers)
        if not self.fuses or loss != "cross_entropy" or sizes is None or sizes.unsupported():
            return None
        return LeNet5(self, sizes, samples)
