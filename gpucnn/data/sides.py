"""Which images are for testing, where that is not given: a function of the content of each.

An image stays on its side when others are added, removed or renamed. The exception is a class whose
images would all be on one side: one of them then changes sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# The share of the images that are for testing.
_TEST_SHARE = 0.2


def draw_test(
    digests: Sequence[bytes] | npt.NDArray[np.void],
    labels: Sequence[int] | npt.NDArray[np.int64],
    seed: int,
) -> list[bool]:
    """Return for each image whether it is a test image.

    A digest and the seed give a number from 0 to 1, and images below 0.2 are for testing. Identical
    images are on the same side. Every class has a training image: where all numbers are below 0.2,
    the image with the greatest is for training. A class of two different images or more has a test
    image as well: where all numbers are 0.2 or more, the image with the smallest is for testing,
    unless it is in other classes, too.

    As images are added, a training image becomes a test image only if its class had one image, or
    no number of 0.2 or more, which has a probability of 0.2**n for n images.

    Args:
        digests: of the content of each image, bytes of one length; or an array of void (N,).
        labels: the class of each image.
        seed: another seed draws other test images.
    """
    if not len(digests):
        return []
    size = len(digests[0]) if isinstance(digests, Sequence) else digests.itemsize
    contents, index = np.unique(np.asarray(digests, f"V{size}"), return_inverse=True)
    numbers = np.array([_number(content.tobytes(), seed) for content in contents])
    test = numbers < _TEST_SHARE
    _, numbered = np.unique(np.asarray(labels, np.int64), return_inverse=True)
    # Each content of each class once, by class, in a class by number.
    pairs = np.unique(np.stack([numbered, index], axis=1), axis=0)
    pairs = pairs[np.lexsort((numbers[pairs[:, 1]], pairs[:, 0]))]
    only_here = np.bincount(pairs[:, 1], minlength=len(contents)) == 1
    classes = np.split(pairs[:, 1], np.flatnonzero(np.diff(pairs[:, 0])) + 1)
    for own in classes:
        if test[own].all():
            movable = own[only_here[own]]
            test[(movable if len(movable) else own)[-1]] = False
    for own in classes:
        movable = own[only_here[own]]
        if len(own) > 1 and len(movable) and not test[own].any():
            test[movable[0]] = True
    drawn: list[bool] = test[index].tolist()
    return drawn


def _number(digest: bytes, seed: int) -> float:
    """Return the number from 0 to 1 that an image has."""
    mixed = hashlib.sha256(b"%d:" % seed + digest).digest()
    return int.from_bytes(mixed[:8], "big") / 2**64
