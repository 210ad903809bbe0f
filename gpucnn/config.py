"""Layers, optimisers, schedules and losses as plain data, and checks of their arguments.

Each of them is a dataclass whose fields are its arguments; checkpoints and config.json store them.
"""

from __future__ import annotations

import math
import numbers
import operator
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from importlib import import_module
from types import ModuleType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    SupportsIndex,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np

from gpucnn.errors import SettingError, unknown

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

DataclassT = TypeVar("DataclassT", bound="DataclassInstance")


def describe(instance: Any) -> dict[str, Any]:
    """Return {"type": class name, argument: value, ...} of a dataclass instance.

    Numbers of NumPy become Python's, which JSON can store. A class without arguments need not be a
    dataclass; SettingError for any other that is not.
    """
    kind = type(instance)
    if not is_dataclass(instance):
        if kind.__init__ is not object.__init__:
            raise SettingError(
                f"{kind.__name__} must be a dataclass, so that its arguments can be saved: write "
                f"@dataclass(eq=False, repr=False) above the class"
            )
        return {"type": kind.__name__}
    arguments = {f.name: _to_python(getattr(instance, f.name)) for f in fields(instance) if f.init}
    return {"type": kind.__name__, **arguments}


def build(kind: str, description: Mapping[str, Any], classes: Mapping[str, type]) -> Any:
    """Return the instance that ``describe`` described.

    ``classes`` maps class names to classes; ``kind`` is a noun for error messages. Raises
    SettingError if the class or an argument is unknown.
    """
    arguments = {name: _to_tuples(value) for name, value in description.items()}
    name = arguments.pop("type", None)
    if name not in classes:
        raise unknown(kind, str(name), classes)
    kind = f"{kind} {name}"
    hints = get_type_hints(classes[name]) if _is_builtin_class(classes[name]) else {}
    for argument, value in arguments.items():
        if argument in hints and not _matches(value, hints[argument]):
            raise SettingError(f"{kind}: {argument} cannot be {reprlib.repr(value)}")
    try:
        return classes[name](**arguments)
    except SettingError:
        raise
    except (TypeError, ValueError, ArithmeticError) as error:
        raise SettingError(f"{kind}: {error}") from None


def override(settings: DataclassT, overrides: Mapping[str, object]) -> DataclassT:
    """Return the dataclass ``settings`` with other values of some fields.

    Raises SettingError, with the nearest name, for an argument that is not a field.
    """
    names = [field.name for field in fields(settings)]
    for name in overrides:
        if name not in names:
            raise unknown("setting", name, names)
    return replace(settings, **overrides)


def check_kinds(settings: Any, kinds: Mapping[str, tuple[type, str]]) -> None:
    """Raise SettingError unless attributes have their types: (type, what to write) by name."""
    for name, (kind, expected) in kinds.items():
        if not isinstance(getattr(settings, name), kind):
            raise SettingError(f"{name} must be {expected}; got {getattr(settings, name)!r}")


def is_builtin(instance: Any) -> bool:
    """Return whether the class of ``instance`` is defined in gpucnn rather than by a user."""
    return _is_builtin_class(type(instance))


def _is_builtin_class(kind: type) -> bool:
    return kind.__module__.startswith("gpucnn.")


def import_extra(module: str, library: str, purpose: str, extra: str) -> ModuleType:
    """Return a module of an optional dependency: ``library``, which the ``extra`` installs.

    Raises SettingError, one line that says what needs it and how to install it, if it is missing.

    >>> import_extra("no_such_module", "Frames", "framing a picture", "frames")
    Traceback (most recent call last):
    gpucnn.errors.SettingError: framing a picture needs Frames: pip install 'gpucnn[frames]'
    """
    try:
        return import_module(module)
    except ImportError:
        raise SettingError(f"{purpose} needs {library}: pip install 'gpucnn[{extra}]'") from None


def check_number(name: str, value: Any, minimum: float, below: float = math.inf) -> int | float:
    """Return ``value`` as an int or a float if it is a number in [minimum, below).

    Integers and floating-point numbers of NumPy are accepted, bool is not. Raises SettingError.
    """
    number = _as_number(value)
    if number is None or not minimum <= number < below:
        limit = f" and < {below:g}" if below < math.inf else ""
        raise SettingError(f"{name} must be a finite number >= {minimum:g}{limit}, got {value!r}")
    return number


def check_integer(name: str, value: Any, minimum: int) -> int:
    """Return ``value`` as an int if it is an integer of at least ``minimum``.

    Integers of NumPy are accepted, bool is not. Raises SettingError.
    """
    number = _as_integer(value)
    if number is None or number < minimum:
        raise SettingError(f"{name} must be an integer >= {minimum}, got {value!r}")
    return number


def check_flag(name: str, value: Any) -> bool:
    """Return ``value`` as a bool if it is True or False, also NumPy's, else raise SettingError."""
    if not isinstance(value, bool | np.bool_):
        raise SettingError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def _as_integer(value: Any) -> int | None:
    """Return ``value`` as an int, None if it is not an integer."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _as_number(value: Any) -> int | float | None:
    """Return ``value`` as an int or a float, None if it is not a number or no float can hold it."""
    number: int | float | None = _as_integer(value)
    if number is None and isinstance(value, numbers.Real) and not isinstance(value, bool):
        number = float(value)
    try:
        return None if number is None or math.isnan(float(number)) else number
    except OverflowError:
        return None


def _to_python(value: Any) -> Any:
    """Return ``value`` with NumPy's scalars, also in lists and tuples, as Python's numbers."""
    if isinstance(value, list | tuple):
        return type(value)(_to_python(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value


def _matches(value: Any, hint: Any) -> bool:
    """Return whether plain data, with tuples for lists, can be of the annotated type."""
    if isinstance(hint, UnionType) or get_origin(hint) is Union:
        return any(_matches(value, option) for option in get_args(hint))
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint in (bool, Any)
    if get_origin(hint) in (Sequence, tuple):
        inner = [option for option in get_args(hint) if option is not ...]
        options = Union[tuple(inner)] if inner else Any  # noqa: UP007 (built at run time)
        return isinstance(value, tuple) and all(_matches(item, options) for item in value)
    if hint is float:
        return isinstance(value, int | float)
    if hint is SupportsIndex:
        return isinstance(value, int)
    return not isinstance(hint, type) or isinstance(value, hint)


def _to_tuples(value: Any) -> Any:
    """Return ``value`` with lists, to which JSON converts tuples, converted back to tuples."""
    return tuple(_to_tuples(item) for item in value) if isinstance(value, list) else value
