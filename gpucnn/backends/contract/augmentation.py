"""Random changes of training images, made while a batch is gathered."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, fields

import numpy as np

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import Array
from gpucnn.config import check_integer, check_number
from gpucnn.errors import SettingError

CONTROL_POINTS = 5
"""Control points of an elastic distortion along each axis; the outer ones are at the edges."""

BLOCKS = 16
"""Blocks of Philox, of four words each, for an image; ``WORDS`` has their order."""

WORDS = (
    "shift_x", "shift_y", "rotate", "scale", "shear", "flip", "flip_vertical",
    "erase", "erase_height", "erase_width", "erase_top", "erase_left",
)  # fmt: skip
"""What the first words of an image decide. The displacements in x of the control points follow, in
row-major order, and then those in y."""

_LIMITS = {
    "rotate": 180.0,
    "scale": 0.9,
    "shear": 60.0,
    "elastic": 1000.0,
    "erase": 1.0,
    "flip": 1.0,
    "flip_vertical": 1.0,
}


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images: each image of each step is changed in another way.

    An image is flipped, sheared, scaled, rotated and shifted about its centre, in this order, then
    distorted; a rectangle may be erased. What comes from outside the image is background, pixel 0.
    Values are interpolated between the four nearest pixels. 0 leaves a change out.

    Args:
        shift: shift by an integer number of pixels from -shift to shift, along each axis.
        rotate: rotate by -rotate to rotate degrees, at most 180.
        scale: scale by 1 - scale to 1 + scale; at most 0.9.
        shear: shear horizontally by -shear to shear degrees, at most 60.
        elastic: displace 5x5 control points by up to ``elastic`` pixels along each axis, and the
            pixels between them smoothly.
        erase: probability that a rectangle becomes background (Zhong et al., 2020); its sides are
            from an eighth to three eighths of the image's.
        flip: probability of a horizontal flip; not for digits.
        flip_vertical: probability of a vertical flip.

    Raises:
        SettingError: a value is outside its range.
    """

    shift: int = 0
    rotate: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    elastic: float = 0.0
    erase: float = 0.0
    flip: float = 0.0
    flip_vertical: float = 0.0

    def __post_init__(self) -> None:
        shift = check_integer("augmentation: shift", self.shift, 0)
        if shift > 1000:
            raise SettingError(f"augmentation: shift must be at most 1000 pixels, got {shift}")
        object.__setattr__(self, "shift", shift)
        for name, most in _LIMITS.items():
            value = float(check_number(f"augmentation: {name}", getattr(self, name), 0.0))
            if value > most:
                raise SettingError(f"augmentation: {name} must be at most {most:g}, got {value:g}")
            object.__setattr__(self, name, value)

    @classmethod
    def for_digits(cls) -> Augmentation:
        """Return changes that leave every digit what it is, for images of about 28x28 pixels."""
        return cls(shift=1, rotate=10.0, scale=0.1, shear=5.0, elastic=1.0)

    def __str__(self) -> str:
        """Return the changes as ``gpucnn train --augment`` takes them.

        >>> str(Augmentation(shift=2, rotate=10))
        'shift=2,rotate=10'
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return ",".join(f"{name}={value:g}" for name, value in values.items() if value)


class Augmenting(Arrays):
    """Batches of images with random changes, and mixtures."""

    def augment_images(
        self,
        images: Array,
        indices: Array,
        scale: Array,
        shift: Array,
        augmentation: Augmentation,
        key: int,
        step: Array,
        first: int = 0,
    ) -> Array:
        """Return what ``gather_images`` returns, with random changes of the images.

        Image n of the result is changed by the numbers of ``key`` and ``step`` for position
        ``first`` + n, so that the parts of a batch have the images that the whole batch would have:
        its words are those of the 16 blocks from 16 (first + n) on.
        """
        op = "augment_images"
        self._check(op, "images", images, (None,) * 4, np.uint8)
        self._check(op, "indices", indices, (None,), np.int64)
        self._check(op, "scale", scale, (images.shape[1],))
        self._check(op, "shift", shift, (images.shape[1],))
        if not isinstance(augmentation, Augmentation):
            raise SettingError(f"{op}: augmentation must be an Augmentation, got {augmentation!r}")
        key = self._check_key(op, key, step)
        first = check_integer(f"{op}: first", first, 0)
        return self._augment_images(images, indices, scale, shift, augmentation, key, step, first)

    @abstractmethod
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
    ) -> Array: ...

    def lerp(self, input: Array, end: Array, weight: Array) -> Array:
        """Return (1 - weight) ``input`` + weight ``end``; ``weight`` is (1,), on the device."""
        self._check_pair("lerp", "input", input, "end", end)
        self._check("lerp", "weight", weight, (1,))
        return self._lerp(input, end, weight)

    @abstractmethod
    def _lerp(self, input: Array, end: Array, weight: Array) -> Array: ...
