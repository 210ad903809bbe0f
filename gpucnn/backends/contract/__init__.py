"""The contract: every operation once, with its meaning, its shapes and its checks.

An operation means what PyTorch's function of that name means, with its argument names and
defaults. The public method here checks its arguments and hands them, made uniform, to the method
of the same name with an underscore, which each backend writes; a backend that lacks one cannot be
built. So every backend refuses the same input with the same words, and a plan that has checked its
shapes once may call the underscored methods directly.

Shapes: N samples, C channels, H by W pixels, F features. Feature maps are logically (N, C, H, W)
wherever a backend puts them in memory; weights are (out, in / groups, kh, kw), transposed
convolution's (in, out / groups, kh, kw). A gradient has the shape of what it is the gradient of.
Every operation returns new arrays, but for the optimiser steps, which work in place, and ``out``.
Refused input raises ArrayError (not this backend's array, or another dtype), ShapeError or
SettingError.
"""

from __future__ import annotations

from gpucnn.backends.contract.activations import Activations
from gpucnn.backends.contract.arrays import PRECISIONS
from gpucnn.backends.contract.convolution import Convolution
from gpucnn.backends.contract.fused import (
    FusedGradients,
    FusedLayers,
    Fusion,
    LayerSpec,
    StepArrays,
)
from gpucnn.backends.contract.linear import Linear
from gpucnn.backends.contract.losses import Losses
from gpucnn.backends.contract.pooling import Pooling
from gpucnn.backends.contract.training import Training

__all__ = ["PRECISIONS", "Backend", "FusedGradients", "FusedLayers", "LayerSpec", "StepArrays"]


class Backend(Convolution, Pooling, Activations, Linear, Losses, Training, Fusion):
    """Arrays of one device and the operations on them, in one floating-point type."""
