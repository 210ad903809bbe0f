"""GELU and its derivative, element by element, from the normal distribution.

With t = |x|, the normal distribution function at -t is exp(-t²/2) F(v) / (t + 4), v = (4 - t) /
(4 + t). F is smooth on [-1, 1], which stands for all t >= 0, so that a polynomial has the same
relative error everywhere and nothing cancels for large t. The polynomials interpolate F, that is
(t + 4) exp(t²/2) erfc(t / sqrt(2)) / 2, at Chebyshev nodes: their coefficients are the Chebyshev
coefficients of 60 nodes, computed with 40 digits, cut off and written in powers of v.
"""

from __future__ import annotations

import math

import numpy as np

from gpucnn.backends.contract.checks import Array

COEFFICIENTS = {
    "float32": (
        0.00015732057,
        0.000129325681,
        -0.0015637869,
        -0.00347616789,
        0.00751223138,
        0.0603952959,
        0.186526711,
        0.387137563,
        0.607896404,
        0.755285127,
    ),
    "float64": (
        3.403312308649495e-10,
        1.1997782031253095e-10,
        -3.73064508186837e-09,
        5.873626764987191e-10,
        2.1427603843452355e-08,
        -1.7844927772981415e-08,
        -8.686647015997893e-08,
        1.597739614223922e-07,
        2.7246296951145873e-07,
        -1.0247851016552774e-06,
        -6.298367338492369e-07,
        5.921611045923978e-06,
        7.166587641195121e-07,
        -3.514511190283765e-05,
        -1.908246351414571e-06,
        0.00023109501736277426,
        0.00013334430941183256,
        -0.0016308184674099085,
        -0.0034796923670479736,
        0.007540188967386312,
        0.060396574890917876,
        0.1865218579596366,
        0.3871374007422149,
        0.6078966419718923,
        0.7552851304157515,
    ),
}
"""Of powers of v, from the highest to the constant; relative errors 4e-8 and 2e-17."""

DENSITY = 1 / math.sqrt(2 * math.pi)

# GELU's approximation is x s(2 z), s the sigmoid and z = SCALE (x + CUBE x³).
SCALE, CUBE = math.sqrt(2 / math.pi), 0.044715


def forward(out: Array, x: Array) -> None:
    """Write x times the normal distribution function at x to ``out``."""
    _, below, power = _tail(x)
    below *= power
    _mirror(out, below, x)
    out *= x


def slope(out: Array, x: Array) -> None:
    """Write the derivative, the distribution function plus x times the density, to ``out``."""
    t, below, power = _tail(x)
    t *= DENSITY
    np.subtract(below, t, out=below)
    below *= power
    # At infinity, zero times infinity: NaN as in PyTorch, from the difference above.
    _mirror(out, below, x)


def _tail(x: Array) -> tuple[Array, Array, Array]:
    """Return t = |x|, the distribution function at -t over exp(-t²/2), and exp(-t²/2)."""
    t = np.abs(x)
    inverse = t + 4
    np.divide(1, inverse, out=inverse)
    v = inverse * 8
    v -= 1
    first, second, *rest = COEFFICIENTS[x.dtype.name]
    quotient = v * first
    quotient += second
    for coefficient in rest:
        quotient *= v
        quotient += coefficient
    quotient *= inverse
    power = np.multiply(t, t, out=v)
    power *= -0.5
    return t, quotient, np.exp(power, out=power)


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
