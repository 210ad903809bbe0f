"""Recurrent layers, which read a sequence (T, F) step by step, and the rows of images as such.

A sequence has T steps of F features. ``Rows`` makes one of an image, and ``RNN`` and ``GRU`` return
the state after the last step, (H,), or the states of all steps, (T, H):

>>> from gpucnn import nn
>>> layers = [nn.Rows(), nn.GRU(28, 64), nn.Linear(64, 10)]
>>> nn.Sequential(layers, (1, 28, 28)).summary()
layer  type    output  parameters  multiply-adds  receptive field
0      Rows     28x28           0              0    1x1, stride 1
1      GRU         64      18,048        494,592      whole image
2      Linear      10         650            640      whole image
total                      18,698        495,232
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.recurrent import checked_nonlinearity
from gpucnn.config import check_flag, check_integer
from gpucnn.errors import ShapeError
from gpucnn.nn.layers.base import Fields, Layer, Shape, TrainingPass
from gpucnn.nn.layers.state import Parameter


@dataclass(eq=False, repr=False)
class Rows(Layer):
    """The rows of images as sequences, from top to bottom: (C, H, W) to (H, C * W).

    A step has the row of each channel, one channel after the other. In PyTorch it is
    ``x.transpose(1, 2).flatten(2)``.
    """

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 3:
            raise ShapeError(f"expected (C, H, W), got {shape}")
        channels, height, width = shape
        return (height, channels * width)

    def receptive_fields(self, fields: Fields | None, shape: Shape) -> Fields | None:
        """Return the fields of one channel; of several, neighbours are of other channels."""
        return fields if shape[0] == 1 else None

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        return be.rows(x), tuple(x.shape)

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        return be.rows_backward(grad, saved)


class _Recurrent(Layer):
    """Base of recurrent layers: one recurrence on another, with PyTorch's names of parameters."""

    gates: ClassVar[int]
    """Rows of the weights for each hidden unit."""

    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    return_sequences: bool

    def __post_init__(self) -> None:
        kind = type(self).__name__
        for name in ("input_size", "hidden_size", "num_layers"):
            check_integer(f"{kind}: {name}", getattr(self, name), 1)
        for name in ("bias", "return_sequences"):
            check_flag(f"{kind}: {name}", getattr(self, name))
        self._parameters = {}
        rows, inputs = self.gates * self.hidden_size, self.input_size
        for index in range(self.num_layers):
            shapes: dict[str, Shape] = {"weight_ih": (rows, inputs)}
            shapes["weight_hh"] = (rows, self.hidden_size)
            if self.bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            for name, shape in shapes.items():
                # As PyTorch, which draws all from [-b, b] with b = 1 / sqrt(hidden_size).
                self._parameters[f"{name}_l{index}"] = Parameter(shape, self.hidden_size)
            inputs = self.hidden_size

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 2 or shape[1] != self.input_size:
            hint = "; put Rows before it" if len(shape) == 3 else ""
            raise ShapeError(f"expected a sequence (T, {self.input_size}), got {shape}{hint}")
        return (shape[0], self.hidden_size) if self.return_sequences else (self.hidden_size,)

    def multiply_adds(self, shape: Shape) -> int:
        """Return those of the products with both weights, at each step."""
        weights = [p.size for name, p in self.parameters.items() if name.startswith("weight")]
        return shape[0] * sum(weights)

    def receptive_fields(self, fields: Fields | None, shape: Shape) -> Fields | None:
        """The last state depends on the whole image."""
        return None

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        saved = []
        for index in range(self.num_layers):
            of_input, of_state = self._weights(index)
            states, kept = self._recur(be, be.linear(x, *of_input), *of_state, training)
            if training is not None:
                saved.append((x, states, kept))
            x = states
        return x if self.return_sequences else be.last_step(x), saved

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        if not self.return_sequences:
            grad = be.last_step_backward(grad, tuple(saved[-1][1].shape))
        for index in reversed(range(self.num_layers)):
            x, states, kept = saved[index]
            (of_input, _), (of_state, _) = self._weights(index)
            input_grads, state_grads = self._grads(index)
            grad = self._recur_backward(be, grad, states, kept, of_state, state_grads)
            grad = be.linear_backward(
                grad, x, of_input, input_grad=input_grad or index > 0, out=input_grads
            )[0]
        return grad

    def _weights(self, index: int) -> list[tuple[Array, Array | None]]:
        """Return (weight, bias) of a recurrence's input and of its state."""
        return [
            (weight.data, None if bias is None else bias.data)
            for weight, bias in self._parameters_of(index)
        ]

    def _grads(self, index: int) -> list[tuple[Array, Array | None]]:
        """Return the arrays of their gradients."""
        return [
            (weight.grad, None if bias is None else bias.grad)
            for weight, bias in self._parameters_of(index)
        ]

    def _parameters_of(self, index: int) -> list[tuple[Parameter, Parameter | None]]:
        return [
            (self._parameters[f"weight_{of}_l{index}"], self._parameters.get(f"bias_{of}_l{index}"))
            for of in ("ih", "hh")
        ]

    @abstractmethod
    def _recur(
        self,
        be: Backend,
        x: Array,
        weight: Array,
        bias: Array | None,
        training: TrainingPass | None,
    ) -> tuple[Array, Any]:
        """Return the states of a recurrence, and what else its backward needs."""

    @abstractmethod
    def _recur_backward(
        self,
        be: Backend,
        grad: Array,
        states: Array,
        kept: Any,
        weight: Array,
        out: tuple[Array, Array | None],
    ) -> Array:
        """Write the gradients of weight and bias to ``out`` and return that of ``x``."""


@dataclass(eq=False, repr=False)
class RNN(_Recurrent):
    """An Elman network, as ``torch.nn.RNN`` with ``batch_first=True``: (T, input_size) to (H,).

        h_t = f(x_t weight_ihᵀ + bias_ih + h_{t-1} weight_hhᵀ + bias_hh),  h_0 = 0

    H is ``hidden_size``, and f is ``nonlinearity``, "tanh" or "relu". Of ``num_layers`` each reads
    the states of the one before. The output is the last state of the last one, or with
    ``return_sequences``, as in Keras, all its states (T, H). Parameters are PyTorch's:
    ``weight_ih_l0`` (H, input_size), ``weight_hh_l0`` (H, H), ``bias_ih_l0`` and ``bias_hh_l0``
    (H,), ``weight_ih_l1``, …; all are drawn from [-b, b] with b = 1 / sqrt(H), as there.
    """

    gates = 1
    input_size: int
    hidden_size: int
    num_layers: int = 1
    nonlinearity: str = "tanh"
    bias: bool = True
    return_sequences: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_nonlinearity("RNN", self.nonlinearity)

    def _recur(
        self,
        be: Backend,
        x: Array,
        weight: Array,
        bias: Array | None,
        training: TrainingPass | None,
    ) -> tuple[Array, Any]:
        return be.rnn(x, weight, bias, self.nonlinearity), None

    def _recur_backward(
        self,
        be: Backend,
        grad: Array,
        states: Array,
        kept: Any,
        weight: Array,
        out: tuple[Array, Array | None],
    ) -> Array:
        return be.rnn_backward(grad, states, weight, self.nonlinearity, out=out)[0]


@dataclass(eq=False, repr=False)
class GRU(_Recurrent):
    """Gated recurrent units, as ``torch.nn.GRU`` with ``batch_first=True``; Cho et al., 2014.

        r = sigmoid(x_t W_irᵀ + b_ir + h_{t-1} W_hrᵀ + b_hr)
        z = sigmoid(x_t W_izᵀ + b_iz + h_{t-1} W_hzᵀ + b_hz)
        n = tanh(x_t W_inᵀ + b_in + r (h_{t-1} W_hnᵀ + b_hn))
        h_t = (1 - z) n + z h_{t-1},  h_0 = 0

    The reset gate comes after the product. Arguments, output and names of parameters are those
    of ``RNN``; each parameter has the rows of r, z and n, one after the other: ``weight_ih_l0`` is
    (3 H, input_size).
    """

    gates = 3
    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    return_sequences: bool = False

    def _recur(
        self,
        be: Backend,
        x: Array,
        weight: Array,
        bias: Array | None,
        training: TrainingPass | None,
    ) -> tuple[Array, Any]:
        if training is None:
            return be.gru(x, weight, bias), None
        states, gates = be.gru(x, weight, bias, return_gates=True)
        return states, gates

    def _recur_backward(
        self,
        be: Backend,
        grad: Array,
        states: Array,
        kept: Any,
        weight: Array,
        out: tuple[Array, Array | None],
    ) -> Array:
        return be.gru_backward(grad, states, kept, weight, out=out)[0]
