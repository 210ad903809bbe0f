"""How kernels are run: fast or checked, and in which order of threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from gpucnn.errors import SettingError, unknown

VARIABLE = "GPUCNN_EMULATOR"
MODES = ("fast", "check")
ORDERS = ("forward", "reverse", "random")  # in the order of enum Order in runtime/runtime.h
MAX_THREADS = 8  # of the host; each has address space for the stacks of a whole block


@dataclass(frozen=True)
class Settings:
    """One way to run kernels.

    mode: "fast", or "check", which finds faults and runs on one thread of the host.
    order: in which the threads of a block and the blocks of a grid get their turns.
    seed: of the order "random".
    threads: of the host, used in fast mode.
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
            raise SettingError(f"seed must be from 0 to 2**63 - 1, and is {self.seed}")
        if self.threads < 1:
            raise SettingError(f"threads must be at least 1, and is {self.threads}")


_settings: Settings | None = None


def current() -> Settings:
    """Return the settings in force; at first they come from the environment."""
    global _settings
    if _settings is None:
        usable = getattr(os, "sched_getaffinity", None)  # not everywhere, and import must work
        threads = min(len(usable(0)) if usable else 1, MAX_THREADS)
        _settings = Settings(os.environ.get(VARIABLE) or "fast", threads=threads)
    return _settings


def configure(
    mode: str | None = None,
    order: str | None = None,
    seed: int | None = None,
    threads: int | None = None,
) -> Settings:
    """Change settings for all launches that follow; what is None stays. Returns the new ones.

    Raises SettingError for an unknown mode or order, or for a number out of range.
    """
    global _settings
    changes = {"mode": mode, "order": order, "seed": seed, "threads": threads}
    given = {name: value for name, value in changes.items() if value is not None}
    _settings = replace(current(), **given)  # type: ignore[arg-type]
    return _settings


@contextmanager
def checking(order: str = "forward", seed: int = 0) -> Iterator[None]:
    """Run the launches inside the ``with`` in check mode; kernels got before are checked too."""
    global _settings
    before = current()
    configure("check", order, seed)
    try:
        yield
    finally:
        _settings = before
