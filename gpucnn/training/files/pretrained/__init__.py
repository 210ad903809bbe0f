"""Ready-trained networks, which commands and ``gpucnn.load_model`` take by name.

``README.md`` in this folder records how each was made.
"""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT = "lenet5"
"""The name of the network that reads digits where none is given."""

FILES = {DEFAULT: Path(__file__).with_name("lenet5.npz")}
"""The files, which are checkpoints, by the names of the networks."""


def find(name: str | os.PathLike[str]) -> Path | None:
    """Return the file of the ready-trained network ``name``.

    None if there is no such network, or if ``name`` is a file or folder.
    """
    return None if os.path.lexists(name) else FILES.get(os.fspath(name))
