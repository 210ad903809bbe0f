"""Test images for a network: they must fit it, and be unlike those that it was trained on."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.data import Data, Split
from gpucnn.data.digests import MAX_KEPT, are_in, digests
from gpucnn.data.files import format_sides
from gpucnn.errors import DataError, ShapeError
from gpucnn.nn.sequential import Sequential
from gpucnn.training.batches import check_labels
from gpucnn.training.files.checkpoint import Checkpoint
from gpucnn.training.files.weight_files import seen_by


def check_fit(model: Sequential, data: Data) -> None:
    """Raise DataError or ShapeError unless a data set has the classes and image size of a model."""
    check_labels(model, data.test)
    if model.classes is not None and data.classes != model.classes:
        raise DataError(
            f"the classes of {data.name} are {', '.join(data.classes)}; those of the network are "
            f"{', '.join(model.classes)}"
        )
    if data.input_shape[1:] != model.input_shape[1:]:
        size = format_sides(model.input_shape[1:])
        raise ShapeError(
            f"the images of {data.name} are {format_sides(data.input_shape[1:])}, those of the "
            f"network {size}: for a folder of images, add --resize {size}"
        )


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
    seen, note = digests_for(saved, data)
    if seen is None:
        if note:
            print(f"note: {note}", file=sys.stderr)
        return data.test
    known = are_in(digests(data.test), seen)
    if known.any() and not skip:
        effect = "error would be too low" if data.is_regression else "accuracy would be too high"
        raise DataError(
            f"{_found(known, data)} (the first is test image {known.argmax()}), so its {effect}: "
            "give other test data with --data, or leave them out with --skip-trained"
        )
    test, note = without_trained(seen, data)
    if note:
        print(f"note: {note}", file=sys.stderr)
    return test


def without_trained(seen: NDArray[Any], data: Data) -> tuple[Split, str]:
    """Return the test images that a network was not trained on, and a note if there are others.

    ``seen`` are the digests of its images. Raises DataError if no images are left, or if others
    than those that were found may be among them.
    """
    known = are_in(digests(data.test), seen)
    if not known.any():
        return data.test, ""
    found = _found(known, data)
    if known.all():
        raise DataError(f"{found}: none is left for the evaluation, give other test data")
    if len(seen) >= MAX_KEPT:
        raise DataError(
            f"{found}, but a run keeps digests of {MAX_KEPT:,} images only: --skip-trained cannot"
            " find the others, give other test data"
        )
    return data.test.subset(~known), f"{found}; they are left out"


def digests_for(saved: Checkpoint, data: Data) -> tuple[NDArray[Any] | None, str]:
    """Return the digests of a network's images, to compare those of ``data`` with, and a note.

    The digests are None if there is nothing to compare with: the network was trained on these data,
    or none are recorded. If its run records none, the note warns that test images may be among
    those that it was trained on. Otherwise the note is "".
    """
    trained_on = saved.metadata.get("data")
    if "seen" not in saved.arrays and trained_on and trained_on["builtin"] and data.builtin:
        return None, ""
    seen = seen_by(saved)
    if seen is not None or not trained_on or trained_on["fingerprint"] == data.fingerprint():
        return seen, ""
    version = saved.metadata.get("gpucnn", "0.2")
    return None, (
        f"the run does not record its training images (it is of gpucnn {version}), so test images"
        f" of {data.name} may be among them"
    )


def _found(known: NDArray[np.bool_], data: Data) -> str:
    return (
        f"{int(known.sum()):,} of {len(known):,} test images of {data.name} were used in training"
        " the network"
    )
