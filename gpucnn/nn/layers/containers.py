"""Layers that contain layers: several paths from one input, whose outputs become one output."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.errors import SettingError, ShapeError
from gpucnn.nn.chain import Chain
from gpucnn.nn.layers.base import Fields, Layer, Shape, TrainingPass, Visit
from gpucnn.nn.layers.state import Buffer, Parameter
from gpucnn.nn.layers.structure import (
    MOST_LEVELS,
    chain_fields,
    chain_multiply_adds,
    named_layers,
    output_shapes,
    trace,
)
from gpucnn.nn.receptive_fields import ReceptiveField

Path = Layer | Mapping[str, Layer] | Sequence[Layer]
"""A path: one layer, or layers one after the other, by name or named "0", "1", …"""

Saved = list[tuple[Any, int]]
"""What each path saved, and the channels of its output."""


class _Container(Layer):
    """Base of layers that contain layers: paths from one input, joined to one output.

    ``_chains`` are the paths by name, in the order in which they compute; the names of their layers
    begin with that of the path. None passes the input on.
    """

    _chains: Mapping[str, Chain | None]

    def _set_paths(self, paths: Mapping[str, Path | None]) -> list[Any]:
        """Make the chains of ``paths``, by name; return the paths as layers or dicts of layers."""
        self._chains, given = {}, []
        for name, path in paths.items():
            path, inner = self._named(name, path)
            given.append(path)
            self._chains[name] = Chain(inner) if inner else None
        if _levels(self) > MOST_LEVELS:
            raise SettingError(
                f"{type(self).__name__}: layers inside layers have more than {MOST_LEVELS} levels"
            )
        return given

    def _named(self, name: str, path: Any) -> tuple[Any, dict[str, Layer]]:
        """Return a path in its usual form, and its layers by the names that they have here."""
        if path is None or isinstance(path, Layer):
            return path, {} if path is None else {name: path}
        where = f"{type(self).__name__}: {name}"
        if not isinstance(path, Mapping | list | tuple):
            raise SettingError(
                f"{where} must be a layer, or layers in a list or a dict, got {path!r}"
            )
        layers = named_layers(path, where)
        return layers, {f"{name}.{key}": layer for key, layer in layers.items()}

    @property
    def paths(self) -> Sequence[Mapping[str, Layer]]:
        return [{} if chain is None else chain.layers for chain in self._chains.values()]

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return _joined((name, layer.parameters) for name, layer in self.children.items())

    @property
    def buffers(self) -> Mapping[str, Buffer]:
        return _joined((name, layer.buffers) for name, layer in self.children.items())

    @property
    def state(self) -> Mapping[str, Parameter | Buffer]:
        return _joined((name, layer.state) for name, layer in self.children.items())

    # --- shapes and costs -----------------------------------------------------------------------

    def output_shape(self, shape: Shape) -> Shape:
        shapes = {
            name: shape if chain is None else output_shapes(chain.layers, shape)[-1]
            for name, chain in self._chains.items()
        }
        return self._joined_shape(shapes)

    @abstractmethod
    def _joined_shape(self, shapes: Mapping[str, Shape]) -> Shape:
        """Return the shape of the output, given those of the paths; ShapeError if none fits."""

    def multiply_adds(self, shape: Shape) -> int:
        """Return those of all layers inside; joining adds none."""
        chains = (chain for chain in self._chains.values() if chain is not None)
        return sum(chain_multiply_adds(chain.layers, shape) for chain in chains)

    def receptive_fields(self, fields: Fields | None, shape: Shape) -> Fields | None:
        """Return the fields of all paths together."""
        if fields is None:
            return None
        found: list[Fields] = []
        for chain in self._chains.values():
            path = fields if chain is None else chain_fields(chain.layers, fields, shape)
            if path is None:
                return None
            found.append(path)
        vertical, horizontal = (
            ReceptiveField.union(fields[axis], [path[axis] for path in found]) for axis in (0, 1)
        )
        return vertical, horizontal

    # --- passes ---------------------------------------------------------------------------------

    @abstractmethod
    def _join(self, be: Backend, x: Array, outputs: Iterable[Array], relu: bool = False) -> Array:
        """Return the output for an input ``x``, given those of the paths one by one."""

    def _outputs(
        self, be: Backend, x: Array, training: TrainingPass | None, saved: Saved
    ) -> Iterator[Array]:
        """Yield the output of each path, and append what it saved."""
        for index, chain in enumerate(self._chains.values()):
            if chain is None:
                saved.append((None, x.shape[1]))
                yield x
            else:
                result = chain.forward(be, x, training and training.inside(index))
                saved.append((result[1], result[0].shape[1]))
                yield result[0]
                del result  # free before the next path allocates

    def trace(self, be: Backend, x: Array, visit: Visit, name: str) -> Array:
        outputs = (
            x if chain is None else trace(chain.layers, be, x, visit, f"{name}.")
            for chain in self._chains.values()
        )
        output = self._join(be, x, outputs)
        visit(name, output)
        return output

    def _path_backward(
        self, be: Backend, index: int, grad: Array, saved: Any, input_grad: bool
    ) -> Array | None:
        """Return the gradient of the input through one path."""
        chain = list(self._chains.values())[index]
        return grad if chain is None else chain.backward(be, grad, saved, input_grad)


@dataclass(eq=False, repr=False)
class Residual(_Container):
    """body(x) + shortcut(x), the building block of ResNets: any shape that the paths take.

    Args:
        body: the layers of the longer path: by name, in a sequence, or one layer.
        shortcut: those of the other one, which must return the shape that the body does; None adds
            x itself. A 1x1 convolution is usual where the body changes channels or size.

    There is no activation after the sum: let a ``ReLU`` follow, which is then computed with it.
    Parameters have the names that a PyTorch module with attributes body and shortcut gives them:
    "body.conv1.weight", and "shortcut.weight" of one layer. The additions do not count as
    multiply-adds. Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition"
    (arXiv:1512.03385).

    >>> from gpucnn import nn
    >>> body = {"conv1": nn.Conv2d(4, 4, 3, padding=1), "relu": nn.ReLU(),
    ...         "conv2": nn.Conv2d(4, 4, 3, padding=1)}
    >>> model = nn.Sequential({"block": nn.Residual(body), "relu": nn.ReLU()}, (4, 8, 8))
    >>> [name for name, _ in model.named_parameters()]
    ['block.body.conv1.weight', 'block.body.conv1.bias', \
'block.body.conv2.weight', 'block.body.conv2.bias']
    """

    body: Path
    shortcut: Path | None = None

    takes_relu = True

    def __post_init__(self) -> None:
        if self.body is None:
            raise SettingError("Residual: body must be a layer, or layers in a list or a dict")
        self.body, self.shortcut = self._set_paths({"body": self.body, "shortcut": self.shortcut})

    def _joined_shape(self, shapes: Mapping[str, Shape]) -> Shape:
        body, other = shapes["body"], shapes["shortcut"]
        if body != other and self.shortcut is None:
            raise ShapeError(
                f"body returns {body}, to which the input {other} cannot be added: set shortcut to "
                f"layers that return {body}"
            )
        if body != other:
            raise ShapeError(f"body returns {body}, but shortcut {other}: expected the same shape")
        return body

    def _join(self, be: Backend, x: Array, outputs: Iterable[Array], relu: bool = False) -> Array:
        body, other = outputs
        return be.add(body, other, relu=relu)

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None, *, relu: bool = False
    ) -> tuple[Array, Any]:
        saved: Saved = []
        return self._join(be, x, self._outputs(be, x, training, saved), relu), saved

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        body, other = (
            self._path_backward(be, index, grad, kept, input_grad)
            for index, (kept, _) in enumerate(saved)
        )
        return be.add(body, other) if input_grad else None


@dataclass(eq=False, repr=False)
class Concat(_Container):
    """The outputs of several branches, one after the other along the channels, or features.

    Args:
        branches: a sequence of branches: each is layers by name, in a sequence, or one layer, or
            None, which is x itself.

    (C, H, W) to (C1 + C2 + …, P, Q): all branches must return the same P and Q. Parameters have the
    names that a PyTorch module with an ``nn.ModuleList`` called branches gives them:
    "branches.0.conv.weight". Sources: Szegedy et al., "Going deeper with convolutions"
    (arXiv:1409.4842); with None, Huang et al., "Densely connected convolutional networks"
    (arXiv:1608.06993).

    >>> from gpucnn import nn
    >>> branches = [
    ...     nn.Conv2d(3, 4, 1),
    ...     [nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 8, 3, padding=1)],
    ...     {"pool": nn.MaxPool2d(3, stride=1, padding=1), "conv": nn.Conv2d(3, 4, 1)},
    ... ]
    >>> model = nn.Sequential({"mix": nn.Concat(branches), "relu": nn.ReLU()}, (3, 8, 8))
    >>> model.output_shape
    (16, 8, 8)
    """

    branches: Sequence[Path | None]

    def __post_init__(self) -> None:
        if not isinstance(self.branches, list | tuple) or not self.branches:
            raise SettingError(
                "Concat: branches must be a list, whose items are layers, layers by name or None, "
                f"got {self.branches!r}"
            )
        paths = {f"branches.{index}": path for index, path in enumerate(self.branches)}
        self.branches = self._set_paths(paths)

    def _joined_shape(self, shapes: Mapping[str, Shape]) -> Shape:
        (first, shape), *others = shapes.items()
        for name, other in others:
            if other[1:] != shape[1:] or len(other) != len(shape):
                raise ShapeError(
                    f"{first} returns {shape}, but {name} {other}: expected shapes that "
                    "differ only in the number of channels"
                )
        return (sum(each[0] for each in shapes.values()), *shape[1:])

    def _join(self, be: Backend, x: Array, outputs: Iterable[Array], relu: bool = False) -> Array:
        output = be.empty_maps((x.shape[0], *self.output_shape(tuple(x.shape[1:]))))
        start = 0
        for part in outputs:
            be.write_channels(output, part, start)
            start += part.shape[1]
            del part  # free before the next branch allocates
        return output

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        saved: Saved = []
        return self._join(be, x, self._outputs(be, x, training, saved)), saved

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        total, start = None, 0
        for index, (kept, channels) in enumerate(saved):
            part = be.read_channels(grad, start, channels)
            part = self._path_backward(be, index, part, kept, input_grad)
            start += channels
            if input_grad:
                total = part if total is None else be.add(total, part)
        return total


def _joined(parts: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the entries of several mappings, each with its name and a dot in front."""
    return {f"{name}.{key}": value for name, inner in parts for key, value in inner.items()}


def _levels(layer: Layer) -> int:
    """Return how many levels of layers are in a layer; 0 of most layers."""
    return max((1 + _levels(inner) for inner in layer.children.values()), default=0)
