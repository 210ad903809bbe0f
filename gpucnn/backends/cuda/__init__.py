"""The CUDA backend: allocates outputs, sizes grids and launches the kernels of kernels/*.cu.

It uses a namespace with CuPy's names (``ndarray``, ``empty``, ``zeros``, ``asarray``, ``asnumpy``,
``RawModule``, ``cuda``): ``cupy`` to run on a GPU, ``gpucnn.emulator`` to run on the CPU. Arrays
must be C-contiguous, (N, C, H, W); any other layout raises ArrayError instead of being copied.
Computations launch this project's kernels only, and do not wait for the device.
"""

from gpucnn.backends.contract import Backend
from gpucnn.backends.cuda.activations import CudaActivations
from gpucnn.backends.cuda.augmentation import CudaAugmenting
from gpucnn.backends.cuda.boltzmann import CudaBoltzmann
from gpucnn.backends.cuda.convolution import CudaConvolution
from gpucnn.backends.cuda.custom import CudaCustom
from gpucnn.backends.cuda.fused import CudaFusion
from gpucnn.backends.cuda.joining import CudaJoining
from gpucnn.backends.cuda.linear import CudaLinear
from gpucnn.backends.cuda.losses import CudaLosses
from gpucnn.backends.cuda.normalization import CudaNormalization
from gpucnn.backends.cuda.pooling import CudaPooling
from gpucnn.backends.cuda.random import CudaRandom
from gpucnn.backends.cuda.recurrent import CudaRecurrent
from gpucnn.backends.cuda.resampling import CudaResampling
from gpucnn.backends.cuda.training import CudaTraining

__all__ = ["CudaBackend"]


class CudaBackend(
    CudaConvolution,
    CudaPooling,
    CudaResampling,
    CudaActivations,
    CudaBoltzmann,
    CudaNormalization,
    CudaRandom,
    CudaRecurrent,
    CudaLinear,
    CudaJoining,
    CudaLosses,
    CudaAugmenting,
    CudaTraining,
    CudaFusion,
    CudaCustom,
    Backend,
):
    """The contract in CUDA C: the kernels of kernels/*.cu."""
