"""Digests of images: whether two splits share an image, and what a network was trained on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpucnn.data.dataset import Data
from gpucnn.data.lazy import LazyImages, image_digests
from gpucnn.data.split import Split

Digests = npt.NDArray[np.uint64]

MAX_KEPT = 1 << 17
"""A run keeps the digests of at most so many images, 1 MiB."""

_PART = 1 << 20  # digests that are sorted at a time
_NAMED = 5  # names of classes in a remark


def digests(split: Split) -> Digests:
    """Return a 64-bit digest (BLAKE2b) of the pixels of each image, uint64 (N,)."""
    kept = split.images.digests() if isinstance(split.images, LazyImages) else None
    if kept is not None:
        return kept
    return np.concatenate([image_digests(images) for images in split.chunks()])


def seen_digests(data: Data, earlier: Digests | None = None) -> Digests:
    """Return what a run keeps of the images that it trains on or selects an epoch by.

    ``earlier`` are the digests of a network that was trained before.

    Of more than ``MAX_KEPT`` images it keeps those with the smallest digests: a random sample that
    depends on nothing but the images, so that a later test set that shares many images with them
    is still found.

    Returns:
        Digests in increasing order, uint64 (at most MAX_KEPT,).
    """
    seen = np.empty(0, np.uint64)
    if earlier is not None:
        seen = _smallest(seen, earlier)
    for split in (data.train, data.validation):
        if split is not None:
            seen = _smallest(seen, digests(split))
    return seen


def _smallest(seen: Digests, more: Digests) -> Digests:
    """Return the MAX_KEPT smallest of ``seen``, which are in increasing order, and others."""
    for start in range(0, len(more), _PART):
        part = more[start : start + _PART]
        if len(seen) == MAX_KEPT:  # few of many millions are left
            part = part[part < seen[-1]]
        both = np.sort(np.concatenate([seen, part]))
        seen = both[np.diff(both, prepend=~both[:1]) != 0][:MAX_KEPT]
    return seen


def are_in(found: Digests, known: Digests) -> npt.NDArray[np.bool_]:
    """Return which of some digests are among those that are ``known``, (N,)."""
    order = np.argsort(found)
    ordered, hits = found[order], np.zeros(len(found), np.bool_)
    # Looked up in the found ones, which are usually far fewer, in parts.
    for start in range(0, len(known) if len(found) else 0, _PART):
        part = known[start : start + _PART]
        places = np.minimum(np.searchsorted(ordered, part), len(ordered) - 1)
        hits[places[ordered[places] == part]] = True  # the first of equal ones
    result = np.empty_like(hits)
    result[order] = hits[np.searchsorted(ordered, ordered)]
    return result


def remarks(data: Data) -> tuple[str, ...]:
    """Return what should be known before a network is trained on the data, one line each."""
    shared = [] if data.builtin else _shared(data)  # none of its test images is a training image
    if data.is_regression:
        return (*_constant_targets(data), *shared)
    return (*_one_class(data), *_empty_classes(data), *shared)


def _constant_targets(data: Data) -> tuple[str, ...]:
    """Return a line for each target that is the same for all training images."""
    low, high = data.train.targets.min(0), data.train.targets.max(0)
    return tuple(
        f"{name!r} is {low[k]:g} for every training image: there is nothing to learn"
        for k, name in enumerate(data.targets)
        if low[k] == high[k]
    )


def _empty_classes(data: Data) -> tuple[str, ...]:
    """Return a line if the labels count from 1 or leave out other numbers."""
    used = np.unique(data.train.labels)
    empty = [repr(name) for k, name in enumerate(data.classes) if k not in used]
    if not empty or len(used) == 1:  # see _one_class
        return ()
    named = ", ".join(empty[:_NAMED]) + (", ..." if len(empty) > _NAMED else "")
    hint = " (if the labels count from 1, subtract 1 from all)" if empty == ["'0'"] else ""
    return (f"{len(empty)} of {len(data.classes)} classes have no training images: {named}{hint}",)


def _one_class(data: Data) -> tuple[str, ...]:
    """Return a line if all training images are of one class."""
    classes = np.unique(data.train.labels)
    if len(classes) > 1:
        return ()
    return (
        f"every training image is of class {data.classes[classes[0]]!r}: a network needs images of"
        " two or more classes to learn from (with a limit, raise it or shuffle the images)",
    )


def _shared(data: Data) -> list[str]:
    """Return a line for each two splits that have images in common."""
    splits = {"training": data.train, "validation": data.validation, "test": data.test}
    found = {name: digests(split) for name, split in splits.items() if split is not None}
    notes = []
    effect = "error will be too low" if data.is_regression else "accuracy will be too high"
    for one, other in (("training", "test"), ("validation", "test"), ("training", "validation")):
        if one in found and other in found:
            both = are_in(found[other], found[one])
            if both.any():
                notes.append(
                    f"{both.sum()} of {len(both)} {other} images are also {one} images (the first"
                    f" is {other} image {both.argmax()}): the {other} {effect};"
                    f" remove them from one of the two"
                )
    return notes
