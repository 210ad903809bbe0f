"""Labels in the usual forms, numbers, names or one-hot rows, as integers (N,)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gpucnn.data.arrays.source import Source
from gpucnn.data.names import normalize_name
from gpucnn.data.types import Array

# A label of more digits is a name.
_MAX_DIGITS = 9


class Numbered(NamedTuple):
    """Labels (N,) of any integer dtype by name; the class names, if known; the least number."""

    labels: dict[str, Array]
    classes: tuple[str, ...] | None
    min_classes: int


def to_labels(
    arrays: Mapping[str, Array], source: Source, classes: Sequence[str] | None = None
) -> Numbered:
    """Convert the labels of all splits; the first is the training split.

    Args:
        arrays: by their names, labels of shape (N,) or (N, 1), integers, floats without a
            fraction, booleans or names, or one-hot rows of shape (N, classes).
        source: where they come from; remarks are added to it.
        classes: the names of the classes in the order of their numbers, if they are known.

    Raises:
        DataError: anything else, or a name that is not among the training labels.
    """
    flat = {name: _flat(name, arrays, source) for name in arrays}
    if any(array.dtype.kind in "US" for array in flat.values()):
        return _from_names(flat, classes, source)
    widths = [array.shape[1] for array in arrays.values() if array.ndim == 2]
    numbers = {name: _integers(name, array, source) for name, array in flat.items()}
    return Numbered(numbers, None, max(widths, default=1))


def _flat(name: str, arrays: Mapping[str, Array], source: Source) -> Array:
    """Return labels as (N,)."""
    array = arrays[name]
    if array.dtype.kind not in "buifUS":
        raise source.error(
            f"{name} is {array.dtype}, expected class numbers, names or one-hot rows"
        )
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim == 2 and array.dtype.kind in "buif" and array.shape[1]:
        return _from_one_hot(name, arrays, source)
    if array.ndim != 1:
        raise source.error(
            f"{name} has shape {array.shape}, expected (N,), (N, 1) or one-hot rows (N, classes)"
        )
    return array


def _from_one_hot(name: str, arrays: Mapping[str, Array], source: Source) -> Array:
    """Return the class of each one-hot row; DataError where a row has not exactly one 1."""
    rows = arrays[name]
    is_binary = bool(((rows == 0) | (rows == 1)).all())
    if is_binary and bool(((rows == 1).sum(1) == 1).all()):
        source.remark("labels are one-hot rows")
        numbers: Array = rows.argmax(1)
        return numbers
    if is_binary:
        row = int(((rows == 1).sum(1) != 1).argmax())
        raise source.error(
            f"row {row} of {name} has {int(rows[row].sum())} classes: expected one-hot rows, with"
            " one class for each image (several labels for an image are not supported)"
        )
    alike = [key for key, other in arrays.items() if other.shape[1:] == rows.shape[1:]]
    one, most = (source.converting(alike, code) for code in ("x[:, 0]", "x.argmax(1)"))
    raise source.error(
        f"{name} has shape {rows.shape}, but its rows are not one-hot; numbers to predict need"
        " --regression (regression=True). If the first column holds"
        f" the labels, run: {one} -- if they are probabilities, run: {most}"
    )


def _integers(name: str, array: Array, source: Source) -> Array:
    """Return numeric labels as integers."""
    if array.dtype.kind == "b":
        return array.astype(np.int64)
    if array.dtype.kind != "f":
        return array
    array = array.astype(np.float64)  # float16 does not hold the limit
    whole = np.isfinite(array) & (array == np.rint(array)) & (np.abs(array) < 2**53)
    if not whole.all():
        index = int((~whole).argmax())
        hint = " (numbers to predict: add --regression, or regression=True)"
        raise source.error(
            f"{name}[{index}] is {array[index]:.6g}, expected a class number"
            f"{hint if np.isfinite(array[index]) else ''}"
        )
    return array.astype(np.int64)


def _from_names(
    arrays: Mapping[str, Array], classes: Sequence[str] | None, source: Source
) -> Numbered:
    """Return the labels that are names as numbers: in numeric order if all are numbers."""
    texts = {name: _texts(name, array, source) for name, array in arrays.items()}
    first = next(iter(texts))
    known = list(classes) if classes else sorted(set(texts[first][0]))
    are_numbers = not classes and all(map(_is_number, known))
    if are_numbers and source.typed:  # in a table everything is text
        source.remark("labels are numbers stored as text")
    if not are_numbers:
        hint = " (if they are numbers to predict, add --regression)" if _are_floats(known) else ""
        source.remark(f"labels are the names of {len(known)} classes{hint}")
    numbers = {normalize_name(name): number for number, name in enumerate(known)}
    labels = {}
    for name, (words, index) in texts.items():
        if are_numbers:
            numbers |= {word: int(float(word)) for word in words if _is_number(word)}
        for position, word in enumerate(words):
            if word not in numbers:
                where = int((index == position).argmax())
                among = "classes" if classes else f"labels of {first}"
                hint = ": numbers to predict need --regression" if _are_floats([word]) else ""
                raise source.error(
                    f"{name}[{where}] is {word!r}, which is not among the {among}{hint}"
                )
        labels[name] = np.array([numbers[word] for word in words], np.int64)[index]
    return Numbered(labels, None, 1) if are_numbers else Numbered(labels, tuple(known), len(known))


def _is_number(text: str) -> bool:
    """Return whether text is a class number such as 3, or 3.0 as pandas writes integer floats."""
    digits = re.sub(r"\.0*$", "", text)
    return digits.isascii() and digits.isdecimal() and len(digits) <= _MAX_DIGITS


def _are_floats(words: Sequence[str]) -> bool:
    """Return whether all words are numbers, at least one of them no class number."""
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return False
    return all(map(math.isfinite, numbers)) and not all(map(_is_number, words))


def _texts(name: str, array: Array, source: Source) -> tuple[list[str], Array]:
    """Return the different labels as normalised text, and for each label its index among them."""
    values, index = np.unique(array, return_inverse=True)
    try:
        words = [v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist()]
    except UnicodeDecodeError:
        raise source.error(f"{name} holds bytes that are not UTF-8") from None
    words = [normalize_name(word.strip()) for word in words]
    if "" in words:
        where = int((index == words.index("")).argmax())
        raise source.error(f"{name}[{where}] is empty, expected the name of a class")
    return words, index
