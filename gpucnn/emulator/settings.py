"""How kernels run: fast, checked or profiled, and in which order of threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from gpucnn.emulator import abi
from gpucnn.errors import SettingError, unknown

VARIABLE = "GPUCNN_EMULATOR"
MODES = tuple(mode.lower() for mode in abi.enumerators("Mode"))
ORDERS = tuple(order.lower() for order in abi.enumerators("Order"))
MAX_THREADS = 8  # of the host; each reserves address space for the stacks of a block


@dataclass(frozen=True)
class Settings:
    """One way to run kernels.

    mode: "fast"; "check", which finds faults; or "profile", which counts accesses. The last two run
    on one host thread.
    order: the order of a grid's blocks and of a block's threads.
    seed: the seed of the order "random".
    threads: the number of host threads in fast mode.
    """

    mode: str
    order: str = "forward"
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown("emulator mode", self.mode, MODES)
        if self.order not in ORDERS:
            raise unknown("order of threads", self.order, ORDERS)
        if not 0 <= self.seed < 2**63:
            raise SettingError(f"seed must be from 0 to 2**63 - 1, got {self.seed}")
        if self.threads < 1:
            raise SettingError(f"threads must be at least 1, got {self.threads}")


_settings: Settings | None = None


def current() -> Settings:
    """Return the current settings, initially those of the environment."""
    global _settings
    if _settings is None:
        usable = getattr(os, "sched_getaffinity", None)  # not on every system
        threads = min(len(usable(0)) if usable else 1, MAX_THREADS)
        _settings = Settings(os.environ.get(VARIABLE) or "fast", threads=threads)
    return _settings


def configure(
    mode: str | None = None,
    order: str | None = None,
    seed: int | None = None,
    threads: int | None = None,
) -> Settings:
    """Change the settings of all later launches, except those that are None; return the new ones.

    Raises SettingError for an unknown mode or order, or a number out of range.
    """
    global _settings
    changes = {"mode": mode, "order": order, "seed": seed, "threads": threads}
    given = {name: value for name, value in changes.items() if value is not None}
    _settings = replace(current(), **given)  # type: ignore[arg-type]
    return _settings


@contextmanager
def checking(order: str = "forward", seed: int = 0) -> Iterator[None]:
    """Run the launches inside the ``with`` in check mode, also of kernels obtained before."""
    global _settings
    before = current()
    configure("check", order, seed)
    try:
        yield
    finally:
        _settings = before
