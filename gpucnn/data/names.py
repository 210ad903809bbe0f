"""Names of classes and of numbers to predict."""

from __future__ import annotations

import unicodedata


def normalize_name(name: str) -> str:
    """Return the name of a class in Unicode's composed form (NFC).

    macOS stores "é" in file names as two characters, other systems as one.
    """
    return unicodedata.normalize("NFC", name)


def default_targets(count: int) -> tuple[str, ...]:
    """Return names for so many numbers to predict: "target", or "target 1" and so on."""
    return ("target",) if count == 1 else tuple(f"target {k}" for k in range(1, count + 1))
