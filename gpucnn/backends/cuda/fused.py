"""Fused operations."""

from __future__ import annotations

from gpucnn.backends.contract.fused import Fusion
from gpucnn.backends.cuda.arrays import CudaArrays
from gpucnn.backends.cuda.lenet5 import LeNet5, LeNet5Sizes


class CudaFusion(CudaArrays, Fusion):
    """LeNet-5."""

    def _join_lenet5(self, sizes: LeNet5Sizes, batch: int) -> LeNet5 | None:
        return LeNet5(self, sizes, batch) if self.fuses and not sizes.fault() else None
