"""Which images are for testing, where that is not given: a function of the content of each.

An image stays on its side when others are added, removed or renamed. The exception is a class whose
images would all be on one side: one of them then changes sides.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

# The share of the images that are for testing.
_TEST_SHARE = 0.2


def draw_test(digests: Sequence[bytes], labels: Sequence[int], seed: int) -> list[bool]:
    """Return for each image whether it is a test image.

    A digest and the seed give a number from 0 to 1, and images below 0.2 are for testing. Identical
    images are on the same side. Every class has a training image: where all numbers are below 0.2,
    the image with the greatest is for training. A class of two different images or more has a test
    image as well: where all numbers are 0.2 or more, the image with the smallest is for testing,
    unless it is in other classes, too.

    As images are added, a training image becomes a test image only if its class had one image, or
    no number of 0.2 or more, which has a probability of 0.2**n for n images.

    Args:
        digests: of the content of each image.
        labels: the class of each image.
        seed: another seed draws other test images.
    """
    numbers = {digest: _number(digest, seed) for digest in digests}
    test = {digest: number < _TEST_SHARE for digest, number in numbers.items()}
    labels_of = defaultdict(set)
    members = defaultdict(set)
    for digest, label in zip(digests, labels, strict=True):
        labels_of[digest].add(label)
        members[label].add(digest)
    classes = [sorted(members[label], key=numbers.__getitem__) for label in sorted(members)]
    for own in classes:
        if all(test[digest] for digest in own):
            test[(_only_here(own, labels_of) or own)[-1]] = False
    for own in classes:
        movable = _only_here(own, labels_of)
        if len(own) > 1 and movable and not any(test[digest] for digest in own):
            test[movable[0]] = True
    return [test[digest] for digest in digests]


def _only_here(own: Sequence[bytes], labels_of: Mapping[bytes, set[int]]) -> list[bytes]:
    """Return those images of a class that are in no other class."""
    return [digest for digest in own if len(labels_of[digest]) == 1]


def _number(digest: bytes, seed: int) -> float:
    """Return the number from 0 to 1 that an image has."""
    mixed = hashlib.sha256(b"%d:" % seed + digest).digest()
    return int.from_bytes(mixed[:8], "big") / 2**64
