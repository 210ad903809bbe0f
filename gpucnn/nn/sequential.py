"""Sequential: named layers in a row, on a backend, with their parameters in one flat vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends import Backend, get_backend
from gpucnn.backends.contract.checks import Array
from gpucnn.config import build, check_integer, describe
from gpucnn.errors import CheckpointError, DataError, SettingError, ShapeError
from gpucnn.nn.layers import Layer, Parameter, Sigmoid, Softmax, TrainingPass
from gpucnn.nn.layers.base import Shape
from gpucnn.nn.plan import Block, make_plan
from gpucnn.nn.summary import Summary, summarize
from gpucnn.rng import Stream, generator

Normalization = tuple[tuple[float, ...], tuple[float, ...]]

Saved = list[tuple[Block, Any]]
"""What a training forward returns for backward: each block and what it saved."""

MOST_PLANS = 6
"""Plans that a model keeps. A run needs at most six: for full batches and the shorter last one, in
training and on the test and held-out images."""


class Sequential:
    """A network of ``layers``, one after the other, for pictures of ``input_shape`` (C, H, W).

    ``layers`` is a mapping of names to layers, or a sequence, whose layers are named "0", "1", …
    as in PyTorch. The weights are drawn from ``seed`` and live on ``backend``; layers that do not
    fit together raise ShapeError, which names the layer.
    """

    normalization: Normalization | None = None
    """(mean, standard deviation) of each channel, of pixels from 0 to 1; ``fit`` sets it."""

    classes: tuple[str, ...] | None = None
    """Names of the classes; ``fit`` sets them."""

    output: Literal["softmax", "sigmoid", "none"] = "softmax"
    """What turns the last layer's scores into probabilities; ``fit`` sets it by the loss."""

    seed: int | None = None
    """What the weights were drawn from, None once others were loaded."""

    def __init__(
        self,
        layers: Mapping[str, Layer] | Sequence[Layer],
        input_shape: Sequence[int],
        *,
        seed: int = 0,
        backend: str | Backend = "numpy",
    ) -> None:
        if not isinstance(layers, Mapping):
            layers = {str(index): layer for index, layer in enumerate(layers)}
        if not layers:
            raise SettingError("a model needs at least one layer")
        for name, layer in layers.items():
            if not isinstance(layer, Layer):
                raise SettingError(f"layer {name!r} is no gpucnn layer but {layer!r}")
        if len({id(layer) for layer in layers.values()}) < len(layers):
            raise SettingError("a layer stands in the model twice: make a second one")
        self.layers = dict(layers)
        self.input_shape: Shape = tuple(int(size) for size in input_shape)
        self.output_shape = self._check_shapes()
        self.backend = get_backend(backend)
        self._place(self.backend)
        self.initialize(seed)

    def __repr__(self) -> str:
        rows = "".join(f"\n  {name}: {layer}" for name, layer in self.layers.items())
        return f"Sequential(input_shape={self.input_shape}, {self.size:,} parameters){rows}"

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a copy or a pickle; plans are not part of it."""
        return {name: value for name, value in vars(self).items() if name != "_plan"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        values, seed = self.state_dict(), self.seed
        self._place(self.backend)
        self.load_state_dict(values)
        self.seed = seed

    # --- parameters -----------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Number of parameters, all elements counted."""
        return sum(parameter.size for parameter in self.parameters())

    def parameters(self) -> Iterator[Parameter]:
        """Yield every parameter, in the order of the layers."""
        return (parameter for _, parameter in self.named_parameters())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield (name, parameter); names are PyTorch's: "conv1.weight", "conv1.bias", …"""
        for name, layer in self.layers.items():
            for key, parameter in layer.parameters.items():
                yield f"{name}.{key}", parameter

    def initialize(self, seed: int) -> None:
        """Draw all weights anew: a function of ``seed`` and of the layers, on every backend."""
        for index, parameter in enumerate(self.parameters()):
            rng = generator(seed, Stream.WEIGHTS, index)
            values = parameter.draw(rng, parameter.shape, parameter.fan_in, parameter.fan_out)
            parameter.data[...] = self.backend.asarray(values)
        self.seed_dropout(seed, 0)
        self.seed = seed

    def seed_dropout(self, seed: int, passes: int, rank: int = 0) -> None:
        """Have dropout go on as after ``passes`` training passes of a run with ``seed``.

        ``rank`` is the process's number: each has masks of its own.
        """
        self._pass = TrainingPass(seed, passes, rank)

    def to(self, backend: str | Backend) -> Sequential:
        """Move the parameters to ``backend`` and return the model; a name keeps the dtype."""
        state, seed = self.state_dict(), self.seed
        if isinstance(backend, str):
            backend = get_backend(backend, self.backend.dtype)
        self.backend = backend
        self._place(self.backend)
        self.load_state_dict(state)
        self.seed = seed
        return self

    def lay_out(self, flat_parameters: Array, flat_grads: Array) -> None:
        """Have all parameters and gradients be views of these two vectors, in the layers' order.

        They are the values that stand there.
        """
        self.flat_parameters, self.flat_grads = flat_parameters, flat_grads
        offset = 0
        for parameter in self.parameters():
            end = offset + parameter.size
            parameter.data = flat_parameters[offset:end].reshape(parameter.shape)
            parameter.grad = flat_grads[offset:end].reshape(parameter.shape)
            offset = end

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return copies of all parameters in host memory, by PyTorch's names and shapes."""
        return {name: self.backend.to_numpy(p.data) for name, p in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set all parameters; CheckpointError names what is missing, extra or of another shape."""
        own = dict(self.named_parameters())
        faults = [f"{name} is missing" for name in own if name not in state]
        faults += [f"{name} is unknown" for name in state if name not in own]
        faults += [
            f"{name} is {np.shape(state[name])}, wanted {parameter.shape}"
            for name, parameter in own.items()
            if name in state and np.shape(state[name]) != parameter.shape
        ]
        if faults:
            raise CheckpointError("parameters do not fit the model: " + "; ".join(faults))
        for name, parameter in own.items():
            parameter.data[...] = self.backend.asarray(np.asarray(state[name], np.float64))
        self.seed = None

    # --- computing ------------------------------------------------------------------------------

    def __call__(self, x: Array) -> Array:
        """Return the outputs (N, ...) for a batch (N, C, H, W) of the backend's floats.

        For inference: dropout is off.
        """
        return self.forward(x)[0]

    def forward(self, x: Array, training: bool = False) -> tuple[Array, Saved | None]:
        """Return (outputs, saved) for a batch ``x`` (N, C, H, W) of the backend's floats.

        With ``training``, dropout is on and ``saved`` is what ``backward`` needs; else it is None.
        """
        if tuple(x.shape[1:]) != self.input_shape or not x.shape[0]:
            raise ShapeError(f"the model takes {self._batch_shape()}, got {tuple(x.shape)}")
        saved: Saved | None = [] if training else None
        for index, block in self.plan(x.shape[0], training).items():
            step = replace(self._pass, layer=index) if training else None
            result = block.forward(self.backend, x, step)
            if not isinstance(result, tuple):
                raise SettingError(
                    f"{type(block).__name__}.forward must return (output, saved), "
                    f"got {type(result).__name__}"
                )
            x, kept = result
            if saved is not None:
                saved.append((block, kept))
            del result, kept  # in inference, memory is free before the next block allocates
        if training:
            self._pass = replace(self._pass, number=self._pass.number + 1)
        return x, saved

    def backward(self, grad: Array, saved: Saved | None, input_grad: bool = False) -> Array | None:
        """Write the parameters' gradients from ``grad``, the gradient of the outputs.

        ``saved`` is what ``forward(x, training=True)`` returned. It is used up, so that each
        layer's memory is free as soon as its gradient is known. Return the gradient of the input,
        or None unless ``input_grad``.
        """
        if not saved:
            raise SettingError(
                "backward needs what forward returned: outputs, saved = "
                "model.forward(x, training=True); each saved serves one backward"
            )
        while saved:
            block, kept = saved.pop()
            grad = block.backward(self.backend, grad, kept, input_grad or bool(saved))
        return grad if input_grad else None

    def plan(self, samples: int, training: bool = False) -> Mapping[int, Block]:
        """Return the blocks that compute batches of ``samples``, by the index of their first layer.

        Neighbouring layers that the backend can compute as one operation are one block.
        """
        return self._plan(samples, training)

    def predict(self, images: Any, batch_size: int = 64) -> NDArray[Any]:
        """Return each picture's class probabilities, a NumPy array (N, classes).

        A model trained by a squared error has none; its scores are returned as they are.

        ``images`` are uint8, (N, C, H, W), or (N, H, W) for models of one channel, as in the data
        that the model was trained on.
        """
        check_integer("batch_size", batch_size, 1)
        pixels = self._pixels(images)
        images_there = self.backend.asarray(pixels, np.uint8)
        scale, shift = self.scaling()
        order = self.backend.asarray(np.arange(len(pixels)))
        rows = []
        with self.backend.limit_threads():
            for start in range(0, len(pixels), batch_size):
                indices = order[start : start + batch_size]
                x = self.backend.gather_images(images_there, indices, scale, shift)
                rows.append(self.backend.to_numpy(self._probabilities(self(x))))
        return np.concatenate(rows)

    def scaling(self) -> tuple[Array, Array]:
        """Return the (scale, shift) that normalise a pixel of 0 to 255, for ``gather_images``."""
        if self.normalization is None:
            raise SettingError(
                "the model has no normalization: fit sets it, or set "
                "model.normalization = data.statistics()"
            )
        mean, std = (np.asarray(values, np.float64) for values in self.normalization)
        if mean.shape != (self.input_shape[0],) or std.shape != mean.shape:
            raise SettingError(
                f"normalization must have {self.input_shape[0]} means and deviations, "
                f"got {self.normalization}"
            )
        return self.backend.asarray(1 / (255 * std)), self.backend.asarray(-mean / std)

    # --- descriptions ---------------------------------------------------------------------------

    def summary(self) -> Summary:
        """Return each layer's output shape, parameters, multiply-adds and receptive field."""
        return summarize(self.layers, self.input_shape)

    def config(self) -> dict[str, Any]:
        """Return the architecture as plain data, from which ``from_config`` builds it."""
        layers = [{"name": name, **describe(layer)} for name, layer in self.layers.items()]
        return {"input_shape": list(self.input_shape), "layers": layers}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], backend: str | Backend = "numpy") -> Sequential:
        """Build the model that ``config()`` described; its weights are those of seed 0."""
        layers = {}
        for row in config["layers"]:
            arguments = {key: value for key, value in row.items() if key != "name"}
            layers[row["name"]] = build("layer", arguments, Layer.types)
        return cls(layers, config["input_shape"], backend=backend)

    # --- inside ---------------------------------------------------------------------------------

    def _check_shapes(self) -> Shape:
        shape = self.input_shape
        if len(shape) != 3 or min(shape) < 1:
            raise ShapeError(f"input_shape must be (channels, height, width), got {shape}")
        for name, layer in self.layers.items():
            try:
                shape = layer.output_shape(shape)
            except (ShapeError, SettingError) as error:
                raise ShapeError(
                    f"layer {name!r} ({type(layer).__name__}) with input {shape}: {error}"
                ) from None
        return shape

    def _place(self, be: Backend) -> None:
        """Have parameters and gradients lie in two new vectors on a backend."""
        self._plan: Callable[[int, bool], Mapping[int, Block]] = lru_cache(MOST_PLANS)(
            partial(make_plan, self.layers, be, self.input_shape)
        )
        self.lay_out(be.zeros((self.size,)), be.zeros((self.size,)))

    def _pixels(self, images: Any) -> NDArray[np.uint8]:
        pixels = np.asarray(images)
        if pixels.dtype != np.uint8:
            raise DataError(f"images must be uint8, from 0 to 255, got {pixels.dtype}")
        if pixels.ndim == 3 and self.input_shape[0] == 1:
            pixels = pixels[:, None]
        if pixels.shape[1:] != self.input_shape or not len(pixels):
            raise DataError(f"images must have shape {self._batch_shape()}, got {np.shape(images)}")
        return pixels

    def _batch_shape(self) -> str:
        return "(N, {}, {}, {})".format(*self.input_shape)

    def _probabilities(self, outputs: Array) -> Array:
        """A network that ends in probabilities already has them as they are."""
        last = list(self.layers.values())[-1]
        if isinstance(last, Softmax | Sigmoid) or self.output == "none":
            return outputs
        return getattr(self.backend, self.output)(outputs)
