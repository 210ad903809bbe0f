"""Test images that a network was trained on: ``gpucnn evaluate`` refuses or leaves them out."""

from __future__ import annotations

import sys

import numpy as np

from gpucnn.data import Data, Split
from gpucnn.data.digests import MAX_KEPT, digests
from gpucnn.errors import DataError
from gpucnn.training.checkpoint import Checkpoint
from gpucnn.training.model_files import seen_by


def unseen_test_images(saved: Checkpoint, data: Data, skip: bool) -> Split:
    """Return the test images, none of which the network was trained on or selected by.

    Args:
        saved: the network; a run keeps digests of its training and validation images.
        data: the data set whose test images are wanted.
        skip: whether to leave out the images that the network was trained on.

    Raises:
        DataError: test images are among those of the run and ``skip`` is not set, or no others
            are left.
    """
    trained_on = saved.metadata.get("data")
    if "seen" not in saved.arrays and trained_on and trained_on["builtin"] and data.builtin:
        return data.test
    seen = seen_by(saved)
    if seen is None:
        if trained_on and trained_on["fingerprint"] != data.fingerprint():
            print(
                f"note: the run does not record its training images (it is of gpucnn"
                f" {saved.metadata.get('gpucnn', '0.2')}), so test images of {data.name} may be"
                " among them",
                file=sys.stderr,
            )
        return data.test
    known = np.isin(digests(data.test), seen)
    count, total = int(known.sum()), len(known)
    if not count:
        return data.test
    found = f"{count:,} of {total:,} test images of {data.name} were used in training the network"
    if not skip:
        raise DataError(
            f"{found} (the first is test image {known.argmax()}), so its accuracy would be too"
            " high: give other test data with --data, or leave them out with --skip-trained"
        )
    if count == total:
        raise DataError(f"{found}: none is left for the evaluation, give other test data")
    if len(seen) >= MAX_KEPT:
        raise DataError(
            f"{found}, but a run keeps digests of {MAX_KEPT:,} images only: --skip-trained cannot"
            " find the others, give other test data"
        )
    print(f"note: {found}; they are left out", file=sys.stderr)
    return Split(data.test.images[~known], data.test.labels[~known])
