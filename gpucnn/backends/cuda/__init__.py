"""The CUDA backend: allocates outputs, sizes grids and launches the kernels of kernels/*.cu.

It is written against a namespace with CuPy's names (``ndarray``, ``empty``, ``zeros``,
``asarray``, ``asnumpy``, ``RawModule``, ``cuda``) and knows nothing of where it runs: given
``cupy``, that is a GPU; given ``gpucnn.emulator``, the CPU. Arrays are C-contiguous (N, C, H, W);
any other layout is refused rather than copied in silence. Computations launch this project's
kernels only, and wait for nothing.
"""

from gpucnn.backends.contract import Backend
from gpucnn.backends.cuda.activations import CudaActivations
from gpucnn.backends.cuda.convolution import CudaConvolution
from gpucnn.backends.cuda.fused import CudaFusion
from gpucnn.backends.cuda.linear import CudaLinear
from gpucnn.backends.cuda.losses import CudaLosses
from gpucnn.backends.cuda.pooling import CudaPooling
from gpucnn.backends.cuda.training import CudaTraining

__all__ = ["CudaBackend"]


class CudaBackend(
    CudaConvolution,
    CudaPooling,
    CudaActivations,
    CudaLinear,
    CudaLosses,
    CudaTraining,
    CudaFusion,
    Backend,
):
    """The contract in CUDA C: kernels/*.cu."""
