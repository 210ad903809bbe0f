"""Occupancy: how many warps of a kernel a multiprocessor holds at once, and what limits them.

The rules are those of cuda_occupancy.h in the CUDA toolkit.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpucnn.machine.gpus.table import Gpu

WARP = 32
REGISTER_UNIT = 256  # registers of a warp are a multiple of it
PARTITIONS = 4  # of a multiprocessor, each with a quarter of the registers


@dataclass(frozen=True)
class Occupancy:
    """What a multiprocessor holds of one kernel at once.

    warps: of these blocks. share: of the warps that the multiprocessor can hold. limit: what allows
    no more: "blocks", "threads", "registers" or "shared memory".
    """

    blocks: int
    warps: int
    share: float
    limit: str


def occupancy(gpu: Gpu, threads: int, registers: int, shared: int) -> Occupancy:
    """Return the occupancy of a kernel.

    Args:
        gpu: the GPU.
        threads: of a block.
        registers: of a thread.
        shared: bytes of static and dynamic shared memory of a block.
    """
    warps = _divide_up(threads, WARP)
    warp_registers = _round_up(registers * WARP, REGISTER_UNIT)
    limits = {"threads": gpu.threads // WARP // warps, "blocks": gpu.blocks}
    if warp_registers * _round_up(warps, PARTITIONS) > gpu.registers:
        limits["registers"] = 0  # a launch would fail
    elif warp_registers:
        limits["registers"] = gpu.registers // PARTITIONS // warp_registers * PARTITIONS // warps
    if shared + gpu.reserved:
        limits["shared memory"] = gpu.shared // _round_up(shared + gpu.reserved, gpu.shared_unit)
    limit = min(limits, key=limits.__getitem__)
    blocks = limits[limit]
    return Occupancy(blocks, blocks * warps, blocks * warps * WARP / gpu.threads, limit)


def _divide_up(value: int, by: int) -> int:
    return -(-value // by)


def _round_up(value: int, unit: int) -> int:
    return _divide_up(value, unit) * unit
