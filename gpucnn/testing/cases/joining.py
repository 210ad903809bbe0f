"""Cases: what joins the outputs of several layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.testing.case import Case
from gpucnn.testing.values import (
    AROUND_BLOCKS,
    Shape,
    Values,
    few_levels,
    infinities,
    normal,
    times,
    with_nan,
)


def add(name: str, shape: Shape, values: Values = normal, **options: Any) -> Case:
    """Return a case of the sum of two arrays."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {"input": values(rng, *shape), "other": values(rng, *shape)}

    return Case("add", name, make, options)


def write(name: str, shape: Shape, channels: int, start: int, values: Values = normal) -> Case:
    """Return a case of channels written to an array of ``shape``."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        part = (shape[0], channels, *shape[2:])
        return {"output": normal(rng, *shape), "input": values(rng, *part)}

    return Case("write_channels", name, make, {"start": start})


def read(name: str, shape: Shape, channels: int, start: int, values: Values = normal) -> Case:
    """Return a case of channels read from an array of ``shape``."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        return {"input": values(rng, *shape)}

    return Case("read_channels", name, make, {"start": start, "channels": channels})


JOINING = [
    *(add(f"{size} elements", (size,)) for size in AROUND_BLOCKS),
    add("feature map", (2, 3, 5, 4)),
    add("NaN", (2, 3, 4, 5), with_nan),
    add("infinities", (60,), infinities),
    add("huge numbers", (4, 9), times(3e37)),
    add("relu", (2, 3, 5, 4), relu=True),
    add("relu of NaN", (2, 3, 4, 5), with_nan, relu=True),
    add("relu of -2 to 2", (4, 9), few_levels, relu=True),
    *(
        case(name, shape, channels, start)
        for case in (write, read)
        for name, shape, channels, start in (
            ("first of 5 channels", (3, 5, 4, 2), 2, 0),
            ("middle of 5 channels", (3, 5, 4, 2), 1, 3),
            ("last of 5 channels", (3, 5, 4, 2), 2, 3),
            ("all channels", (2, 3, 3, 3), 3, 0),
            ("features", (5, 70), 65, 4),
            ("one sample", (1, 9, 6, 5), 4, 2),
        )
    ),
    *(case("NaN", (2, 4, 5, 3), 2, 1, with_nan) for case in (write, read)),
]
