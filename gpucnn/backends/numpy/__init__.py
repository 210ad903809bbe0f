"""The NumPy backend: every operation on the CPU, with nothing but NumPy.

Feature maps lie in memory with the batch innermost, as (C, H, W, N), and are handed out as
(N, C, H, W) views: a shifted window is then made of long contiguous runs, whatever the kernel's
size. Any strides are read rightly; arrays that this backend made are read without a copy.
"""

from gpucnn.backends.contract import Backend
from gpucnn.backends.numpy.activations import NumpyActivations
from gpucnn.backends.numpy.convolution import NumpyConvolution
from gpucnn.backends.numpy.fused import NumpyFusion
from gpucnn.backends.numpy.linear import NumpyLinear
from gpucnn.backends.numpy.losses import NumpyLosses
from gpucnn.backends.numpy.pooling import NumpyPooling
from gpucnn.backends.numpy.training import NumpyTraining

__all__ = ["NumpyBackend"]


class NumpyBackend(
    NumpyConvolution,
    NumpyPooling,
    NumpyActivations,
    NumpyLinear,
    NumpyLosses,
    NumpyTraining,
    NumpyFusion,
    Backend,
):
    """The contract in NumPy."""
