"""The base of all layers: shapes, parameters, and a forward and a backward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, ClassVar, NamedTuple

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.fused import LayerSpec
from gpucnn.backends.contract.window import Window
from gpucnn.config import describe, is_builtin
from gpucnn.nn.layers.state import Buffer, Parameter
from gpucnn.nn.receptive_fields import ReceptiveField
from gpucnn.rng import Stream, philox_key

Shape = tuple[int, ...]
Fields = tuple[ReceptiveField, ReceptiveField]

LARGE_PLANE = (10**6, 10**6)
"""Height and width that every kernel fits: for questions that do not depend on the input."""

Visit = Callable[[str, Array], object]
"""Called with the name of a layer and its output."""


class TrainingPass(NamedTuple):
    """Identifies one forward pass in training, and a layer in it: what random layers draw from.

    ``be.uniform(shape, training.key(stream), training.step)`` are other numbers in each pass, also
    where a captured step is replayed: ``step`` is read on the device.
    """

    seed: int
    """Seed of the run."""
    step: Array = None
    """int64 (1,), of the model's backend: number of the pass, from 1; None if no layer is random"""
    rank: int = 0
    """Number of the worker process."""
    path: tuple[int, ...] = ()
    """Index of the layer in the model; within a container, one more index for each level."""
    evaluation: bool = False
    """Whether layers compute as in inference, but save what ``backward`` needs"""

    def inside(self, index: int) -> TrainingPass:
        """Return the pass for layer ``index`` of a model or a container."""
        return self._replace(path=(*self.path, index))

    def key(self, stream: Stream) -> int:
        """Return the key of Philox for what the layer draws for a purpose."""
        return philox_key(self.seed, stream, self.rank, *self.path)


class Layer:
    """Base of all layers. A subclass is a dataclass whose fields are its arguments.

    A layer stores nothing from one call to the next: ``forward`` returns what ``backward`` needs,
    and the caller passes it on. So one model can serve several threads. A custom layer defines
    the two, and ``output_shape`` if it changes the shape:

    >>> from dataclasses import dataclass
    >>> from gpucnn import nn
    >>> @dataclass(eq=False)
    ... class Swish(nn.Layer):
    ...     def forward(self, be, x, training=None):
    ...         gate = be.sigmoid(x)
    ...         return x * gate, (x, gate)  # the output, and what backward needs
    ...
    ...     def backward(self, be, grad, saved, input_grad=True):
    ...         x, gate = saved
    ...         return grad * (gate + x * gate * (1 - gate))

    >>> model = nn.Sequential([Swish()], (1, 1, 1))
    >>> y, saved = model.forward(numpy.zeros((1, 1, 1, 1), "float32"), training=True)
    >>> model.backward(numpy.ones_like(y), saved, input_grad=True).tolist()
    [[[[0.5]]]]
    """

    types: ClassVar[dict[str, type]] = {}
    """Every layer class by ``type_name``: how a checkpoint finds the classes of its model."""

    random: ClassVar[bool] = False
    """Whether the layer draws random numbers in training: then ``training.step`` is an array."""

    takes_relu: ClassVar[bool] = False
    """Whether ``forward`` takes ``relu=True``, and then applies the ReLU that follows as well."""

    type_name: ClassVar[str]
    """The name of the class; that of a user's class whose name gpucnn uses begins with custom."""

    _parameters: Mapping[str, Parameter] = {}
    _buffers: Mapping[str, Buffer] = {}

    def __init_subclass__(cls, register: bool = True) -> None:
        if cls.__name__.startswith("_") or not register:
            return
        known = Layer.types.get(cls.__name__, cls)
        own = known.__module__.startswith("gpucnn.nn.layers")
        # A user's ReLU is not taken for gpucnn's when a model is loaded.
        taken = own and known.__module__ != cls.__module__
        cls.type_name = f"custom.{cls.__name__}" if taken else cls.__name__
        Layer.types[cls.type_name] = cls

    def __repr__(self) -> str:
        """Return the call that makes the layer, without arguments that have their defaults."""
        arguments: list[str] = []
        own: tuple[Field[Any], ...] = fields(self) if is_dataclass(self) else ()
        for field in own:
            value = getattr(self, field.name)
            if field.default is MISSING:
                arguments.append(repr(value))
            elif value != field.default:
                arguments.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(arguments)})"

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """The layer's parameters by name: "weight", "bias"."""
        return self._parameters

    @property
    def buffers(self) -> Mapping[str, Buffer]:
        """The layer's buffers by name: "running_mean"."""
        return self._buffers

    @property
    def state(self) -> Mapping[str, Parameter | Buffer]:
        """The layer's parameters and buffers by name, in the order of PyTorch's ``state_dict``."""
        return {**self.parameters, **self.buffers}

    @property
    def paths(self) -> Sequence[Mapping[str, Layer]]:
        """The paths of layers inside, by name; all get the layer's input. Most layers have none.

        A path without layers passes the input on.
        """
        return ()

    @property
    def children(self) -> Mapping[str, Layer]:
        """The layers inside by name, in the order in which they compute."""
        return {name: layer for path in self.paths for name, layer in path.items()}

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the output for an input of ``shape``; ShapeError if it has none."""
        return shape

    def least_batch(self, shape: Shape) -> int:
        """Return the number of samples that training needs at least, for an input of ``shape``."""
        return 1

    def multiply_adds(self, shape: Shape) -> int:
        """Return the multiply-adds of one sample's forward pass, for an input of ``shape``.

        Products with weights count; sums, maxima and functions of single numbers do not.
        """
        return 0

    def receptive_fields(self, fields: Fields | None, shape: Shape) -> Fields | None:
        """Return the (vertical, horizontal) receptive fields of the outputs, given the inputs'.

        ``shape`` is that of the input. None stands for the whole image.
        """
        return fields

    def spec(self, shape: Shape) -> LayerSpec | None:
        """Return the layer in the contract's terms, or None if no backend can fuse it.

        A custom layer has none: its class may compute anything.
        """
        spec = self._spec(shape) if is_builtin(self) else None
        if spec is None:
            return None
        op, options = spec
        return LayerSpec(op, shape, self.output_shape(shape), **options)

    def _spec(self, shape: Shape) -> tuple[str, dict[str, Any]] | None:
        """Return the operation's name and the options of its ``LayerSpec``."""
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

    def trace(self, be: Backend, x: Array, visit: Visit, name: str) -> Array:
        """Return the output for a batch ``x`` (N, ...), in inference; call ``visit`` with it.

        A layer that contains layers calls it with their outputs first. ``name`` is the layer's.
        """
        output = self.forward(be, x)[0]
        visit(name, output)
        return output

    def config(self) -> dict[str, Any]:
        """Return the layer's class and arguments as plain data: see ``build_layer``."""
        description = {**describe(self), "type": self.type_name}
        return {key: _to_plain(value) for key, value in description.items()}


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
        """Return the arrays for the gradients of the weight and the bias, None if no bias."""
        bias = self.parameters.get("bias")
        return self.parameters["weight"].grad, None if bias is None else bias.grad


def widen(fields: Fields | None, window: Window) -> Fields | None:
    """Return the receptive fields of the outputs of a convolution or pooling."""
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


def _to_plain(value: Any) -> Any:
    """Return an argument with layers as plain data, and layers by name as a list of these."""
    if isinstance(value, Layer):
        return value.config()
    if isinstance(value, Mapping):
        return [{"name": name, **_to_plain(layer)} for name, layer in value.items()]
    if isinstance(value, list | tuple):
        return type(value)(_to_plain(item) for item in value)
    return value
