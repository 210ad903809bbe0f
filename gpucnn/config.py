"""Layers, optimisers, schedules and losses as plain data, and checks of their arguments.

Each of them is a dataclass whose fields are its arguments; checkpoints and config.json store them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from gpucnn.errors import SettingError, unknown


def describe(instance: Any) -> dict[str, Any]:
    """Return {"type": class name, argument: value, ...} of a dataclass instance."""
    arguments = {f.name: getattr(instance, f.name) for f in fields(instance) if f.init}
    return {"type": type(instance).__name__, **arguments}


def build(kind: str, description: Mapping[str, Any], classes: Mapping[str, type]) -> Any:
    """Return the instance that ``describe`` described.

    ``classes`` maps class names to classes; ``kind`` is a noun for error messages. Raises
    SettingError if the class or an argument is unknown.
    """
    arguments = {name: _to_tuples(value) for name, value in description.items()}
    name = arguments.pop("type", None)
    if name not in classes:
        raise unknown(kind, str(name), classes)
    try:
        return classes[name](**arguments)
    except TypeError as error:
        raise SettingError(f"{kind} {name}: {error}") from None


def is_builtin(instance: Any) -> bool:
    """Return whether the class of ``instance`` is defined in gpucnn rather than by a user."""
    return type(instance).__module__.startswith("gpucnn.")


def check_number(name: str, value: float, minimum: float, below: float = math.inf) -> float:
    """Return ``value`` if it is a number in [minimum, below), else raise SettingError."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not minimum <= value < below:
        limit = f" and < {below:g}" if below < math.inf else ""
        raise SettingError(f"{name} must be a finite number >= {minimum:g}{limit}, got {value!r}")
    return value


def check_integer(name: str, value: int, minimum: int) -> int:
    """Return ``value`` if it is an integer of at least ``minimum``, else raise SettingError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise SettingError(f"{name} must be an integer >= {minimum}, got {value!r}")
    return value


def _to_tuples(value: Any) -> Any:
    """Return ``value`` with lists, to which JSON converts tuples, converted back to tuples."""
    return tuple(_to_tuples(item) for item in value) if isinstance(value, list) else value
