"""Host programs: each takes ``cupy`` or ``gpucnn.emulator``, and asserts what it computes.

They are what people write around raw kernels; only the import would differ.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Program:
    """A feature of the host's interface with the function that uses it.

    emulated: it needs something that CuPy does on a GPU only, and not on the stand-in.
    """

    name: str
    run: Callable[[Any], None]
    emulated: bool = False


PROGRAMS: list[Program] = []


def feature(
    name: str, emulated: bool = False
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Add the decorated function to PROGRAMS."""

    def add(run: Callable[[Any], None]) -> Callable[[Any], None]:
        PROGRAMS.append(Program(name, run, emulated))
        return run

    return add


for _module in ("algorithms", "arguments", "arrays", "modules", "streams"):
    importlib.import_module(f"features.{_module}")
