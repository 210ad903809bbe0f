"""Host programs: each takes ``cupy`` or ``gpucnn.emulator``, and asserts what it computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Program:
    """A feature of the host's interface with the function that uses it."""

    name: str
    run: Callable[[Any], None]


PROGRAMS: list[Program] = []


def feature(name: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Add the decorated function to PROGRAMS."""

    def add(run: Callable[[Any], None]) -> Callable[[Any], None]:
        PROGRAMS.append(Program(name, run))
        return run

    return add


@feature("`RawModule(code=...)` and `get_function`")
def raw_module(xp: Any) -> None:
    code = 'extern "C" __global__ void one(int* x) { x[threadIdx.x] = 1; }'
    x = xp.zeros(4, np.int32)
    xp.RawModule(code=code).get_function("one")((1,), (4,), (x,))
    assert x.get().tolist() == [1] * 4
