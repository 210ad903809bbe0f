"""The contract: the operations of a backend, with their meaning, shapes and argument checks.

An operation has the meaning, argument names and defaults of PyTorch's function of that name. The
public method checks its arguments and passes them to the abstract method of the same name with an
underscore, which every backend implements. A backend without one of them cannot be instantiated.
All backends therefore refuse the same input with the same message.

Shapes: N samples, C channels, H by W pixels, F features, T steps of a sequence. Feature maps are
logically (N, C, H, W); their memory order is up to the backend. Weights are (out, in / groups, kh,
kw), and those of a transposed convolution (in, out / groups, kh, kw). A gradient has the shape of
its variable.
Operations return new arrays, except for the optimiser steps, which work in place, and ``out``.
Invalid arguments raise ArrayError (an array of another library or dtype), ShapeError or
SettingError.
"""

from __future__ import annotations

from gpucnn.backends.contract.activations import Activations
from gpucnn.backends.contract.arrays import PRECISIONS
from gpucnn.backends.contract.augmentation import Augmentation, Augmenting
from gpucnn.backends.contract.boltzmann import Boltzmann
from gpucnn.backends.contract.convolution import Convolution
from gpucnn.backends.contract.custom import Custom
from gpucnn.backends.contract.fused import (
    FusedGradients,
    FusedLayers,
    Fusion,
    LayerSpec,
    StepArrays,
)
from gpucnn.backends.contract.joining import Joining
from gpucnn.backends.contract.linear import Linear
from gpucnn.backends.contract.losses import Losses
from gpucnn.backends.contract.normalization import Normalization
from gpucnn.backends.contract.pooling import Pooling
from gpucnn.backends.contract.random import Random
from gpucnn.backends.contract.recurrent import Recurrent
from gpucnn.backends.contract.resampling import Resampling
from gpucnn.backends.contract.training import Training

__all__ = [
    "PRECISIONS",
    "Augmentation",
    "Backend",
    "FusedGradients",
    "FusedLayers",
    "LayerSpec",
    "StepArrays",
]


class Backend(
    Convolution,
    Pooling,
    Resampling,
    Activations,
    Boltzmann,
    Normalization,
    Random,
    Linear,
    Joining,
    Recurrent,
    Losses,
    Augmenting,
    Training,
    Fusion,
    Custom,
):
    """The arrays of one device and the operations on them, in one floating-point dtype."""
