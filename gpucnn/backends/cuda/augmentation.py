"""Random changes of training images, made while a batch is gathered."""

from __future__ import annotations

import math

from gpucnn.backends.contract.augmentation import Augmentation, Augmenting
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.random import threshold
from gpucnn.backends.cuda.arrays import CudaArrays


class CudaAugmenting(CudaArrays, Augmenting):
    """Batches of images with random changes."""

    def _augment_images(
        self,
        images: Array,
        indices: Array,
        scale: Array,
        shift: Array,
        augmentation: Augmentation,
        key: int,
        step: Array,
        first: int,
    ) -> Array:
        items, *shape = images.shape
        output = self.empty((indices.size, *shape))
        self._kernels.launch(
            "augment_images",
            indices.size,
            images, indices, scale, shift, step, output, items, first, *shape, augmentation.shift,
            math.radians(augmentation.rotate), augmentation.scale, math.radians(augmentation.shear),
            augmentation.elastic, threshold(augmentation.erase), threshold(augmentation.flip),
            threshold(augmentation.flip_vertical), key,
        )  # fmt: skip
        return output

    def _lerp(self, input: Array, end: Array, weight: Array) -> Array:
        output = self.empty(input.shape)
        sizes = output, output.size
        self._kernels.launch_each("lerp_forward", output.size, input, end, weight, *sizes)
        return output
