"""Calling a function that builds a network with the shape of the data, whatever its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from gpucnn.errors import SettingError

MNIST_SHAPE = {"channels": 1, "size": (28, 28), "classes": 10}
"""The arguments for a function that needs some where there are no data."""

Parameter = inspect.Parameter
_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


def call_builder(
    spec: str, function: Callable[..., Any], values: Mapping[str, Any]
) -> tuple[Any, list[str]]:
    """Call ``function`` with those of ``values`` that it takes.

    They are passed by their names: channels, size, classes, seed. A function with three required
    parameters of other names gets channels, size and classes in this order.

    Args:
        spec: what the user calls the function.
        function: any callable.
        values: by their names. A required parameter that is missing here gets MNIST's value.

    Returns:
        What it returns, and the names of the parameters that got MNIST's values.

    Raises:
        SettingError: the function requires other parameters.
    """
    parameters = _parameters(function)
    required = [p.name for p in parameters if p.default is Parameter.empty and not _is_open(p)]
    known = {**MNIST_SHAPE, **values}
    unknown = [name for name in required if name not in known]
    renamed: dict[str, str] = {}
    if unknown:
        if len(unknown) != len(MNIST_SHAPE) or unknown != required:
            names = ", ".join(unknown)
            raise SettingError(
                f"{spec} requires {names}: give defaults, or take channels, size, classes and seed"
            )
        renamed = dict(zip(unknown, MNIST_SHAPE, strict=True))
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    for parameter in parameters:
        name = renamed.get(parameter.name, parameter.name)
        if parameter.kind is Parameter.VAR_KEYWORD:
            keywords = {**values, **keywords}
        elif name in values or (name in known and parameter.name in required):
            if parameter.kind is Parameter.POSITIONAL_ONLY:
                positional.append(known[name])
            elif parameter.kind in _NAMED:
                keywords[parameter.name] = known[name]
    assumed = [name for name in (renamed.get(one, one) for one in required) if name not in values]
    return function(*positional, **keywords), assumed


def takes_seed(function: Callable[..., Any]) -> bool:
    """Return whether the function has a parameter for the seed of the weights."""
    return any(
        parameter.name == "seed" or parameter.kind is Parameter.VAR_KEYWORD
        for parameter in _parameters(function)
    )


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters; none if Python does not know them."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []


def _is_open(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
