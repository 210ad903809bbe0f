"""Kernels of a user's own source, for layers that launch them (``gpucnn.nn.CustomOp``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from numpy.typing import DTypeLike

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import Array


@dataclass(frozen=True)
class KernelSource:
    """CUDA C of a user: ``text``, its ``name`` in messages, and the folder of its headers."""

    name: str
    text: str
    folder: Path


class CustomKernel(Protocol):
    """A kernel: ``kernel[grid, block](arguments)`` is CUDA's ``kernel<<<grid, block>>>(...)``."""

    def __getitem__(self, launch: Any) -> Callable[..., None]: ...


class CustomKernels(Protocol):
    """The kernels of a source on a backend, as attributes or by ``kernels["name"]``."""

    def __getattr__(self, name: str) -> CustomKernel: ...

    def __getitem__(self, name: str) -> CustomKernel: ...

    def empty(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> Array:
        """Return an array with unset contents, for results between two kernels."""

    def zeros(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> Array:
        """Return an array of zeros."""


class Custom(Arrays):
    """Kernels of users."""

    launches_kernels: ClassVar[bool] = False
    """Whether the backend computes with kernels, and not with NumPy."""

    def load_kernels(self, source: KernelSource) -> CustomKernels:
        """Return the kernels of ``source``, which are compiled when they are first launched.

        BackendError for kernels that cannot be launched, and for source that does not compile,
        with file and line.
        """
        raise NotImplementedError

    def mark_unwritten(self, array: Array) -> None:
        """Fill a new array of floats with what ``find_unwritten`` recognises."""

    def find_unwritten(self, array: Array) -> tuple[int, tuple[int, ...]] | None:
        """Return how many elements were never written, and the first index; None if all were.

        Waits for the device.
        """
        return None
