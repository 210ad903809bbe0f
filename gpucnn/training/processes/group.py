"""The processes that share a run and all execute the same loop: its ranks.

Each rank reads the data, computes the gradients of its part of every batch, and updates its own
copy of the weights by the sum over all ranks. Sums have the same bits on every rank, so the copies
stay equal. Rank 0 alone evaluates, prints and writes files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeVar

from gpucnn.backends.contract.checks import Array

T = TypeVar("T")


class Group(ABC):
    """The ranks of a run.

    Every method except ``check`` and ``fail`` is collective: all ranks call it, in the same order,
    and none returns before it has what it needs of the others.

    Raises:
        WorkerError: from any method, another rank has failed, ended, or does not respond.
    """

    rank: int = 0
    """The number of this process, from 0."""

    size: int = 1
    """The number of processes."""

    local_rank: int = 0
    """The number of this process among those of its machine: the GPU that it uses."""

    capturable: ClassVar[bool] = False
    """Whether ``sum`` takes arrays of a device, and can be captured with a step and replayed; else
    it takes those of NumPy."""

    why_host: str | None = None
    """Why the host adds gradients of GPUs, if it does."""

    @abstractmethod
    def sum(self, *arrays: Array) -> None:
        """Replace each array by its sum over all ranks, added in the order of ranks.

        Shapes and dtypes are the same on every rank, and so are the bits of the results.
        """

    @abstractmethod
    def broadcast(self, value: T) -> T:
        """Return the value of rank 0, of any type that can be pickled."""

    @abstractmethod
    def gather(self, value: T) -> list[T]:
        """Return the values of all ranks in their order."""

    def any(self, flag: bool) -> bool:
        """Return whether ``flag`` is true on some rank."""
        return any(self.gather(bool(flag)))

    def barrier(self) -> None:
        """Wait until all ranks have called it."""
        self.gather(None)

    @abstractmethod
    def check(self) -> None:
        """Raise WorkerError if another rank is known to have failed; called in long work."""

    @abstractmethod
    def fail(self, error: BaseException) -> None:
        """Report that this rank cannot continue: the others raise WorkerError."""

    @abstractmethod
    def close(self) -> None:
        """Release what the group holds; all ranks call it."""


class Alone(Group):
    """A single process."""

    def sum(self, *arrays: Array) -> None:
        """As in ``Group``."""

    def broadcast(self, value: Any) -> Any:
        """As in ``Group``."""
        return value

    def gather(self, value: Any) -> Any:
        """As in ``Group``."""
        return [value]

    def check(self) -> None:
        """As in ``Group``."""

    def fail(self, error: BaseException) -> None:
        """As in ``Group``."""

    def close(self) -> None:
        """As in ``Group``."""
