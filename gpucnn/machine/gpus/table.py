"""The GPUs that ``gpucnn profile --gpu`` takes, with NVIDIA's published figures.

Per multiprocessor: CUDA C++ Programming Guide, "Compute Capabilities", and ``sm_750`` to ``sm_900``
of cudax/include/cuda/experimental/__device/arch_traits.cuh in NVIDIA/cccl. Per GPU: the documents
in ``source``. Peak rates are those of the boost clock, without tensor cores.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpucnn.errors import unknown

KIB = 1024


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    capability: the compute capability times 10. clock: boost clock in GHz. tflops, double_tflops:
    peak rates of float32 and float64 in 1e12 operations per second; a fused multiply-add is two.
    bandwidth: of device memory in 1e9 bytes per second. Per multiprocessor: cores (float32),
    shared (bytes of shared memory), threads, blocks and registers. reserved: bytes of shared memory
    that each block takes in addition to its own. shared_unit: bytes of which a block gets a
    multiple.
    """

    name: str
    capability: int
    multiprocessors: int
    cores: int
    clock: float
    tflops: float
    double_tflops: float
    bandwidth: float
    shared: int
    threads: int
    blocks: int
    source: str
    reserved: int = KIB
    shared_unit: int = 128
    registers: int = 64 * KIB


GPUS = {
    "t4": Gpu(
        "T4", 75, 40, 64, 1.59, 8.1, 0.25, 320, 64 * KIB, 1024, 16,
        "NVIDIA T4 datasheet; NVIDIA Turing GPU Architecture whitepaper",
        reserved=0, shared_unit=256,
    ),
    "a100": Gpu(
        "A100 SXM 40 GB", 80, 108, 64, 1.41, 19.5, 9.7, 1555, 164 * KIB, 2048, 32,
        "NVIDIA A100 datasheet; NVIDIA A100 Tensor Core GPU Architecture whitepaper",
    ),
    "l4": Gpu(
        "L4", 89, 58, 128, 2.04, 30.3, 0.47, 300, 100 * KIB, 1536, 24,
        "NVIDIA L4 datasheet; NVIDIA Ada GPU Architecture whitepaper",
    ),
    "rtx4090": Gpu(
        "RTX 4090", 89, 128, 128, 2.52, 82.6, 1.29, 1008, 100 * KIB, 1536, 24,
        "NVIDIA Ada GPU Architecture whitepaper",
    ),
    "h100": Gpu(
        "H100 SXM", 90, 132, 128, 1.98, 67, 34, 3350, 228 * KIB, 2048, 32,
        "NVIDIA H100 datasheet; NVIDIA H100 Tensor Core GPU Architecture whitepaper",
    ),
    "h200": Gpu(
        "H200 SXM", 90, 132, 128, 1.98, 67, 34, 4800, 228 * KIB, 2048, 32,
        "NVIDIA H200 datasheet; per multiprocessor as the H100",
    ),
}  # fmt: skip


def get_gpu(name: str) -> Gpu:
    """Return a GPU by its name in ``GPUS``; SettingError for another name."""
    key = name.lower().replace(" ", "").replace("-", "")
    if key not in GPUS:
        raise unknown("GPU", name, GPUS)
    return GPUS[key]
