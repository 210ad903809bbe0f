"""A CUDA source after g++'s preprocessor: its declarations and the headers it includes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from gpucnn.emulator import source, toolchain
from gpucnn.emulator.options import Options

_MARKER = re.compile(r'# \d+ "((?:\\.|[^"\\])*)"([ 1234]*)')


@dataclass(frozen=True)
class Preprocessed:
    """A source after the preprocessor, without the emulator's definitions of CUDA's keywords.

    text: the code, without markers of lines.
    headers: the files of the user that it includes, as absolute paths.
    system: the headers of the system that it or they include.
    """

    text: str
    headers: tuple[str, ...]
    system: tuple[str, ...]

    def digest(self) -> str:
        """Return what changes with the contents of the user's headers."""
        digest = hashlib.sha256()
        for name in self.headers:
            digest.update(f"{name}\0".encode() + Path(name).read_bytes())
        return digest.hexdigest() if self.headers else ""


def preprocess(compiler: str, code: str, options: Options) -> Preprocessed:
    """Return a preprocessed source; CompileError for one whose headers are missing."""
    command = [
        *(compiler, "-E", "-x", "c++", f"-std={options.standard}"),
        *toolchain.include_flags(options.folders),
        *source.PREDEFINED,
        "-",
    ]
    lines: list[str] = []
    headers: list[str] = []
    system: list[str] = []
    inside = [False]  # whether the current file, and those that include it, are the system's
    for line in toolchain.run(command, toolchain.HEADERS, options.text + code).splitlines():
        marker = _MARKER.match(line)
        if not marker:
            lines.append(line)
            continue
        name, flags = marker[1], marker[2].split()
        if "1" in flags:
            own = name.startswith(str(toolchain.HEADERS))
            if "3" not in flags:
                headers.append(name)
            elif not inside[-1] and not own:
                system.append(name)
            inside.append("3" in flags and not own)
        elif "2" in flags and len(inside) > 1:
            inside.pop()
    used = (name for name in dict.fromkeys(headers) if not name.startswith("<"))
    return Preprocessed("\n".join(lines), tuple(used), tuple(dict.fromkeys(system)))
