"""The base of all layers: shapes, parameters, and a forward and a backward pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from gpucnn.arithmetic import ReceptiveField
from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.fused import LayerSpec
from gpucnn.backends.contract.window import Window
from gpucnn.config import is_builtin
from gpucnn.errors import SettingError
from gpucnn.rng import initializer

Shape = tuple[int, ...]
Fields = tuple[ReceptiveField, ReceptiveField]

LARGE_PLANE = (10**6, 10**6)
"""A plane that any window fits: to look at a window before its input is known."""


class Parameter:
    """An array that training changes, and its gradient; both are set when a model places it."""

    data: Array
    grad: Array

    def __init__(self, shape: Shape, fan_in: int, fan_out: int, init: str) -> None:
        self.shape = shape
        self.fan_in = fan_in
        self.fan_out = fan_out
        self.draw = initializer(init)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class TrainingPass:
    """Identifies one forward pass in training: random layers draw from a generator seeded by it."""

    seed: int
    """Seed of the run."""
    number: int = 0
    """Number of training passes before this one."""
    rank: int = 0
    """Number of the worker process."""
    layer: int = 0
    """Index of the layer in the model."""

    @property
    def key(self) -> tuple[int, ...]:
        """What distinguishes the pass and the layer from others of the same seed."""
        rank = (self.rank,) if self.rank else ()  # without workers, keys have no rank
        return (self.layer, *rank, self.number)


class Layer:
    """Base of all layers. A subclass is a dataclass whose fields are its arguments.

    A layer stores nothing from one call to the next: ``forward`` returns what ``backward`` needs,
    and the caller passes it on. So one model can serve several threads.
    """

    types: ClassVar[dict[str, type]] = {}
    """Every layer class by name: how a checkpoint finds the classes of its model."""

    _parameters: Mapping[str, Parameter] = {}

    def __init_subclass__(cls) -> None:
        if cls.__name__.startswith("_"):
            return
        own = Layer.types.get(cls.__name__, cls)
        if own.__module__.startswith("gpucnn.nn.layers") and own.__module__ != cls.__module__:
            raise SettingError(f"gpucnn has a layer called {cls.__name__}: choose another name")
        Layer.types[cls.__name__] = cls

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """The layer's own parameters by their short names."""
        return self._parameters

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape that an input of ``shape`` becomes; raises ShapeError if none."""
        return shape

    def multiply_adds(self, shape: Shape) -> int:
        """Return the multiply-adds of one sample's forward pass."""
        return 0

    def receptive_fields(self, fields: Fields | None) -> Fields | None:
        """Return the (vertical, horizontal) fields behind this layer, given those before it.

        None stands for the whole picture.
        """
        return fields

    def spec(self, shape: Shape) -> LayerSpec | None:
        """Return the layer as backends see it, None if they cannot compute it as part of another.

        Of a custom layer, one that is not gpucnn's, nobody knows what it does.
        """
        spec = self._spec(shape) if is_builtin(self) else None
        if spec is None:
            return None
        op, options = spec
        return LayerSpec(op, shape, self.output_shape(shape), **options)

    def _spec(self, shape: Shape) -> tuple[str, dict[str, Any]] | None:
        """Return the operation's name and what ``LayerSpec`` has to say of it."""
        return None

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        """Return (output, saved) for a batch ``x`` (N, ...).

        ``training`` is None for inference. ``saved`` is whatever ``backward`` needs; in inference
        the caller drops it.
        """
        raise NotImplementedError

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        """Write the parameters' gradients and return the input's, or None unless ``input_grad``.

        ``grad`` is the gradient of the output; ``saved`` is what ``forward`` returned.
        """
        raise NotImplementedError


class _Weighted(Layer):
    """Base of layers with a weight and, if ``bias``, a bias."""

    bias: bool
    init: str

    def _set_parameters(self, weight: Shape, outputs: int, fan_in: int, fan_out: int) -> None:
        self._parameters = {"weight": Parameter(weight, fan_in, fan_out, self.init)}
        if self.bias:
            self._parameters["bias"] = Parameter((outputs,), fan_in, fan_out, self.init)

    def weights(self) -> tuple[Array, Array | None]:
        """Return the weight and the bias, None where there is none."""
        bias = self.parameters.get("bias")
        return self.parameters["weight"].data, None if bias is None else bias.data

    def weight_grads(self) -> tuple[Array, Array | None]:
        """Return where the gradients of the weight and of the bias go."""
        bias = self.parameters.get("bias")
        return self.parameters["weight"].grad, None if bias is None else bias.grad


def widen(fields: Fields | None, window: Window) -> Fields | None:
    """Return the fields behind a convolution or pooling: wider by the kernel, further apart."""
    if fields is None:
        return None
    vertical, horizontal = (
        fields[axis].after_conv(
            window.kernel[axis],
            window.stride[axis],
            window.padding[axis],
            window.dilation[axis],
        )
        for axis in (0, 1)
    )
    return vertical, horizontal
