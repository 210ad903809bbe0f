"""Which images of a folder are for testing: a function of the content of each file.

A file stays on its side when others are added, removed or renamed. The exception is a class whose
files would all be on one side: one of them then changes sides.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

# The share of the images that are for testing.
_TEST_SHARE = 0.2


def draw_test(digests: Sequence[bytes], labels: Sequence[int], seed: int) -> list[bool]:
    """Return for each image whether it is a test image.

    A digest and the seed give a number from 0 to 1, and images below 0.2 are for testing.
    Identical files are on the same side. If a class has two different files or more, at least one
    is on each side: where all numbers are 0.2 or more, the file with the smallest is for testing;
    where all are below, the one with the greatest is for training. A file that lies in several
    classes does not change sides for that.

    As files are added, a training image becomes a test image only if its class had no number of 0.2
    or more before, which has a probability of 0.2**n for n files.

    Args:
        digests: of the content of each file.
        labels: the class of each file.
        seed: another seed draws other test images.
    """
    numbers = {digest: _number(digest, seed) for digest in digests}
    test = {digest: number < _TEST_SHARE for digest, number in numbers.items()}
    classes = defaultdict(set)
    files = defaultdict(set)
    for digest, label in zip(digests, labels, strict=True):
        classes[digest].add(label)
        files[label].add(digest)
    for label in sorted(files):
        own = sorted(files[label], key=numbers.__getitem__)
        movable = [digest for digest in own if len(classes[digest]) == 1]
        if len(own) < 2 or not movable or len({test[digest] for digest in own}) == 2:
            continue
        if test[own[0]]:
            test[movable[-1]] = False
        else:
            test[movable[0]] = True
    return [test[digest] for digest in digests]


def _number(digest: bytes, seed: int) -> float:
    """Return the number from 0 to 1 that a file has."""
    mixed = hashlib.sha256(b"%d:" % seed + digest).digest()
    return int.from_bytes(mixed[:8], "big") / 2**64
