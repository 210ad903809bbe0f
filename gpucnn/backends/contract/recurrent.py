"""Recurrent networks, and sequences: the rows of an image, and the last step.

A sequence is (N, T, F): N samples, T steps of F features. The states of a recurrent network with H
hidden units are (N, T, H). What the network computes from the input alone, x_t w_ihᵀ + b_ih, is
``linear`` of all steps at once; the operations here take its result and add what depends on the
step before. h_0, the state before the first step, is zero.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import Array, ParameterGrads
from gpucnn.errors import SettingError

NONLINEARITIES = ("tanh", "relu")
"""Activations of an Elman network."""


class Recurrent(Arrays):
    """Recurrent networks, and sequences."""

    def rnn(
        self, input: Array, weight: Array, bias: Array | None = None, nonlinearity: str = "tanh"
    ) -> Array:
        """Return the states h_t = f(x_t + h_{t-1} wᵀ + b) of an Elman network, (N, T, H).

        ``input`` x is (N, T, H), ``weight`` w (H, H), ``bias`` b (H,), and f is "tanh" or "relu".
        """
        self._check_recurrent("rnn", input, weight, bias, gates=1)
        return self._rnn(input, weight, bias, checked_nonlinearity("rnn", nonlinearity))

    @abstractmethod
    def _rnn(self, input: Array, weight: Array, bias: Array | None, nonlinearity: str) -> Array: ...

    def rnn_backward(
        self,
        grad: Array,
        output: Array,
        weight: Array,
        nonlinearity: str = "tanh",
        *,
        out: ParameterGrads | None = None,
    ) -> tuple[Array, Array, Array | None]:
        """Return the gradients of input, weight and bias, by backpropagation through time.

        ``grad`` is that of all states, without what they contribute to later ones. ``out`` is as
        in ``conv2d_backward``.
        """
        op = "rnn_backward"
        nonlinearity = checked_nonlinearity(op, nonlinearity)
        self._check_pair(op, "grad", grad, "output", output)
        self._check_recurrent(op, output, weight, None, gates=1, name="output")
        out = self._parameter_grads(op, out, weight.shape, weight.shape[0])
        return self._rnn_backward(grad, output, weight, nonlinearity, out), *out

    @abstractmethod
    def _rnn_backward(
        self, grad: Array, output: Array, weight: Array, nonlinearity: str, out: ParameterGrads
    ) -> Array: ...

    def gru(
        self,
        input: Array,
        weight: Array,
        bias: Array | None = None,
        return_gates: bool = False,
    ) -> Any:
        """Return the states of a network of gated recurrent units, (N, T, H), as ``torch.nn.GRU``.

        ``input`` x is (N, T, 3 H), ``weight`` (3 H, H) and ``bias`` (3 H,): three parts for the
        reset gate r, the update gate z and the new state n.

            r_t = sigmoid(x_rt + h_{t-1} w_rᵀ + b_r)
            z_t = sigmoid(x_zt + h_{t-1} w_zᵀ + b_z)
            q_t = h_{t-1} w_nᵀ + b_n
            n_t = tanh(x_nt + r_t q_t)
            h_t = (1 - z_t) n_t + z_t h_{t-1}

        With ``return_gates``, also return r, z, q and n, (N, T, 4 H), which the backward needs.
        """
        self._check_recurrent("gru", input, weight, bias, gates=3)
        output, gates = self._gru(input, weight, bias, return_gates)
        return (output, gates) if return_gates else output

    @abstractmethod
    def _gru(
        self, input: Array, weight: Array, bias: Array | None, return_gates: bool
    ) -> tuple[Array, Array | None]: ...

    def gru_backward(
        self,
        grad: Array,
        output: Array,
        gates: Array,
        weight: Array,
        *,
        out: ParameterGrads | None = None,
    ) -> tuple[Array, Array, Array | None]:
        """Return the gradients of input, weight and bias; see ``rnn_backward``."""
        op = "gru_backward"
        self._check_pair(op, "grad", grad, "output", output)
        self._check(op, "output", output, (None,) * 3)
        samples, steps, hidden = output.shape
        self._check(op, "gates", gates, (samples, steps, 4 * hidden))
        self._check(op, "weight", weight, (3 * hidden, hidden))
        out = self._parameter_grads(op, out, weight.shape, weight.shape[0])
        return self._gru_backward(grad, output, gates, weight, out), *out

    @abstractmethod
    def _gru_backward(
        self, grad: Array, output: Array, gates: Array, weight: Array, out: ParameterGrads
    ) -> Array: ...

    def _check_recurrent(
        self,
        op: str,
        input: Array,
        weight: Array,
        bias: Array | None,
        gates: int,
        name: str = "input",
    ) -> None:
        self._check(op, "weight", weight, (None, None))
        hidden = weight.shape[1]
        self._check(op, "weight", weight, (gates * hidden, hidden))
        self._check(op, name, input, (None, None, gates * hidden))
        if bias is not None:
            self._check(op, "bias", bias, (gates * hidden,))

    # --- sequences --------------------------------------------------------------------------------

    def rows(self, input: Array) -> Array:
        """Return the rows of images (N, C, H, W) as sequences, (N, H, C W): channel by channel."""
        self._check("rows", "input", input, (None,) * 4)
        return self._rows(input)

    @abstractmethod
    def _rows(self, input: Array) -> Array: ...

    def rows_backward(self, grad: Array, input_shape: Sequence[int]) -> Array:
        """Return ``grad`` in the order and the shape of the images."""
        op = "rows_backward"
        samples, channels, height, width = self._shape(op, "input_shape", input_shape, 4)
        self._check(op, "grad", grad, (samples, height, channels * width))
        return self._rows_backward(grad, (samples, channels, height, width))

    @abstractmethod
    def _rows_backward(self, grad: Array, input_shape: tuple[int, int, int, int]) -> Array: ...

    def last_step(self, input: Array) -> Array:
        """Return the last step of sequences (N, T, F), (N, F)."""
        self._check("last_step", "input", input, (None,) * 3)
        return self._last_step(input)

    @abstractmethod
    def _last_step(self, input: Array) -> Array: ...

    def last_step_backward(self, grad: Array, input_shape: Sequence[int]) -> Array:
        """Return ``grad`` as the last step of sequences whose other steps are zero."""
        op = "last_step_backward"
        samples, steps, features = self._shape(op, "input_shape", input_shape, 3)
        self._check(op, "grad", grad, (samples, features))
        return self._last_step_backward(grad, (samples, steps, features))

    @abstractmethod
    def _last_step_backward(self, grad: Array, input_shape: tuple[int, int, int]) -> Array: ...


def checked_nonlinearity(op: str, nonlinearity: str) -> str:
    """Return ``nonlinearity``, which must be "tanh" or "relu"."""
    if nonlinearity not in NONLINEARITIES:
        raise SettingError(f'{op}: nonlinearity must be "tanh" or "relu", got {nonlinearity!r}')
    return nonlinearity
