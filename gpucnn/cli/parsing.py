"""The values of options that are lists or sizes."""

from __future__ import annotations

import re
from typing import Any

from gpucnn.errors import SettingError


def parse_names(option: str, text: str, example: str) -> tuple[str, ...]:
    """Return the names in "cat,dog"; SettingError unless they differ."""
    names = tuple(name.strip() for name in text.split(","))
    if "" in names or len(set(names)) < len(names):
        raise SettingError(f"{option} must be different names, such as {example}, got {text!r}")
    return names


def parse_size(text: str) -> tuple[int, int]:
    """Return "32x48" as (32, 48)."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match or "0" in match.groups():
        raise SettingError(f"--resize must be HEIGHTxWIDTH, for example 32x48, got {text!r}")
    return int(match[1]), int(match[2])


def parse_shape(text: str) -> dict[str, Any]:
    """Return "3x32x48" as the arguments of a model function: channels, size."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})x(\d{1,5})", text)
    if not match or "0" in match.groups():
        raise SettingError(
            f"--input must be CHANNELSxHEIGHTxWIDTH, for example 3x32x32, got {text!r}"
        )
    channels, height, width = map(int, match.groups())
    return {"channels": channels, "size": (height, width)}
