"""The environment variables from which OpenBLAS, NumPy's usual BLAS, takes its settings.

OpenBLAS reads them when NumPy is first imported, so this module imports nothing that imports NumPy.
"""

from __future__ import annotations

from collections.abc import MutableMapping

from gpucnn.machine import processor

THREADS, KERNELS = "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE"


def prepare(environment: MutableMapping[str, str]) -> None:
    """Set the variables in ``environment``, unless the user has set them.

    For the command line only: a library does not change the environment of its user's process.

    ``OPENBLAS_CORETYPE`` chooses the kernels of the matrix products, which nothing can change
    afterwards: OpenBLAS uses AVX2 kernels on AMD processors with AVX-512, where its AVX-512 kernels
    are faster. The Python API computes with whatever kernels NumPy was loaded with, so on such a
    processor it gives the same bits as the command line only if the variable is set for both.

    ``OPENBLAS_NUM_THREADS`` keeps OpenBLAS from starting threads that gpucnn would not use
    (``Backend.limit_threads``): each of them spins for some 25 ms before it sleeps.
    """
    environment.setdefault(THREADS, "1")
    if processor.cpuinfo("vendor_id") == "AuthenticAMD" and processor.has_avx512():
        environment.setdefault(KERNELS, "SkylakeX")
