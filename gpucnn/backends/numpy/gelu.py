"""GELU and its derivative, element by element, from the normal distribution.

With t = |x|, the normal distribution function at -t is exp(-t²/2) R(t). R, which is Mills' ratio
times the density at 0, is a continued fraction a / (t + b + a' / (t + b' + ...)), so that the
result keeps its relative accuracy for large t, where 1 + erf would cancel. A level costs three
passes over a block and is worth two coefficients of a polynomial, which take four.

The coefficients are those of the best rational approximations of R on [0, 14.5] and [0, 42], beyond
which exp(-t²/2) is zero: Remez's algorithm with 50 digits, for errors relative to R (1 + t²/4), the
rounding of t²/2.
"""

from __future__ import annotations

import math

import numpy as np

from gpucnn.backends.contract.checks import Array

FRACTIONS = {
    "float32": (
        (0.398835172, -0.0112853859),
        (1.2103841504, 1.9721968599),
        (-9.9508002737, 4.3693887991),
        (17.7714920047, 1.0746424466),
    ),
    "float64": (
        (0.39894228039653473, -2.6606204696516156e-09),
        (1.0000002655150293, 1.636336523811385e-05),
        (1.9992947914680337, -0.011411094058108385),
        (3.290888792245249, 1.8360498830499385),
        (-24.615483894196412, 14.85122424599734),
        (72.97527384687109, 1.5371175479995758),
        (-11.313854436782778, -3.7292200596539558),
        (86.19567565768348, 9.646881678406771),
        (1.5453698364376505, 8.148043438387505),
        (68.73719257639648, -4.389341150336211),
    ),
}
"""a and b of each level, the outermost first; errors 9e-8 and 5e-18, times 1 + t²/4."""

DENSITY = 1 / math.sqrt(2 * math.pi)

# GELU's approximation is x s(2 z), s the sigmoid and z = SCALE (x + CUBE x³).
SCALE, CUBE = math.sqrt(2 / math.pi), 0.044715


def forward(out: Array, x: Array) -> None:
    """Write x times the normal distribution function at x to ``out``."""
    t, below, power = _tail(x)
    np.negative(power, out=power)
    below *= power
    below *= t
    np.add(x, below, out=out)  # greater than -t P(-t) if x > 0
    np.maximum(out, below, out=out)
    if np.isnan(np.add.reduce(out)):  # the product of zero and infinity
        np.copyto(out, x, where=x == np.inf)


def slope(out: Array, x: Array) -> None:
    """Write the derivative, the distribution function plus x times the density, to ``out``."""
    t, below, power = _tail(x)
    t *= DENSITY
    below -= t
    below *= power  # at infinity NaN, as in PyTorch
    _mirror(out, below, x)


def _tail(x: Array) -> tuple[Array, Array, Array]:
    """Return t = |x|, the distribution function at -t over exp(-t²/2), and exp(-t²/2)."""
    t = np.abs(x)
    power = x * -0.5
    power *= x
    np.exp(power, out=power)
    (numerator, first), *inner = FRACTIONS[x.dtype.name]
    levels = [first, *(number for level in inner for number in level)]
    ratio = t + levels.pop()
    while levels:
        np.divide(levels.pop(), ratio, out=ratio)
        ratio += t
        ratio += levels.pop()
    return t, np.divide(numerator, ratio, out=ratio), power


def _mirror(out: Array, below: Array, x: Array) -> None:
    """Write f(x) to ``out``, given f(-|x|), of a function with f(x) = 1 - f(-x)."""
    np.multiply(below, -2, out=out)
    out += 1
    out *= (x > 0).astype(x.dtype)
    out += below


def tanh_forward(out: Array, x: Array) -> None:
    """Write the approximation with tanh to ``out``."""
    _tanh_gate(out, x)
    out *= x


def tanh_slope(out: Array, x: Array) -> None:
    """Write the derivative of the approximation, s + x s (1 - s) 2 dz/dx, to ``out``."""
    gate = np.empty_like(x)
    _tanh_gate(gate, x)
    term = 1 - gate
    term *= gate
    term *= x
    # Zero for large x before x² is a factor, which may be infinite.
    np.multiply(term, 6 * SCALE * CUBE, out=out)
    out *= x
    out *= x
    term *= 2 * SCALE
    out += term
    out += gate


def _tanh_gate(out: Array, x: Array) -> None:
    """Write s(2 z), which is (1 + tanh(z)) / 2, to ``out``."""
    np.multiply(x, x, out=out)
    out *= -2 * SCALE * CUBE
    out -= 2 * SCALE
    out *= x
    np.exp(out, out=out)
    out += 1
    np.divide(1, out, out=out)
