"""How alike two images of digits are."""

import itertools

import numpy as np


def likeness(one, other):
    """Return the intersection over union of two digits, shifted by up to a pixel to fit best."""
    both = [
        (np.roll(one, shift, (0, 1)).astype(float), other.astype(float))
        for shift in itertools.product((-1, 0, 1), repeat=2)
    ]
    return max(np.minimum(*pair).sum() / np.maximum(*pair).sum() for pair in both)
