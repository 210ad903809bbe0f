"""Data sets whose files hold transposed images: EMNIST, and digits that were copied from it.

EMNIST's files store each image column by column, so rows and columns are exchanged when they are
read as MNIST's are. Its classes are characters, and the labels of its letters start at 1.

Source: Cohen, Afshar, Tapson, van Schaik, "EMNIST: an extension of MNIST to handwritten letters",
arXiv:1702.05373 (2017).
"""

from __future__ import annotations

import re
from dataclasses import replace
from string import ascii_lowercase, ascii_uppercase, digits

import numpy as np

from gpucnn.data.dataset import Data
from gpucnn.data.lazy import turned
from gpucnn.data.preparation import has_black_borders, lies_transposed
from gpucnn.data.split import Split

_EMNIST = re.compile(r"(?<![a-z])emnist", re.IGNORECASE)
_MERGED = digits + ascii_uppercase + "abdefghnqrt"
# The characters of each set, in the order of their labels, by a word in its name.
_CHARACTERS = {
    "byclass": digits + ascii_uppercase + ascii_lowercase,
    "bymerge": _MERGED,
    "balanced": _MERGED,
    "letters": ascii_uppercase,
}
_SIZE = (28, 28)


def upright(data: Data, transpose: bool | None) -> Data:
    """Return a data set with upright images, and with EMNIST's characters as class names.

    Args:
        data: as it was read from its files.
        transpose: whether to exchange rows and columns. None: if the content shows that digits lie
            transposed or, where that cannot be decided, if the name is EMNIST's. False: labels and
            class names stay as they are, too.
    """
    if transpose is False:
        return data
    named = bool(_EMNIST.search(data.name)) and data.size == _SIZE and not data.is_regression
    reason = ""
    if transpose is None:
        found = lies_transposed(data)
        transpose = named if found is None else found
        reason = "like EMNIST's: " if named else "as the mean images of the digits show: "
    if named:
        data = _with_characters(data)
        if has_black_borders(data):  # letters, too, were prepared as MNIST's digits
            data = replace(data, preparation="digit")
    if not transpose:
        return data
    note = (
        f"the images of {data.name} are stored transposed, {reason}rows and columns were exchanged"
    )
    note += " (--transpose no, or transpose=False, reads them as they are stored)" if reason else ""
    train, test = _turned(data.train), _turned(data.test)
    validation = data.validation and _turned(data.validation)
    notes = (*data.notes, note)
    return replace(
        data, train=train, test=test, validation=validation, notes=notes, transposed=True
    )


def _turned(split: Split) -> Split:
    return Split(turned(split.images), split.labels)


def _with_characters(data: Data) -> Data:
    """Return EMNIST's data with characters as class names; of letters with labels from 0."""
    word = next((word for word in _CHARACTERS if word in data.name.lower()), None)
    if word is None:
        return data
    characters = tuple(_CHARACTERS[word])
    if word != "letters":
        return data if len(data.classes) > len(characters) else replace(data, classes=characters)
    parts = [part for part in (data.train, data.test, data.validation) if part is not None]
    labels = np.concatenate([part.labels for part in parts])
    if labels.min() < 1 or labels.max() > len(characters):
        return data
    train, test, *rest = (Split(part.images, part.labels - 1) for part in parts)
    validation = rest[0] if rest else None
    note = f"the labels 1 to 26 of {data.name} are the letters A to Z: read as classes 0 to 25"
    notes = (*data.notes, note)
    return replace(
        data, train=train, test=test, validation=validation, classes=characters, notes=notes
    )
