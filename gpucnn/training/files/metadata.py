"""What the metadata of a checkpoint is: one description, against which every file is validated.

A checksum shows that a file is as it was written, not who wrote it. What passes ``validate`` has
the keys, types and ranges that the rest of the package relies on.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from gpucnn.data.dataset import PREPARATIONS
from gpucnn.errors import SettingError
from gpucnn.nn.layers.structure import MOST_LEVELS, check_name

Schema = Callable[[str, Any], None]
"""Raises ValueError, with the path of the value, if a value is not what it should be."""

_MAX_SIDE = 1 << 20
_MAX_INTEGER = 1 << 53


def parse_json(text: str | bytes, allow_nan: bool = False) -> Any:
    """Return JSON as plain data; ValueError for whatever is not, and for keys given twice."""
    try:
        constant = None if allow_nan else _refuse_constant
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def validate(metadata: Any) -> None:
    """Raise ValueError, naming the entry, unless ``metadata`` is that of a model or a run."""
    _MODEL("", metadata)
    if not {"settings", "output"} & metadata.keys():
        raise ValueError("output is missing")
    if "settings" in metadata:
        _RUN("", metadata)
        epoch, best = metadata["epoch"], metadata["best"]
        if epoch > metadata["settings"]["epochs"]:
            raise ValueError(
                f"epoch is {epoch}, but settings.epochs {metadata['settings']['epochs']}"
            )
        if best is not None and best["epoch"] > epoch:
            raise ValueError(f"best.epoch is {best['epoch']}, but epoch {epoch}")
    channels, normalization = metadata["model"]["input_shape"][0], metadata["normalization"]
    if normalization is not None and {len(values) for values in normalization} != {channels}:
        raise ValueError(f"normalization must have {channels} means and standard deviations")
    names = [row["name"] for row in metadata["model"]["layers"]]
    if len(set(names)) < len(names):
        raise ValueError("model.layers has a name twice")


# --- parts of a description ---------------------------------------------------------------------


def text(*known: str) -> Schema:
    """Return the schema of a string, one of ``known`` if there are any."""

    def check(path: str, value: Any) -> None:
        if not isinstance(value, str) or (known and value not in known):
            raise _fault(path, value, " or ".join(map(repr, known)) or "text")

    return check


def integer(least: int, most: int = _MAX_INTEGER) -> Schema:
    """Return the schema of an integer from ``least`` to ``most``."""

    def check(path: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            limit = f" to {most}" if most < _MAX_INTEGER else ""
            raise _fault(path, value, f"an integer from {least}{limit}")

    return check


def number(least: float = -math.inf, most: float = math.inf) -> Schema:
    """Return the schema of a number from ``least`` to ``most``; without limits, also NaN."""

    def check(path: str, value: Any) -> None:
        limits = f" from {least:g} to {most:g}" if most < math.inf else ""
        valid = isinstance(value, float) or (type(value) is int and abs(value) <= _MAX_INTEGER)
        if not valid or (limits and not least <= value <= most):
            raise _fault(path, value, f"a number{limits}")

    return check


def flag(path: str, value: Any) -> None:
    """Validate true or false."""
    if not isinstance(value, bool):
        raise _fault(path, value, "true or false")


def optional(schema: Schema) -> Schema:
    """Return the schema of a value that may also be null."""
    return lambda path, value: None if value is None else schema(path, value)


def sequence(item: Schema, least: int, most: int) -> Schema:
    """Return the schema of a list of ``least`` to ``most`` items."""

    def check(path: str, value: Any) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            count = str(least) if least == most else f"{least} to {most}"
            raise _fault(path, value, f"a list of {count} entries")
        for index, entry in enumerate(value):
            item(f"{path}[{index}]", entry)

    return check


def record(
    entries: Mapping[str, Schema],
    later: Mapping[str, Schema] | None = None,
    others: Schema | None = None,
) -> Schema:
    """Return the schema of an object with these ``entries``.

    Entries that are in ``later`` may be missing, as in files of older versions. Those that are in
    neither are validated by ``others``; None accepts them, as a newer version may write them.
    """

    def check(path: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise _fault(path or "metadata", value, "an object")
        start = f"{path}." if path else ""
        for key, schema in (later or {}).items():
            if key in value:
                schema(f"{start}{key}", value[key])
        for key, schema in entries.items():
            if key not in value:
                raise ValueError(f"{start}{key} is missing")
            schema(f"{start}{key}", value[key])
        if others is not None:
            for key in value.keys() - entries.keys():
                others(f"{start}{key}", value[key])

    return check


def _targets(path: str, value: Any) -> None:
    """Validate what the outputs of a network for regression mean."""
    numbers = sequence(_finite, 1, _MAX_SIDE)
    record({"names": sequence(text(), 1, _MAX_SIDE), "mean": numbers, "std": numbers})(path, value)
    if len({len(value[name]) for name in ("names", "mean", "std")}) > 1:
        raise ValueError(f"{path} must have a mean and a standard deviation for each name")
    for index, std in enumerate(value["std"]):
        if std <= 0:
            raise _fault(f"{path}.std[{index}]", std, "a number above 0")


def _finite(path: str, value: Any) -> None:
    number()(path, value)
    if not math.isfinite(value):
        raise _fault(path, value, "a finite number")


def _layer_name(path: str, value: Any) -> None:
    """Validate the name of a layer, which must be one that ``Sequential`` takes."""
    text()(path, value)
    try:
        check_name(value)
    except SettingError as error:
        raise ValueError(f"{path}: {error}") from None


def _argument(path: str, value: Any, level: int = 0) -> None:
    """Validate an argument of a layer that is inside ``level`` others.

    It is what a window or a weight can be, in memory as well, or layers: one, or several by name.
    """
    if isinstance(value, list):
        if value and all(isinstance(entry, dict) and "name" in entry for entry in value):
            sequence(partial(_inner_layer, level=level, named=True), 1, 10_000)(path, value)
        else:
            sequence(partial(_argument, level=level), 0, 64)(path, value)
    elif isinstance(value, dict):
        if "type" not in value:
            raise _fault(path, value, "a number, text, a list or a layer")
        _inner_layer(path, value, level)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        # Sizes of weights are those of the arrays in the file.
        most = _MAX_INTEGER if path.endswith(("_features", "_channels", "groups")) else _MAX_SIDE
        if not -most <= value <= most:
            raise _fault(path, value, f"a number from -{most} to {most}")


def _inner_layer(path: str, value: Any, level: int, named: bool = False) -> None:
    """Validate a layer inside a layer that is inside ``level`` others."""
    if level >= MOST_LEVELS:
        raise ValueError(f"{path} is inside more than {MOST_LEVELS} layers")
    entries: dict[str, Schema] = {"type": text()} | ({"name": _layer_name} if named else {})
    record(entries, others=partial(_argument, level=level + 1))(path, value)


def _normalization(path: str, value: Any) -> None:
    # Pixels are from 0 to 1; with such values, scaled ones are finite in float32.
    sequence(sequence(number(-1e6, 1e6), 1, _MAX_SIDE), 2, 2)(path, value)
    sequence(number(1e-12, 1e6), 1, _MAX_SIDE)(f"{path}[1]", value[1])


# --- the description ----------------------------------------------------------------------------

# Of runs on classes the accuracy, of runs on numbers the errors.
_FIGURES = record(
    {"test_loss": number()},
    later=dict.fromkeys(("test_accuracy", "test_mse", "test_mae", "test_r2"), number()),
)
_DESCRIPTION = record({"type": text()})

_LAYER = record({"name": _layer_name, "type": text()}, others=_argument)

_MODEL = record(
    {
        "model": record(
            {
                "input_shape": sequence(integer(1, _MAX_SIDE), 3, 3),
                "layers": sequence(_LAYER, 1, 10_000),
            }
        ),
        "normalization": optional(_normalization),
        "classes": optional(sequence(text(), 1, 1 << 20)),
    },
    # Runs had no output; most models have no class or targets, and runs their preparation with the
    # data.
    later={
        "targets": _targets,
        "output": text("softmax", "sigmoid", "none"),
        "class": text(),
        "preparation": text(*PREPARATIONS),
    },
)

_RUN = record(
    {
        "settings": record(
            {
                "epochs": integer(1),
                "batch_size": integer(1),
                "seed": integer(0, 1 << 4096),
                "validation": integer(0),
                "early_stopping": optional(integer(1)),
                "keep_best": flag,
                "clip_grad_norm": optional(number(0, 1e300)),
                "ema": number(0, 1),
                "augment": optional(_DESCRIPTION),
                "mixup": number(0, 1e300),
                "workers": integer(1, 256),
                "optimizer": _DESCRIPTION,
                "schedule": _DESCRIPTION,
                "loss": _DESCRIPTION,
            }
        ),
        "data": record(
            {"name": text(), "builtin": flag, "fingerprint": text()},
            later={
                "test_fingerprint": text(),
                "validation_fingerprint": text(),
                "preparation": text(*PREPARATIONS),
            },
        ),
        "dtype": text("float32", "float64"),
        "precision": text("ieee", "tf32"),
        "epoch": integer(0),
        "index": integer(0),
        "last": optional(_FIGURES),
        "best": optional(
            record(
                {
                    "epoch": integer(1),
                    "figures": sequence(number(), 1, 2),
                    "test": _FIGURES,
                }
            )
        ),
    }
)


def _fault(path: str, value: Any, expected: str) -> ValueError:
    return ValueError(f"{path} is {reprlib.repr(value)}, expected {expected}")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{reprlib.repr(key)} is there twice")
        found[key] = value
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")
