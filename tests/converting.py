"""Running the line that a message ends with."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from gpucnn.data import Data, load


def converted(message: str, folder: Path) -> Data:
    """Run the line in a shell's words, as users do, and load what it writes from "my 'set' 😀"."""
    command = message[message.index("python -c") :].partition(" -- if ")[0]
    words = shlex.split(command)
    assert words[:2] == ["python", "-c"]
    subprocess.run([sys.executable, *words[1:]], check=True, cwd=folder)
    return load(folder / "my 'set' 😀-converted.npz")
