"""A model's state: by name for users, parameters as one flat vector for optimizers and workers."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends import Backend, get_backend
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.fused import flat_offsets
from gpucnn.errors import CheckpointError
from gpucnn.nn.layers import Buffer, Layer, Parameter
from gpucnn.rng import Stream, generator

_MOST_FAULTS, _MOST_CHARACTERS = 20, 80
"""Of an error message: that of the file of a large network would fill the screen."""


class FlatParameters:
    """Base of ``Sequential``: the parameters of ``layers`` on ``backend``.

    All values are in one vector, ``flat_parameters`` (flat_size,), and all gradients in another,
    ``flat_grads`` (flat_size,), in the order of the layers. The ``data`` and ``grad`` of each
    parameter are views of them. Each parameter begins at a multiple of 8 elements; the elements
    between parameters are padding, which is always zero. Buffers are arrays of their own.
    """

    seed: int | None = None
    """Seed that the weights were drawn from, None once others were loaded."""

    def __init__(self, layers: Mapping[str, Layer], backend: Backend) -> None:
        self.layers = dict(layers)
        self._allocate(backend)

    @property
    def size(self) -> int:
        """Number of parameters, counting every element."""
        return sum(parameter.size for parameter in self.parameters())

    @property
    def flat_size(self) -> int:
        """Number of elements of the flat vectors: those of all parameters, and padding."""
        return self._offsets()[-1]

    def parameters(self) -> Iterator[Parameter]:
        """Yield every parameter, in the order of the layers."""
        return (parameter for _, parameter in self.named_parameters())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield (name, parameter); names are PyTorch's: "conv1.weight", "conv1.bias", …"""
        return (
            (f"{name}.{key}", parameter)
            for name, layer in self.layers.items()
            for key, parameter in layer.parameters.items()
        )

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Yield (name, buffer); names are PyTorch's: "bn1.running_mean", …"""
        return (
            (f"{name}.{key}", buffer)
            for name, layer in self.layers.items()
            for key, buffer in layer.buffers.items()
        )

    def named_state(self) -> Iterator[tuple[str, Parameter | Buffer]]:
        """Yield (name, parameter or buffer), in the order of PyTorch's ``state_dict``."""
        return _named_state(self.layers)

    @contextmanager
    def keeping_buffers(self) -> Iterator[None]:
        """Give buffers the values again that they had before the ``with``."""
        before = {name: self.backend.to_numpy(b.data) for name, b in self.named_buffers()}
        try:
            yield
        finally:
            for name, buffer in self.named_buffers():
                buffer.data[...] = self.backend.asarray(before[name])

    def initialize(self, seed: int) -> None:
        """Draw all weights from ``seed``, the same on every backend; set buffers to their start."""
        for index, parameter in enumerate(self.parameters()):
            rng = generator(seed, Stream.WEIGHTS, index)
            values = parameter.draw(rng, parameter.shape, parameter.fan_in, parameter.fan_out)
            parameter.data[...] = self.backend.asarray(values)
        for _, buffer in self.named_buffers():
            buffer.data[...] = buffer.fill
        self.seed = seed

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return copies of all parameters and buffers as NumPy arrays.

        Names, shapes and order are those of PyTorch's ``state_dict``.
        """
        return {name: self.backend.to_numpy(part.data) for name, part in self.named_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy the values of all parameters and buffers from ``state``, arrays by name.

        Raises CheckpointError, and changes nothing, if names are missing or unknown, or shapes
        differ. ``num_batches_tracked`` may be missing, as in files of old versions of PyTorch.
        """
        check_state(self.layers, state)
        with np.errstate(over="ignore"):  # training reports infinite weights
            for name, part in self.named_state():
                if name in state:
                    values = np.asarray(state[name]).astype(part.dtype or np.float64)
                    part.data[...] = self.backend.asarray(values)
        self.seed = None

    def to(self, backend: str | Backend) -> Self:
        """Move parameters and buffers to ``backend`` and return the model.

        A backend given by name gets the dtype of the present one. Gradients become zero.
        """
        if isinstance(backend, str):
            backend = get_backend(backend, self.backend.dtype)
        self._reallocate(backend)
        return self

    def lay_out(self, flat_parameters: Array, flat_grads: Array) -> None:
        """Make parameters and gradients views of two vectors (flat_size,), with their values."""
        self.flat_parameters, self.flat_grads = flat_parameters, flat_grads
        for offset, parameter in zip(self._offsets(), self.parameters(), strict=False):
            end = offset + parameter.size
            parameter.data = flat_parameters[offset:end].reshape(parameter.shape)
            parameter.grad = flat_grads[offset:end].reshape(parameter.shape)

    def split(self, flat: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the parts of a flat vector (flat_size,) of NumPy by the parameters' names."""
        return {
            name: flat[offset : offset + parameter.size].reshape(parameter.shape)
            for offset, (name, parameter) in zip(
                self._offsets(), self.named_parameters(), strict=False
            )
        }

    def without_padding(self, flat: Array) -> NDArray[Any]:
        """Return the elements of all parameters in a flat vector (flat_size,): NumPy, (size,)."""
        return self.backend.to_numpy(flat)[self._is_element()]

    def with_padding(self, values: NDArray[Any]) -> Array:
        """Return a flat vector (flat_size,) of values (size,): without_padding's inverse."""
        flat = np.zeros(self.flat_size, values.dtype)
        flat[self._is_element()] = values
        return self.backend.asarray(flat)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copy or a pickle, in which parameters are no longer views of the vectors."""
        self.__dict__.update(state)
        self._reallocate(self.backend)

    def _reallocate(self, backend: Backend) -> None:
        """Move all values to new vectors on ``backend``."""
        state, seed = self.state_dict(), self.seed
        self._allocate(backend)
        self.load_state_dict(state)
        self.seed = seed

    def _allocate(self, backend: Backend) -> None:
        self.backend = backend
        self.lay_out(backend.zeros((self.flat_size,)), backend.zeros((self.flat_size,)))
        for _, buffer in self.named_buffers():
            buffer.data = backend.zeros(buffer.shape, buffer.dtype)

    def _offsets(self) -> list[int]:
        return flat_offsets(parameter.size for parameter in self.parameters())

    def _is_element(self) -> NDArray[np.bool_]:
        """Return for each element of the flat vectors whether it is a parameter's: (flat_size,)."""
        found = np.zeros(self.flat_size, bool)
        for offset, parameter in zip(self._offsets(), self.parameters(), strict=False):
            found[offset : offset + parameter.size] = True
        return found


def check_state(layers: Mapping[str, Layer], state: Mapping[str, Any]) -> None:
    """Raise CheckpointError, naming some, if arrays are missing, unknown or of another shape."""
    own = dict(_named_state(layers))
    faults = [
        f"{name} is missing"
        for name, part in own.items()
        if name not in state and not part.optional
    ]
    faults += [f"{shown(name)} is unknown" for name in state if name not in own]
    faults += [
        f"{name} has shape {np.shape(state[name])}, expected {part.shape}"
        for name, part in own.items()
        if name in state and np.shape(state[name]) != part.shape
    ]
    if len(faults) > _MOST_FAULTS:
        faults[_MOST_FAULTS - 1 :] = [f"and {len(faults) - _MOST_FAULTS + 1} more"]
    if faults:
        raise CheckpointError("parameters do not fit the model: " + "; ".join(faults))


def shown(name: str) -> str:
    """Return a name from a file, which may be anything, as short text in one line."""
    return name if name.isprintable() and len(name) <= _MOST_CHARACTERS else reprlib.repr(name)


def _named_state(layers: Mapping[str, Layer]) -> Iterator[tuple[str, Parameter | Buffer]]:
    for name, layer in layers.items():
        for key, part in layer.state.items():
            yield f"{name}.{key}", part
