"""Types of the naive loops."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Index = tuple[int, ...]
IntOrPair = int | tuple[int, int]
Padding = int | tuple[IntOrPair, IntOrPair]


def pair(value: IntOrPair) -> tuple[int, int]:
    """Return (value, value) of an integer, or the pair."""
    return (value, value) if isinstance(value, int) else value


def padding_sides(padding: Padding) -> list[tuple[int, int]]:
    """Return ((top, bottom), (left, right)) of an integer, a pair, or a pair of pairs."""
    vertical, horizontal = (padding, padding) if isinstance(padding, int) else padding
    return [pair(vertical), pair(horizontal)]
