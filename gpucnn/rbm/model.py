"""The restricted Boltzmann machine: its units, probabilities and energies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends import Backend, get_backend
from gpucnn.backends.contract.checks import Array
from gpucnn.config import check_flag, check_integer
from gpucnn.data.lazy import LazyImages
from gpucnn.errors import DataError, SettingError, ShapeError
from gpucnn.nn import Linear, Sequential
from gpucnn.nn.layers import Layer, Parameter
from gpucnn.nn.parameters import FlatParameters
from gpucnn.nn.preprocessing import check_images
from gpucnn.rng import Stream, philox_key

BATCH_SIZE = 500
"""Images at a time where the number makes no difference to the result."""

_INITIAL_STD = 0.01


class RBM(FlatParameters):
    """A restricted Boltzmann machine of binary units: pixels v and hidden units h.

    Its energy is E(v, h) = -h W v - b v - c h, so that P(h = 1 | v) = sigmoid(W v + c) and
    P(v = 1 | h) = sigmoid(h W + b). Pixels from 0 to 1 count as probabilities of binary ones, as in
    Hinton, "A practical guide to training restricted Boltzmann machines", 2010.

    Weights begin as normal numbers with a standard deviation of 0.01, biases as zeros; ``rbm.fit``
    sets the biases of a new machine's visible units by the mean of the training images.

    Args:
        input_shape: the shape (C, H, W) of an image; each pixel is a visible unit.
        hidden: the number of hidden units, at least 1.
        binary: whether pixels are rounded to 0 or 1.
        seed: what the weights are drawn from.
        backend: a name or a backend: where the parameters are, and who computes.

    Raises:
        ShapeError: ``input_shape`` is not three positive sizes.
        SettingError: another argument is outside its range.

    ``state_dict`` has "hidden.weight" W (hidden, pixels), "hidden.bias" c (hidden,) and
    "visible.bias" b (pixels,).

    >>> from gpucnn import rbm
    >>> machine = rbm.RBM((1, 28, 28), hidden=64)
    >>> machine
    RBM(input_shape=(1, 28, 28), hidden=64, 51,024 parameters)
    >>> machine.transform(gpucnn.data.mnist().test.images[:3]).shape
    (3, 64)
    """

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        hidden: int = 256,
        *,
        binary: bool = False,
        seed: int = 0,
        backend: str | Backend = "numpy",
    ) -> None:
        listed = isinstance(input_shape, list | tuple) and len(input_shape) == 3
        if not listed or not all(isinstance(k, int | np.integer) and k > 0 for k in input_shape):
            raise ShapeError(
                "RBM: input_shape must be (channels, height, width), such as (1, 28, 28), got "
                f"{input_shape!r}"
            )
        sizes = tuple(int(size) for size in input_shape)
        self.input_shape = sizes
        self.hidden = check_integer("RBM: hidden", hidden, 1)
        self.visible = sizes[0] * sizes[1] * sizes[2]
        self.binary = check_flag("RBM: binary", binary)
        weight = Parameter((self.hidden, self.visible))
        weight.draw = _small_normal
        layers = {
            "hidden": _Units({"weight": weight, "bias": Parameter((self.hidden,), init=0.0)}),
            "visible": _Units({"bias": Parameter((self.visible,), init=0.0)}),
        }
        super().__init__(layers, get_backend(backend))
        self.initialize(check_integer("RBM: seed", seed, 0))

    def __repr__(self) -> str:
        binary = ", binary=True" if self.binary else ""
        return (
            f"RBM(input_shape={self.input_shape}, hidden={self.hidden}{binary}, "
            f"{self.size:,} parameters)"
        )

    @property
    def weight(self) -> Array:
        """W, (hidden, pixels)."""
        return self.layers["hidden"].parameters["weight"].data

    @property
    def hidden_bias(self) -> Array:
        """c, (hidden,)."""
        return self.layers["hidden"].parameters["bias"].data

    @property
    def visible_bias(self) -> Array:
        """b, (pixels,)."""
        return self.layers["visible"].parameters["bias"].data

    def config(self) -> dict[str, Any]:
        """Return the arguments that ``RBM(**config)`` builds the same units from."""
        shape = list(self.input_shape)
        return {"input_shape": shape, "hidden": self.hidden, "binary": self.binary}

    def set_visible_bias(self, images: NDArray[np.uint8]) -> None:
        """Set each visible bias to log(p / (1 - p)), where p is the mean of its pixel.

        The machine without weights then draws each pixel as often as it is in ``images``, uint8
        (N, C, H, W). Two images, a white and a black one, are counted as well, so that p is never
        0 or 1.
        """
        pixels = self.prepare(images).reshape(len(images), -1)
        ones = pixels.sum(0, dtype=np.int64) / 255
        mean = (1 + ones) / (2 + len(pixels))
        self.visible_bias[...] = self.backend.asarray(np.log(mean / (1 - mean)))

    # --- images ---------------------------------------------------------------------------------

    def prepare(self, images: Any) -> NDArray[np.uint8]:
        """Return images uint8 (N, C, H, W), rounded to 0 and 255 if the units are ``binary``.

        Raises DataError if they do not have the machine's input shape, or are on disk.
        """
        if isinstance(images, LazyImages):
            raise DataError(
                f"a Boltzmann machine needs its images in memory, but {len(images):,} images are"
                " on disk: give the data that were packed, or images[:] if they fit in memory"
            )
        pixels = check_images(images, self.input_shape)
        if not self.binary:
            return pixels
        rounded: NDArray[np.uint8] = np.where(pixels >= 128, np.uint8(255), np.uint8(0))
        return rounded

    def scaling(self) -> tuple[Array, Array]:
        """Return the (scale, shift), each (C,), that make pixels from 0 to 1 of bytes."""
        channels = self.input_shape[0]
        return (
            self.backend.asarray(np.full(channels, 1 / 255)),
            self.backend.asarray(np.zeros(channels)),
        )

    def batches(self, images: Any, batch_size: int = BATCH_SIZE) -> Iterator[tuple[slice, Array]]:
        """Yield which images a batch has, and its visible units (N, pixels)."""
        be, pixels = self.backend, self.prepare(images)
        scale, shift = self.scaling()
        for start in range(0, len(pixels), batch_size):
            rows = slice(start, min(start + batch_size, len(pixels)))
            part = be.asarray(np.ascontiguousarray(pixels[rows]), np.uint8)
            order = be.asarray(np.arange(len(part)))
            yield rows, be.flatten(be.gather_images(part, order, scale, shift))

    # --- units ----------------------------------------------------------------------------------

    def hidden_inputs(self, visible: Array) -> Array:
        """Return W v + c of visible units (N, pixels), as (N, hidden)."""
        return self.backend.linear(visible, self.weight, self.hidden_bias)

    def hidden_probabilities(self, visible: Array) -> Array:
        """Return P(h = 1 | v) of visible units (N, pixels), as (N, hidden)."""
        return self.backend.sigmoid(self.hidden_inputs(visible))

    def visible_probabilities(self, hidden: Array) -> Array:
        """Return P(v = 1 | h) of hidden units (N, hidden), as (N, pixels)."""
        be, (rows, units) = self.backend, hidden.shape
        weight = self.weight.reshape(units, self.visible, 1, 1)
        inputs = be.conv_transpose2d(hidden.reshape(rows, units, 1, 1), weight, self.visible_bias)
        return be.sigmoid(be.flatten(inputs))

    def free_energy(self, visible: Array) -> NDArray[np.float64]:
        """Return F(v) = -b v - sum of log(1 + exp(W v + c)), so that P(v) ~ exp(-F(v)); (N,).

        ``visible`` is (N, pixels). Waits for the device.
        """
        be = self.backend
        inputs = self.hidden_inputs(visible)
        zeros = be.zeros(inputs.shape)
        # The loss of a target of 0 is log(1 + exp(x)).
        softplus = be.binary_cross_entropy_with_logits(inputs, zeros, reduction="none")
        terms = (
            be.linear(softplus, be.constant((1.0,) * self.hidden).reshape(1, self.hidden)),
            be.linear(visible, self.visible_bias.reshape(1, self.visible)),
        )
        first, second = (be.to_numpy(term).astype(np.float64)[:, 0] for term in terms)
        energy: NDArray[np.float64] = -first - second
        return energy

    # --- what a machine is used for -------------------------------------------------------------

    def transform(self, images: Any) -> NDArray[Any]:
        """Return P(h = 1 | v) of images uint8 (N, C, H, W), a NumPy array (N, hidden)."""
        be, rows = self.backend, []
        with be.limit_threads():
            for _, visible in self.batches(images):
                rows.append(be.to_numpy(self.hidden_probabilities(visible)))
        return np.concatenate(rows)

    def reconstruct(self, images: Any) -> NDArray[Any]:
        """Return P(v = 1 | P(h = 1 | images)), a NumPy array (N, C, H, W) from 0 to 1."""
        be, rows = self.backend, []
        with be.limit_threads():
            for _, visible in self.batches(images):
                hidden = self.hidden_probabilities(visible)
                rows.append(be.to_numpy(self.visible_probabilities(hidden)))
        return np.concatenate(rows).reshape(-1, *self.input_shape)

    def sample(
        self, count: int = 64, steps: int = 1000, seed: int = 0, *, images: Any = None
    ) -> NDArray[Any]:
        """Draw images by Gibbs sampling.

        Args:
            count: the number of chains, at least 1.
            steps: how often all visible and hidden units are drawn, at least 1.
            seed: what they are drawn from.
            images: uint8 (count, C, H, W) that the chains start from; random hidden units if None.

        Returns:
            The probabilities of the pixels in the last step, (count, C, H, W) from 0 to 1.
        """
        count = check_integer("count", count, 1)
        steps = check_integer("steps", steps, 1)
        be = self.backend
        keys = [philox_key(seed, Stream.GIBBS, 0, half) for half in range(3)]
        if images is None:
            likely = be.asarray(np.full((count, self.hidden), 0.5))
        elif len(images) != count:
            raise SettingError(f"expected {count} images to start from, got {len(images)}")
        else:
            likely = self.hidden_probabilities(next(self.batches(images, count))[1])
        hidden = be.bernoulli(likely, keys[2], be.asarray(np.array([0])))
        with be.limit_threads():
            for number in range(1, steps + 1):
                step = be.asarray(np.array([number]))
                inputs = be.linear_transpose(hidden, self.weight)
                found, visible = be.sample_units(inputs, keys[0], step, self.visible_bias)
                hidden = be.sample_units(self.hidden_inputs(visible), keys[1], step)[1]
        return be.to_numpy(found).reshape(count, *self.input_shape)

    def initialize_layer(self, model: Sequential, layer: str | None = None) -> str:
        """Copy weights and biases of the hidden units to a linear layer of a network.

        The layer then computes W v + c of the same images: the weights are changed for the
        ``normalization`` that the network applies to them.

        Args:
            model: a network with ``normalization`` (``data.statistics()``) and an ``input_shape``
                of as many pixels.
            layer: the name of a Linear with a bias; the first one of the network if None.

        Returns:
            The name of the layer.

        Raises:
            SettingError: there is no such layer, it has another shape, or the model has no
                normalization.
        """
        name, found = _linear(model, layer)
        sizes = (found.in_features, found.out_features)
        if sizes != (self.visible, self.hidden):
            raise SettingError(
                f"layer {name!r} is Linear{sizes}, but the machine has {self.visible} visible and "
                f"{self.hidden} hidden units: expected Linear({self.visible}, {self.hidden})"
            )
        if model.normalization is None:
            raise SettingError(
                "the model has no normalization: set model.normalization = data.statistics()"
            )
        mean, std = (
            np.repeat(np.array(values, np.float64), self.visible // len(values))
            for values in model.normalization
        )
        state = self.state_dict()
        weight = state["hidden.weight"].astype(np.float64)
        bias = state["hidden.bias"] + weight @ mean
        found.parameters["weight"].data[...] = model.backend.asarray(weight * std)
        found.parameters["bias"].data[...] = model.backend.asarray(bias)
        model.seed = None
        return name


class _Units(Layer):
    """The parameters of one kind of units."""

    def __init__(self, parameters: dict[str, Parameter]) -> None:
        self._parameters = parameters


def _small_normal(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
) -> NDArray[Any]:
    return rng.normal(0, _INITIAL_STD, shape)


def _linear(model: Sequential, name: str | None) -> tuple[str, Linear]:
    """Return the linear layer called ``name``, or the first one; SettingError if there is none."""
    linear = {key: one for key, one in model.layers.items() if isinstance(one, Linear) and one.bias}
    if not linear or (name is not None and name not in linear):
        known = f": expected {' or '.join(map(repr, linear))}" if linear else ""
        wanted = "the model has no layer" if name is None else f"layer {name!r} is not a layer"
        raise SettingError(f"{wanted} Linear with a bias{known}")
    name = next(iter(linear)) if name is None else name
    return name, linear[name]
