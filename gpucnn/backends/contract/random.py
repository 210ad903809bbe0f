"""Random numbers, and dropout by them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import Array
from gpucnn.config import check_number
from gpucnn.errors import ShapeError


def threshold(probability: float) -> int:
    """Return the number of words of Philox, of 2**32, that stand for an event."""
    return round(probability * 2**32)


class Random(Arrays):
    """Random numbers, and dropout by them.

    They are those of Philox 4x32-10 (``gpucnn.rng.philox``), the same on every backend: a function
    of ``key``, an integer of 64 bits (``gpucnn.rng.philox_key``), the number in ``step``, int64
    (1,), and the index of an element in row-major order. A captured step reads ``step`` at each
    replay, so it draws other numbers each time.
    """

    def dropout(self, input: Array, p: float, key: int, step: Array) -> Array:
        """Return ``input`` times 0 with probability ``p``, else times 1 / (1 - p); any shape.

        An element is kept if its random word is at least ``p`` times 2**32.
        """
        self._check("dropout", "input", input)
        return self._dropout(input, *self._check_dropout("dropout", p, key, step), step)

    @abstractmethod
    def _dropout(
        self, input: Array, threshold: int, scale: float, key: int, step: Array
    ) -> Array: ...

    def dropout_backward(self, grad: Array, p: float, key: int, step: Array) -> Array:
        """Return ``grad`` times what ``dropout`` multiplied with; the mask is drawn again."""
        self._check("dropout_backward", "grad", grad)
        return self._dropout(grad, *self._check_dropout("dropout_backward", p, key, step), step)

    def dropout2d(self, input: Array, p: float, key: int, step: Array) -> Array:
        """Return ``input`` (N, C, H, W) with each channel of a sample dropped or kept as a whole.

        Channel c of sample n uses the random word of element n C + c.
        """
        self._check("dropout2d", "input", input, (None,) * 4)
        return self._dropout2d(input, *self._check_dropout("dropout2d", p, key, step), step)

    @abstractmethod
    def _dropout2d(
        self, input: Array, threshold: int, scale: float, key: int, step: Array
    ) -> Array: ...

    def dropout2d_backward(self, grad: Array, p: float, key: int, step: Array) -> Array:
        """Return ``grad`` times what ``dropout2d`` multiplied with."""
        op = "dropout2d_backward"
        self._check(op, "grad", grad, (None,) * 4)
        return self._dropout2d(grad, *self._check_dropout(op, p, key, step), step)

    def uniform(self, shape: Sequence[int], key: int, step: Array) -> Array:
        """Return numbers from [0, 1) of ``shape``: the upper 24 bits of each element's word.

        They are the same in float32 and float64.
        """
        if not shape or min(shape) < 1:
            raise ShapeError(f"uniform: shape must be positive sizes, got {tuple(shape)}")
        return self._uniform(tuple(map(int, shape)), self._check_key("uniform", key, step), step)

    @abstractmethod
    def _uniform(self, shape: tuple[int, ...], key: int, step: Array) -> Array: ...

    def bernoulli(self, probabilities: Array, key: int, step: Array) -> Array:
        """Return 1 with each of ``probabilities``, of any shape, else 0; NaN stays NaN.

        An element is 1 if ``uniform`` of these arguments is less than its probability.
        """
        self._check("bernoulli", "probabilities", probabilities)
        return self._bernoulli(probabilities, self._check_key("bernoulli", key, step), step)

    @abstractmethod
    def _bernoulli(self, probabilities: Array, key: int, step: Array) -> Array: ...

    def _check_dropout(self, op: str, p: float, key: int, step: Array) -> tuple[int, float, int]:
        """Return the least word of an element that is kept, its factor, and the key."""
        p = float(check_number(f"{op}: p", p, 0.0, 1.0))
        return threshold(p), 1 / (1 - p), self._check_key(op, key, step)
