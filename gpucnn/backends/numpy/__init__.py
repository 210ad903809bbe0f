"""The NumPy backend: every operation on the CPU, using only NumPy.

Feature maps are stored as (C, H, W, N), with the batch innermost, and returned as (N, C, H, W)
views. A shifted window is then made of long contiguous runs for any kernel size. Arrays of any
strides are accepted; those in this memory order are used without a copy.
"""

from gpucnn.backends.contract import Backend
from gpucnn.backends.numpy.activations import NumpyActivations
from gpucnn.backends.numpy.augmentation import NumpyAugmenting
from gpucnn.backends.numpy.boltzmann import NumpyBoltzmann
from gpucnn.backends.numpy.convolution import NumpyConvolution
from gpucnn.backends.numpy.fused import NumpyFusion
from gpucnn.backends.numpy.joining import NumpyJoining
from gpucnn.backends.numpy.linear import NumpyLinear
from gpucnn.backends.numpy.losses import NumpyLosses
from gpucnn.backends.numpy.normalization import NumpyNormalization
from gpucnn.backends.numpy.pooling import NumpyPooling
from gpucnn.backends.numpy.random import NumpyRandom
from gpucnn.backends.numpy.recurrent import NumpyRecurrent
from gpucnn.backends.numpy.resampling import NumpyResampling
from gpucnn.backends.numpy.training import NumpyTraining

__all__ = ["NumpyBackend"]


class NumpyBackend(
    NumpyConvolution,
    NumpyPooling,
    NumpyResampling,
    NumpyActivations,
    NumpyBoltzmann,
    NumpyNormalization,
    NumpyRandom,
    NumpyLinear,
    NumpyJoining,
    NumpyRecurrent,
    NumpyLosses,
    NumpyAugmenting,
    NumpyTraining,
    NumpyFusion,
    Backend,
):
    """The contract in NumPy."""
