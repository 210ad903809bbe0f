"""Layers one after the other, and inside layers: their names, shapes, costs and outputs."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.config import build, is_builtin
from gpucnn.errors import GpucnnError, SettingError, ShapeError
from gpucnn.nn.layers.base import Fields, Layer, Shape, Visit
from gpucnn.nn.receptive_fields import ReceptiveField

_MOST_CHARACTERS = 1000
"""Characters of a layer's name: entries of an archive have at most 65,535 bytes."""

MOST_LEVELS = 16
"""Levels of layers inside layers."""


class _LayerError(ShapeError):
    """A layer that does not fit; its name grows as the error passes the layers around it."""

    def __init__(self, layer: str, reason: str) -> None:
        super().__init__(f"layer {layer!r} {reason}")
        self.layer, self.reason = layer, reason


def named_layers(
    layers: Mapping[str, Layer] | Sequence[Layer], what: str = "a model"
) -> dict[str, Layer]:
    """Return ``layers`` by name; those of a sequence are named "0", "1", …

    ``what`` is what they make up. Raises SettingError if there are none, or something is not a
    layer or appears twice, also inside other layers, or a name cannot be used.
    """
    if not isinstance(layers, Mapping):
        layers = {str(index): layer for index, layer in enumerate(layers)}
    if not layers:
        raise SettingError(f"{what} needs at least one layer")
    for name, layer in layers.items():
        check_name(name)
        if not isinstance(layer, Layer):
            raise SettingError(f"layer {name!r} must be a gpucnn.nn.Layer, got {layer!r}")
    names: dict[int, str] = {}
    known: set[str] = set()
    for name, layer in every_layer(layers):
        check_name(name)
        if name in known:
            raise SettingError(f"two layers are called {name!r}: give one another name")
        if id(layer) in names:
            raise SettingError(
                f"layers {names[id(layer)]!r} and {name!r} are the same object: "
                f"make one {type(layer).__name__} for each"
            )
        names[id(layer)] = name
        known.add(name)
    return dict(layers)


def every_layer(layers: Mapping[str, Layer]) -> Iterator[tuple[str, Layer]]:
    """Yield (name, layer) of all layers, each before those inside: "block", "block.body.conv"."""
    for name, layer in layers.items():
        yield name, layer
        for inner, each in every_layer(layer.children):
            yield f"{name}.{inner}", each


def check_name(name: object) -> None:
    """Raise SettingError unless ``name`` can name a layer in files and addresses.

    Archives cut a name off at NUL, and lone surrogates have no encoding.
    """
    valid = isinstance(name, str) and len(name) <= _MOST_CHARACTERS and "\0" not in name
    if not valid or any("\ud800" <= character <= "\udfff" for character in str(name)):
        raise SettingError(
            f"layer {reprlib.repr(name)}: expected a name of at most {_MOST_CHARACTERS:,} "
            "characters, without NUL and lone surrogates"
        )


def output_shapes(layers: Mapping[str, Layer], input_shape: Shape) -> list[Shape]:
    """Return the shape after each layer, for an input of ``input_shape``.

    Raises ShapeError with the name of the first layer that does not fit.
    """
    shape, shapes = input_shape, []
    for name, layer in layers.items():
        try:
            shape = _output_shape(layer, shape)
        except _LayerError as error:
            raise _LayerError(f"{name}.{error.layer}", error.reason) from None
        except (ShapeError, SettingError) as error:
            reason = f"({type(layer).__name__}) with input {shape}: {error}"
            raise _LayerError(name, reason) from None
        shapes.append(shape)
    return shapes


def _output_shape(layer: Layer, shape: Shape) -> Shape:
    """Return the shape after a layer; ShapeError also for mistakes in that of a user."""
    if is_builtin(layer):
        return layer.output_shape(shape)
    try:
        found = tuple(map(operator.index, layer.output_shape(shape)))
    except (TypeError, ValueError, IndexError, ArithmeticError) as error:
        if isinstance(error, GpucnnError):
            raise
        raise ShapeError(f"output_shape failed: {type(error).__name__}: {error}") from None
    if not found or min(found) < 1:
        raise ShapeError(f"output_shape is {found}, expected sizes of at least 1")
    return found


@dataclass(frozen=True)
class Place:
    """A layer in a network.

    Attributes:
        name: its name, with those of the layers around it.
        layer: the layer.
        level: the number of layers around it.
        label: its name in the layer around it.
        source: the name of the layer that its input comes from; None for the network's input.
        parts: of a layer with layers inside, the names of those whose outputs are joined, in
            their order; None for the network's input.
        input_shape: shape of its input, without the batch.
        output_shape: shape of its output.
        fields: receptive fields of its outputs.
    """

    name: str
    layer: Layer
    label: str
    level: int
    source: str | None
    parts: tuple[str | None, ...]
    input_shape: Shape
    output_shape: Shape
    fields: Fields | None


def places(layers: Mapping[str, Layer], input_shape: Shape) -> list[Place]:
    """Return the places of all layers, in the order of ``every_layer``.

    Raises ShapeError as ``output_shapes``.
    """
    output_shapes(layers, input_shape)
    fields = (ReceptiveField(), ReceptiveField())
    return list(_places(layers, "", 0, None, input_shape, fields))


def _places(
    layers: Mapping[str, Layer],
    prefix: str,
    level: int,
    source: str | None,
    shape: Shape,
    fields: Fields | None,
) -> Iterator[Place]:
    """Yield the places of layers that come after ``source``, and of those inside them."""
    for label, layer in layers.items():
        name, output_shape = f"{prefix}{label}", layer.output_shape(shape)
        parts = tuple(f"{name}.{list(path)[-1]}" if path else source for path in layer.paths)
        after = layer.receptive_fields(fields, shape)
        yield Place(name, layer, label, level, source, parts, shape, output_shape, after)
        for path in layer.paths:
            yield from _places(path, f"{name}.", level + 1, source, shape, fields)
        source, shape, fields = name, output_shape, after


def chain_fields(layers: Mapping[str, Layer], fields: Fields | None, shape: Shape) -> Fields | None:
    """Return the receptive fields after layers, given those before them and the input's shape."""
    shapes = [shape, *output_shapes(layers, shape)]
    for layer, before in zip(layers.values(), shapes, strict=False):
        fields = layer.receptive_fields(fields, before)
    return fields


def chain_multiply_adds(layers: Mapping[str, Layer], shape: Shape) -> int:
    """Return the multiply-adds of layers for one sample of ``shape``."""
    shapes = [shape, *output_shapes(layers, shape)]
    pairs = zip(layers.values(), shapes, strict=False)
    return sum(layer.multiply_adds(before) for layer, before in pairs)


def trace(
    layers: Mapping[str, Layer], be: Backend, x: Array, visit: Visit, prefix: str = ""
) -> Array:
    """Compute layers one by one, in inference, and call ``visit`` with each one's output.

    The outputs of layers inside others come before those of the others. Names begin with
    ``prefix``.
    """
    for name, layer in layers.items():
        x = layer.trace(be, x, visit, f"{prefix}{name}")
    return x


def build_layer(description: Mapping[str, Any], levels: int = MOST_LEVELS) -> Layer:
    """Return the layer that ``Layer.config`` described, without memory for its weights.

    Raises SettingError if its class is unknown or refuses its arguments, or if layers are inside
    layers in more than ``levels`` levels.
    """
    if levels < 0:
        raise SettingError(f"layers are inside layers in more than {MOST_LEVELS} levels")
    arguments = {key: _from_plain(value, levels) for key, value in description.items()}
    layer: Layer = build("layer", arguments, Layer.types)
    return layer


def build_layers(rows: Sequence[Mapping[str, Any]], levels: int = MOST_LEVELS) -> dict[str, Layer]:
    """Return layers by name; each row is a description with a name. Errors as ``build_layer``."""
    layers: dict[str, Layer] = {}
    for row in rows:
        if row["name"] in layers:
            raise SettingError(f"two layers are called {row['name']!r}")
        arguments = {key: value for key, value in row.items() if key != "name"}
        layers[row["name"]] = build_layer(arguments, levels)
    return layers


def _from_plain(value: Any, levels: int) -> Any:
    """Return an argument with layers where there are descriptions of layers."""
    if isinstance(value, dict):
        return build_layer(value, levels - 1)
    if isinstance(value, list):
        if value and all(isinstance(item, dict) and "name" in item for item in value):
            return build_layers(value, levels - 1)
        return [_from_plain(item, levels) for item in value]
    return value
