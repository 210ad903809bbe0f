"""Data sets in one .npz file, with the names that Keras, MedMNIST and others give to arrays."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from gpucnn.data.arrays.build import Roles, build, find_roles
from gpucnn.data.arrays.parts import EAGER, Lazy
from gpucnn.data.arrays.pixels import AnyArray
from gpucnn.data.arrays.source import Source, listed, npz_source
from gpucnn.data.arrays.targets import AUTO, Labelling
from gpucnn.data.dataset import Data
from gpucnn.data.files import open_file, unreadable
from gpucnn.data.formats.archive import Archive, open_npz
from gpucnn.errors import DataError

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_UNNAMED = re.compile(r"arr_\d+")


def read_npz(path: Path | str, chosen: Labelling = AUTO, lazy: Lazy = EAGER) -> Data:
    """Read an .npz file as numpy.savez or numpy.savez_compressed writes it.

    The arrays are x_train, y_train, x_test and y_test, or have names of the same meaning, such as
    X_train, train_images or test_labels; x_val and y_val, if they are there, are for validation.
    Without test arrays, or if there are only x and y, a fifth of the images is held out for
    testing. Arrays saved without names, arr_0 and so on, are recognised by their shapes.
    ``build`` describes what they may contain.

    Args:
        path: the file.
        chosen: what the user says about the labels.
        lazy: whether images are read when they are needed.

    Returns:
        Data named after the file; its classes are the names that the labels are, or "0" up to the
        greatest training label. Labels that are floats with fractions, or that ``chosen`` says are
        numbers to predict, make a data set for regression.

    Raises:
        DataError: an unreadable or damaged file; a missing key; arrays that are not images or
            labels for certain; pickled objects, which are never loaded.
    """
    path = Path(path)
    source = npz_source(path)
    source.on_progress = lazy.on_progress
    try:
        with open_file(path) as file, open_npz(path, file) as archive:
            _refuse_weights(path, archive.keys)
            if archive.keys and all(map(_UNNAMED.fullmatch, archive.keys)):
                names = sorted(archive.keys, key=lambda key: int(key[4:]))
                arrays = _arrays(archive, names, lazy)
                roles = _roles_by_shape(source, arrays)
            else:
                roles = _roles_by_name(source, archive.keys)
                arrays = _arrays(archive, roles.values(), lazy)
    except OSError as error:
        raise unreadable(path, error) from None
    return build(source, path.stem, arrays, roles, chosen=chosen)


def _arrays(archive: Archive, names: Iterable[str], lazy: Lazy) -> dict[str, AnyArray]:
    """Return arrays by their names; if ``lazy``, those that can are read in parts."""
    parts = {name: archive.lazy(name) if lazy.wanted else None for name in names}
    read = archive.read([name for name, array in parts.items() if array is None])
    return {name: read[name] if array is None else array for name, array in parts.items()}


def _refuse_weights(path: Path, keys: list[str]) -> None:
    """Raise DataError if the file holds a network and no images."""
    if "metadata" in keys:
        raise DataError(
            f"{path} is a checkpoint of gpucnn, a network and not a data set: give images as data,"
            f" and the network as in gpucnn evaluate {path} --data DATA"
        )
    named = [key for key in keys if key.endswith((".weight", ".bias"))]
    if named:
        raise DataError(
            f"{path} holds the weights of a network ({named[0]}, ...), not a data set: expected"
            f" the arrays {', '.join(_KEYS)}"
        )


def _roles_by_name(source: Source, keys: list[str]) -> Roles:
    """Return what the arrays are for; DataError if a part lacks its images or its labels."""
    roles = find_roles(keys)
    parts = {part for part, _ in roles}
    whole = all((part, kind) in roles for part in parts for kind in ("images", "labels"))
    if whole and (parts == {""} or ("train" in parts and "" not in parts)):
        names = [name for name in roles.values() if name not in (*_KEYS, "x_val", "y_val")]
        if names:
            source.remark(_explained(roles))
        return roles
    found = ", ".join(sorted(keys)) or "(none)"
    raise DataError(
        f"{source.path} has the keys {found}: expected {', '.join(_KEYS)}{_hint(source, keys)}"
    )


def _hint(source: Source, keys: list[str]) -> str:
    """Return the end of an error: the line that renames four arrays."""
    if len(keys) != len(_KEYS) or set(keys) & set(_KEYS):
        return ""
    line = source.renaming(dict(zip(_KEYS, keys, strict=True)))
    return f". If they are these, in this order, run: {line}"


def _explained(roles: Roles) -> str:
    """Return what the arrays are taken for: ``X and Y for training, ...``."""
    uses = {"": "as images and labels", "train": "for training", "val": "for validation"}
    uses["test"] = "for testing"
    return ", ".join(
        f"{roles[part, 'images']} and {roles[part, 'labels']} {use}"
        for part, use in uses.items()
        if (part, "images") in roles
    )


def _roles_by_shape(source: Source, arrays: Mapping[str, AnyArray]) -> Roles:
    """Return what arrays without names are for: images have more values per item than labels."""
    sizes = {
        name: array.size // max(len(array) if array.ndim else 1, 1)
        for name, array in arrays.items()
    }
    half = len(arrays) // 2
    middle = sorted(sizes.values(), reverse=True)[half - 1] if half else 0
    images = [name for name in arrays if sizes[name] >= middle]
    labels = [name for name in arrays if sizes[name] < middle]
    parts = {1: ("",), 2: ("train", "test"), 3: ("train", "val", "test")}.get(half, ())
    lengths = [len(arrays[name]) if arrays[name].ndim else 0 for name in (*images, *labels)]
    fits = len(images) == len(labels) == len(parts) and lengths[:half] == lengths[half:]
    if not fits or lengths[0] < max(lengths):
        shapes = listed(f"{name} {array.shape}" for name, array in arrays.items())
        raise source.error(
            f"the shapes of {shapes} do not show what they are: expected the names"
            f" {', '.join(_KEYS)}{_hint(source, list(arrays))}"
        )
    roles = {(part, "images"): name for part, name in zip(parts, images, strict=True)}
    roles |= {(part, "labels"): name for part, name in zip(parts, labels, strict=True)}
    source.remark(_explained(roles))
    return roles
