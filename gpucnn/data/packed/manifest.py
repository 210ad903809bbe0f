"""dataset.json of a packed data set: its shapes, names, figures and files.

{"name": ..., "shape": [C, H, W], "dtype": "uint8", "classes": [...], "targets": [...],
 "preparation": ..., "transposed": ..., "notes": [...], "source": {...},
 "splits": {"train": {"images": [FILE, ...], "labels": FILE, "digests": FILE, "labels_sha256": ...,
            "fingerprint": ..., "mean": [...], "std": [...]}, "test": ..., "validation": ...}}

FILE is {"file": ..., "count": ..., "bytes": ..., "sha256": ...}.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpucnn.data.files import open_file, unreadable
from gpucnn.data.lazy import Recorded
from gpucnn.data.packed.arrays import Entry
from gpucnn.errors import DataError

FILE_NAME = "dataset.json"
STATE_NAME = ".packing.json"
"""What has been packed, until dataset.json is written."""

PARTS = ("train", "test", "validation")
_FORMAT = 1
_MOST_BYTES = 1 << 28


def shard_name(part: str, index: int) -> str:
    """Return the name of a file of images, by the number that it has in its split."""
    return f"{part}-images-{index:05}.npy"


@dataclass(frozen=True)
class PackedSplit:
    """The files of a split, and what they record."""

    images: list[Entry]
    labels: Entry
    digests: Entry
    recorded: Recorded

    def entries(self) -> list[Entry]:
        """Return all files."""
        return [*self.images, self.labels, self.digests]


@dataclass(frozen=True)
class Manifest:
    """A packed data set: the fields are those of dataset.json, and of ``Data``."""

    name: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    targets: tuple[str, ...]
    preparation: str
    transposed: bool
    notes: tuple[str, ...]
    source: dict[str, Any]
    splits: dict[str, PackedSplit]

    def to_json(self) -> dict[str, Any]:
        """Return the content of dataset.json."""
        return {
            "format": _FORMAT,
            "name": self.name,
            "shape": self.shape,
            "dtype": "uint8",
            "classes": self.classes,
            "targets": self.targets,
            "preparation": self.preparation,
            "transposed": self.transposed,
            "notes": self.notes,
            "source": self.source,
            "splits": {name: _split_to_json(split) for name, split in self.splits.items()},
        }


def read_manifest(folder: Path) -> Manifest:
    """Read dataset.json; DataError if it is not there, damaged or of another format."""
    path = folder / FILE_NAME
    values = read_json(path)
    if values.get("format") != _FORMAT:
        raise DataError(
            f"{path} is of format {values.get('format')!r}, expected {_FORMAT}: pack the data set"
            " again with this version of gpucnn"
        )
    try:
        return _manifest(values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{path} is damaged: {what}; pack the data set again") from None


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; DataError if it cannot be read or is damaged."""
    try:
        with open_file(path) as file:
            values = json.loads(file.read(_MOST_BYTES))
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {error}") from None
    if not isinstance(values, dict):
        raise DataError(f"{path} is damaged: expected an object, got {type(values).__name__}")
    return values


def _manifest(values: dict[str, Any]) -> Manifest:
    channels, height, width = (_integer(side, 1) for side in values["shape"])
    splits = {name: _split(values["splits"][name]) for name in PARTS if name in values["splits"]}
    if not {"train", "test"}.issubset(splits):
        raise ValueError("expected the splits train and test")
    if values["dtype"] != "uint8":
        raise ValueError(f"dtype is {values['dtype']!r}, expected 'uint8'")
    for split in splits.values():
        count = split.labels.count
        if (sum(entry.count for entry in split.images), split.digests.count) != (count, count):
            raise ValueError("the numbers of images, labels and digests differ")
        if (len(split.recorded.mean), len(split.recorded.std)) != (channels, channels):
            raise ValueError(f"expected mean and std of {channels} channels")
    return Manifest(
        _text(values["name"]),
        (channels, height, width),
        tuple(map(_text, values["classes"])),
        tuple(map(_text, values["targets"])),
        _text(values["preparation"]),
        bool(values["transposed"]),
        tuple(map(_text, values["notes"])),
        dict(values["source"]),
        splits,
    )


def _split(values: dict[str, Any]) -> PackedSplit:
    recorded = Recorded(
        _text(values["labels_sha256"]),
        _text(values["fingerprint"]),
        tuple(map(float, values["mean"])),
        tuple(map(float, values["std"])),
    )
    images = [entry_of(file) for file in values["images"]]
    return PackedSplit(images, entry_of(values["labels"]), entry_of(values["digests"]), recorded)


def _split_to_json(split: PackedSplit) -> dict[str, Any]:
    return {
        "images": [asdict(entry) for entry in split.images],
        "labels": asdict(split.labels),
        "digests": asdict(split.digests),
        "labels_sha256": split.recorded.labels,
        "fingerprint": split.recorded.fingerprint,
        "mean": split.recorded.mean,
        "std": split.recorded.std,
    }


def entry_of(values: dict[str, Any]) -> Entry:
    """Return what dataset.json has of a file; ValueError, TypeError or KeyError if damaged."""
    name = _text(values["file"])
    if Path(name).name != name or name.startswith("."):  # files of other folders are not read
        raise ValueError(f"{name!r} is not the name of a file")
    count, size = _integer(values["count"], 1), _integer(values["bytes"], 1)
    return Entry(name, count, size, _text(values["sha256"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r}")
    return value


def _integer(value: Any, minimum: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise ValueError(f"expected an integer of at least {minimum}, got {value!r}")
    return value
