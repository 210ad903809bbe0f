"""Layers, optimisers, schedules and losses as plain data, for checkpoints and config.json.

Each of them is a dataclass whose fields are the arguments it was made with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from gpucnn.errors import SettingError, unknown


def describe(thing: Any) -> dict[str, Any]:
    """Return {"type": class name, argument: value, ...} of a dataclass instance."""
    arguments = {f.name: getattr(thing, f.name) for f in fields(thing) if f.init}
    return {"type": type(thing).__name__, **arguments}


def build(kind: str, description: Mapping[str, Any], known: Mapping[str, type]) -> Any:
    """Return what ``describe`` described; ``known`` maps names to classes.

    An unknown type or argument raises SettingError.
    """
    arguments = {name: _tuples(value) for name, value in description.items()}
    name = arguments.pop("type", None)
    if name not in known:
        raise unknown(kind, str(name), known)
    try:
        return known[name](**arguments)
    except TypeError as error:
        raise SettingError(f"{kind} {name}: {error}") from None


def is_own(thing: Any) -> bool:
    """Return whether ``thing`` is of a class of this package, not of a user's own."""
    return type(thing).__module__.startswith("gpucnn.")


def finite(name: str, value: float, least: float, below: float = math.inf) -> float:
    """Return ``value`` if it is a number in [least, below); else raise SettingError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < below:
        limit = f"a finite number, at least {least:g}" + (
            f" and below {below:g}" if below < math.inf else ""
        )
        raise SettingError(f"{name} must be {limit}, got {value!r}")
    return value


def whole(name: str, value: int, least: int) -> int:
    """Return ``value`` if it is a whole number of at least ``least``; else raise SettingError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SettingError(f"{name} must be a whole number, at least {least}, got {value!r}")
    return value


def _tuples(value: Any) -> Any:
    """Return lists, which JSON makes of tuples, as tuples again."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
