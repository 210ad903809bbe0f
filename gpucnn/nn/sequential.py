"""Sequential: a network of layers, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends import Backend, get_backend
from gpucnn.backends.contract.checks import Array
from gpucnn.config import check_integer, is_builtin
from gpucnn.errors import SettingError, ShapeError
from gpucnn.nn.chain import Chain, Saved
from gpucnn.nn.layers import Layer, Sigmoid, Softmax, TrainingPass
from gpucnn.nn.layers.base import Shape
from gpucnn.nn.layers.structure import build_layers, every_layer, named_layers, output_shapes, trace
from gpucnn.nn.losses import Output
from gpucnn.nn.parameters import FlatParameters
from gpucnn.nn.preprocessing import Normalization, batch_shape, check_images, scale_and_shift
from gpucnn.nn.summary import Summary, summarize
from gpucnn.nn.targets import Targets


class Sequential(FlatParameters):
    """A network of layers, one after the other, on a backend.

    Args:
        layers: a mapping of names to layers, or a sequence; its layers are named "0", "1", … as
            in PyTorch.
        input_shape: the shape (C, H, W) of an image.
        seed: what the weights are drawn from.
        backend: a name or a backend: where the parameters are, and who computes.

    Raises:
        SettingError: there is no layer, or the same one twice.
        ShapeError: layers do not fit together; the message names the layer and both shapes.

    >>> from gpucnn import nn
    >>> layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 10)]
    >>> model = nn.Sequential(layers, (1, 8, 8))
    >>> model
    Sequential(input_shape=(1, 8, 8), 1,490 parameters)
      (0): Conv2d(1, 4, 3)
      (1): ReLU()
      (2): Flatten()
      (3): Linear(144, 10)
    >>> model(numpy.zeros((2, 1, 8, 8), "float32")).shape
    (2, 10)

    ``gpucnn.fit`` trains it, ``predict`` takes images, ``FlatParameters`` has its parameters.
    """

    normalization: Normalization | None = None
    """(mean, standard deviation) of each channel, of pixels from 0 to 1; ``fit`` sets it."""

    classes: tuple[str, ...] | None = None
    """Names of the classes; ``fit`` sets them."""

    targets: Targets | None = None
    """What the outputs mean if they are numbers (regression), else None; ``fit`` sets it."""

    preparation: str | None = None
    """How image files become inputs like the training images: "digit", as MNIST's, or "plain", only
    resized; None if unknown. ``fit`` sets it by the data."""

    output: Output = "softmax"
    """What turns the last layer's scores into probabilities; ``fit`` sets it by the loss."""

    seen: NDArray[np.uint64] | None = None
    """Digests of the images that it was trained on (``gpucnn.data.digests``); ``fit`` adds them."""

    def __init__(
        self,
        layers: Mapping[str, Layer] | Sequence[Layer],
        input_shape: Sequence[int],
        *,
        seed: int = 0,
        backend: str | Backend = "numpy",
    ) -> None:
        layers = named_layers(layers)
        self.input_shape: Shape = tuple(int(size) for size in input_shape)
        if len(self.input_shape) != 3 or min(self.input_shape) < 1:
            raise ShapeError(
                f"input_shape must be (channels, height, width), got {self.input_shape}"
            )
        self.output_shape = output_shapes(layers, self.input_shape)[-1]
        super().__init__(layers, get_backend(backend))
        self.chain = Chain(self.layers)
        self.initialize(seed)

    def __repr__(self) -> str:
        head = f"{type(self).__name__}(input_shape={self.input_shape}, {self.size:,} parameters)"
        return "\n".join([head, *_lines(self.layers, "  ")])

    def initialize(self, seed: int) -> None:
        """Draw all weights from ``seed``, and count training passes from the first again."""
        super().initialize(seed)
        self.seen = None
        self._pass_seed, self._passes = seed, 0

    def __call__(self, x: Array) -> Array:
        """Return the outputs (N, ...) for a batch (N, C, H, W) of the backend's floats.

        For inference: dropout is off.
        """
        return self.forward(x)[0]

    def forward(
        self, x: Array, training: bool | TrainingPass = False
    ) -> tuple[Array, Saved | None]:
        """Return (outputs, saved) for a batch ``x`` (N, C, H, W) of the backend's floats.

        With ``training``, dropout is on and ``saved`` is what ``backward`` needs; else it is None.
        A ``TrainingPass`` decides what random layers draw. With True, the model's seed and the
        number of its passes so far do.
        """
        if tuple(x.shape[1:]) != self.input_shape or not x.shape[0]:
            expected = batch_shape(self.input_shape)
            raise ShapeError(f"the model takes {expected}, got {tuple(x.shape)}")
        this = training if isinstance(training, TrainingPass) else None
        if training and this is None:
            this = self._next_pass()
        outputs, saved = self.chain.forward(self.backend, x, this)
        return outputs, None if this is None else saved

    def _next_pass(self) -> TrainingPass:
        """Count a training pass, and return it."""
        self._passes += 1
        # Custom layers may draw without saying so.
        drawing = any(
            layer.random or not is_builtin(layer) for layer in self.every_layer().values()
        )
        step = self.backend.asarray(np.array([self._passes])) if drawing else None
        return TrainingPass(self._pass_seed, step)

    def backward(self, grad: Array, saved: Saved | None, input_grad: bool = False) -> Array | None:
        """Write the parameters' gradients, given ``grad``, that of the outputs.

        ``saved`` is what ``forward(x, training=True)`` returned. It is used up, so that each
        layer's memory is free as soon as its gradients are written; SettingError if it has been
        used or is None. Return the gradient of the input, or None unless ``input_grad``.
        """
        if not saved:
            raise SettingError(
                "backward needs what forward saved: outputs, saved = "
                "model.forward(x, training=True); each saved serves one backward"
            )
        return self.chain.backward(self.backend, grad, saved, input_grad)

    def predict(self, images: Any, batch_size: int = 64) -> NDArray[Any]:
        """Return the class probabilities of each image, a NumPy array (N, classes).

        A network for regression, one with ``targets``, returns the predicted numbers in their own
        units, float64 (N, K).

        ``images`` are uint8, (N, C, H, W), or (N, H, W) for models of one channel, as in the data
        that the model was trained on; others raise DataError. A model trained by a squared error
        has no probabilities: its scores are returned.
        """
        be, rows = self.backend, []
        with be.limit_threads():
            for _, x in self.batches(images, batch_size):
                rows.append(be.to_numpy(self.probabilities(self(x))))
        outputs = np.concatenate(rows)
        return outputs if self.targets is None else self.targets.restore(outputs)

    @property
    def has_probabilities(self) -> bool:
        """Whether ``predict`` returns probabilities; False after training by a squared error."""
        return self.output != "none" or self.ends_in_probabilities()

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the classes or targets; outputs without a name have their number."""
        names = self.targets.names if self.targets else self.classes or ()
        return (*names, *map(str, range(len(names), self.output_shape[0])))

    def probabilities(self, outputs: Array) -> Array:
        """Return what ``predict`` makes of the last layer's outputs, as the backend's array."""
        if self.output == "none" or self.ends_in_probabilities():
            return outputs
        return getattr(self.backend, self.output)(outputs)

    def ends_in_probabilities(self) -> bool:
        """Return whether the last layer is a softmax or a sigmoid."""
        return isinstance(list(self.layers.values())[-1], Softmax | Sigmoid)

    def feature_maps(self, images: Any, batch_size: int = 64) -> dict[str, NDArray[Any]]:
        """Return the output of every layer by its name, NumPy arrays (N, C, H, W) or (N, F).

        Those of layers inside others, such as "block.body.conv", come before those of the others.
        ``images`` are as for ``predict``. Each layer is computed by itself, so that all outputs are
        there, also of layers that ``predict`` computes as one operation: the last may differ from
        its scores by rounding. Dropout is off. Memory: all outputs of all images.

        Raises:
            DataError: the images are not uint8 of the model's input shape.
            SettingError: ``batch_size`` is not a positive integer, the model has no normalization,
                or its class has a ``forward`` of its own, which may use its layers in any order.

        >>> from gpucnn import nn
        >>> layers = {"conv": nn.Conv2d(1, 4, 3), "relu": nn.ReLU(), "flatten": nn.Flatten()}
        >>> model = nn.Sequential(layers, (1, 8, 8))
        >>> model.normalization = ((0.5,), (0.5,))
        >>> maps = model.feature_maps(numpy.zeros((5, 1, 8, 8), "uint8"))
        >>> {name: outputs.shape for name, outputs in maps.items()}
        {'conv': (5, 4, 6, 6), 'relu': (5, 4, 6, 6), 'flatten': (5, 144)}
        """
        check_own_forward(self)
        maps: dict[str, NDArray[Any]] = {}
        with self.backend.limit_threads():
            for start, x in self.batches(images, batch_size):

                def keep(name: str, output: Array, start: int = start) -> None:
                    outputs = self.backend.to_numpy(output)
                    if name not in maps:
                        maps[name] = np.empty((len(images), *outputs.shape[1:]), outputs.dtype)
                    maps[name][start : start + len(outputs)] = outputs

                trace(self.layers, self.backend, x, keep)
        return maps

    def every_layer(self) -> dict[str, Layer]:
        """Return all layers by name, also those inside others: "block", "block.body.conv"."""
        return dict(every_layer(self.layers))

    def batches(self, images: Any, batch_size: int) -> Iterator[tuple[int, Array]]:
        """Yield the index of the first image of each batch, and the normalised batch.

        ``images`` and errors are as for ``predict``.
        """
        batch_size = check_integer("batch_size", batch_size, 1)
        be, pixels = self.backend, check_images(images, self.input_shape)
        pixels_there = be.asarray(pixels, np.uint8)
        scale, shift = self.scaling()
        order = be.asarray(np.arange(len(pixels)))
        for start in range(0, len(pixels), batch_size):
            batch = order[start : start + batch_size]
            yield start, be.gather_images(pixels_there, batch, scale, shift)

    def scaling(self) -> tuple[Array, Array]:
        """Return the (scale, shift) that normalise pixels, each (C,), for ``gather_images``."""
        scale, shift = scale_and_shift(self.normalization, self.input_shape[0])
        return self.backend.asarray(scale), self.backend.asarray(shift)

    def summary(self) -> Summary:
        """Return each layer's output shape, parameters, multiply-adds and receptive field."""
        return summarize(self.layers, self.input_shape)

    def config(self) -> dict[str, Any]:
        """Return the architecture as plain data, from which ``from_config`` builds it."""
        layers = [{"name": name, **layer.config()} for name, layer in self.layers.items()]
        return {"input_shape": list(self.input_shape), "layers": layers}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], backend: str | Backend = "numpy") -> Sequential:
        """Build the model that ``config()`` described, with the weights of seed 0."""
        return cls(layers_from_config(config), config["input_shape"], backend=backend)


def _lines(layers: Mapping[str, Layer], indent: str) -> Iterator[str]:
    """Yield a line for each layer; those of layers inside others are indented."""
    for name, layer in layers.items():
        yield f"{indent}({name}): {type(layer).__name__ if layer.children else layer}"
        yield from _lines(layer.children, indent + "  ")


def custom_class(model: Sequential) -> str | None:
    """Return the name of the model's class if it computes otherwise than ``Sequential``, else None.

    Its code is in no file: the layers alone would be another model.
    """
    for name in ("forward", "backward", "__call__"):
        if name in vars(model) or getattr(type(model), name) is not getattr(Sequential, name):
            return type(model).__name__
    return None


def check_own_forward(model: Sequential) -> None:
    """Raise SettingError if the model's class computes otherwise than layer by layer."""
    if (custom := custom_class(model)) is not None:
        raise SettingError(
            f"the model ({custom}) has a forward or backward of its own, so the outputs of its "
            "layers are not known: call its layers"
        )


def layers_from_config(config: Mapping[str, Any]) -> dict[str, Layer]:
    """Return the layers that ``Sequential.config`` described, without memory for their weights.

    Raises SettingError if a layer's class is unknown, or refuses its arguments.
    """
    return build_layers(config["layers"])
