"""Data sets from arrays, whatever their dtype and layout: of Python, an .npz file or a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from gpucnn.data.arrays.labels import to_labels
from gpucnn.data.arrays.parts import LazyArray
from gpucnn.data.arrays.pixels import AnyArray, to_images
from gpucnn.data.arrays.source import Source
from gpucnn.data.arrays.targets import AUTO, Labelling, are_targets, to_targets
from gpucnn.data.assembly import assemble
from gpucnn.data.dataset import Data
from gpucnn.data.digests import Digests
from gpucnn.data.lazy import Images, LazyImages, chunks, image_digests
from gpucnn.data.lazy import part as part_of
from gpucnn.data.names import normalize_name
from gpucnn.data.sides import draw_test
from gpucnn.data.split import Split
from gpucnn.data.types import Array
from gpucnn.errors import DataError

_KINDS = {
    "images": "x|images?|imgs?|pixels?|data|features?|inputs?|samples?",
    "labels": "y|labels?|lbls?|targets?",
}
_PARTS = {
    "train": "training|train|tr",
    "val": "validation|valid|val|dev",
    "test": "testing|test|te",
}
_NAME = re.compile(
    r"(?:{parts})?(?:{kinds})(?:{last})?".format(
        parts="|".join(f"(?P<{part}>{words})" for part, words in _PARTS.items()),
        kinds="|".join(f"(?P<{kind}>{words})" for kind, words in _KINDS.items()),
        last="|".join(f"(?P<{part}_>{words})" for part, words in _PARTS.items()),
    )
)

Roles = dict[tuple[str, str], str]
"""The name of the array by (part, kind): "train", "val", "test" or "", "images" or "labels"."""


def find_roles(names: Iterable[str]) -> Roles:
    """Return what arrays are for, by their names: x_train, trainY, test_images, labels, ...

    Names that mean nothing are left out; of two names for the same role neither is returned.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for name in names:
        match = _NAME.fullmatch(re.sub(r"[^a-z]", "", name.lower()))
        if match and not re.search(r"\d", name):
            groups = [key.rstrip("_") for key, text in match.groupdict().items() if text]
            parts = [group for group in groups if group in _PARTS]
            kind = next(group for group in groups if group in _KINDS)
            if len(parts) <= 1:
                found.setdefault(("".join(parts), kind), []).append(name)
    return {role: names[0] for role, names in found.items() if len(names) == 1}


def build(
    source: Source,
    name: str,
    arrays: Mapping[str, AnyArray],
    roles: Roles,
    classes: Sequence[str] | None = None,
    chosen: Labelling = AUTO,
) -> Data:
    """Build a data set of the arrays that have a role.

    Args:
        source: where they come from.
        name: the name of the data set.
        arrays: by their names, as ``pixels.to_images`` and ``labels.to_labels`` take them; those
            of images may be lazy.
        roles: as ``find_roles`` returns them, images and labels of each part that is there.
            Without a test part, a fifth of the images, chosen by their content, is held out.
        classes: the names of the classes in the order of their numbers, if they are known.
        chosen: what the user says about the labels.

    Raises:
        DataError: arrays that cannot be understood for certain, or that do not belong together.
    """
    parts = [part for part in ("", "train", "val", "test") if (part, "images") in roles]
    for part in parts:
        x, y = roles[part, "images"], roles[part, "labels"]
        _check_lengths(source, (x, arrays[x]), (y, arrays[y]))
    images = to_images({key: arrays[key] for key in _of("images", parts, roles)}, source)
    labelled = {key: _in_memory(arrays[key]) for key in _of("labels", parts, roles)}
    pairs = {part or "train": (roles[part, "images"], roles[part, "labels"]) for part in parts}
    return build_of(source, name, pairs, images, labelled, classes, chosen)


def build_of(
    source: Source,
    name: str,
    pairs: Mapping[str, tuple[str, str]],
    images: Mapping[str, Images],
    labelled: Mapping[str, Array],
    classes: Sequence[str] | None = None,
    chosen: Labelling = AUTO,
) -> Data:
    """Build a data set of images that are uint8 (N, C, H, W) already; see ``build``.

    ``pairs`` are the names of the images and the labels of "train", and perhaps "test" and "val".
    """
    if not classes and are_targets(labelled, chosen):
        if chosen.regression is None:
            source.remark("labels are floats with fractions, so they are numbers to predict")
        targets = to_targets(labelled, source)
        numbers = {part: (images[x], targets[y]) for part, (x, y) in pairs.items()}
        return _of_numbers(source, name, numbers, chosen.targets or ())
    numbered = to_labels(labelled, source, classes)
    splits = {part: (images[x], numbered.labels[y]) for part, (x, y) in pairs.items()}
    if "test" not in splits:
        splits |= _held_out(source, *splits["train"])
    least = max(numbered.min_classes, len(classes or ()))
    data = assemble(source.path or name, name, splits["train"], splits["test"], least)
    try:
        if names := classes or numbered.classes:
            data = replace(data, classes=_checked(names, len(data.classes)))
        if "val" in splits:
            pixels, labels = splits["val"]
            source.remark(f"{pairs['val'][0]} is used for validation")
            data = replace(data, validation=Split(pixels, labels.astype(np.int64)))
    except DataError as error:
        raise source.error(str(error)) from None
    return replace(data, notes=source.notes(name))


def _of_numbers(
    source: Source, name: str, splits: dict[str, tuple[Images, Array]], names: tuple[str, ...]
) -> Data:
    """Return a data set for regression; ``names`` are those of the targets, () for the default."""
    if "test" not in splits:
        splits |= _held_out(source, *splits["train"])
    try:
        made = {part: Split(*pair) for part, pair in splits.items()}
        train, test, validation = made["train"], made["test"], made.get("val")
        data = Data(train, test, (), name, validation=validation, targets=names)
    except DataError as error:
        raise source.error(str(error)) from None
    return replace(data, notes=source.notes(name))


def _checked(names: Sequence[str], count: int) -> tuple[str, ...]:
    """Return the names of the classes; DataError if there are too few or one is there twice."""
    if len(names) < count:
        raise DataError(f"classes has {len(names)} names, but there are labels up to {count - 1}")
    composed = [normalize_name(str(name)) for name in names]
    twice = sorted(name for name, times in Counter(composed).items() if times > 1)
    if twice:
        raise DataError(f"classes has the name {twice[0]!r} more than once")
    return tuple(composed)


def _of(kind: str, parts: Iterable[str], roles: Roles) -> list[str]:
    """Return the names of the arrays of one kind, of the training split first."""
    return [roles[part, kind] for part in parts]


def _in_memory(array: AnyArray) -> Array:
    """Return an array; one that is lazy is read."""
    return np.concatenate(list(array.parts())) if isinstance(array, LazyArray) else array


def _check_lengths(
    source: Source, images: tuple[str, AnyArray], labels: tuple[str, AnyArray]
) -> None:
    """Raise DataError unless there is a label for each image."""
    for name, array in (images, labels):
        if array.ndim == 0 or 0 in array.shape:
            raise source.error(f"{name} has shape {array.shape}, dtype {array.dtype}: it is empty")
    (x, pixels), (y, numbers) = images, labels
    if len(pixels) == len(numbers):
        return
    hint = ""
    if pixels.ndim in (3, 4) and pixels.shape[-1] == len(numbers):
        order = ", ".join(map(str, (pixels.ndim - 1, *range(pixels.ndim - 1))))
        line = source.converting([x], f"x.transpose({order})")
        hint = f". If the last axis of {x} counts the images, run: {line}"
    raise source.error(
        f"{x} holds {len(pixels)} images but {y} {len(numbers)} labels: expected one label for"
        f" each image{hint}"
    )


def _held_out(source: Source, images: Images, labels: Array) -> dict[str, tuple[Images, Array]]:
    """Return a training and a test part, drawn by the pixels of each image."""
    found: list[Digests] = []
    for chunk in chunks(images):
        found.append(image_digests(np.ascontiguousarray(chunk)))
        if isinstance(images, LazyImages):
            source.progress(sum(map(len, found)), len(images))
    contents = np.concatenate(found).astype(">u8").view("V8")
    classes = np.zeros(len(labels), np.int64) if labels.dtype.kind == "f" else labels
    held = np.array(draw_test(contents, classes, seed=0))
    if not held.any():
        raise source.error(
            f"there are no test images, and {len(held)} images are too few to hold some out: add"
            " images, or arrays x_test and y_test"
        )
    source.remark(
        f"there are no test images with labels, so {held.sum():,} of {len(held):,} images, chosen"
        " by their pixels, are held out for testing"
    )
    return {
        "train": (part_of(images, ~held), labels[~held]),
        "test": (part_of(images, held), labels[held]),
    }


def as_array(name: str, values: object) -> Array:
    """Return an array of numbers or of text; objects become what they hold.

    Raises:
        DataError: a ragged list, or objects that are neither numbers nor text.
    """
    try:
        array: Array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{name} is not an array: {str(error).partition(chr(10))[0]}") from None
    if array.dtype.kind != "O":
        return array
    items = array.ravel().tolist()
    for kinds, dtype in ((str, np.str_), ((int, np.integer), np.int64), ((float, int), np.float64)):
        if all(isinstance(item, kinds) for item in items):
            return np.array(items, dtype).reshape(array.shape)
    raise DataError(
        f"{name} holds objects of type {type(items[0]).__name__}, expected numbers or text"
    )
