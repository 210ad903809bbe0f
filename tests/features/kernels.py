"""Reads the kernels of the ``.cu`` files in this folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_FEATURE = re.compile(r"^// feature: (?P<name>.+)\n(?P<about>(?://.*\n)*)", re.MULTILINE)
_LAUNCH = re.compile(r"^// launch: (.+)$", re.MULTILINE)
_GIVES = re.compile(r"^// gives: (.+(?:\n// .+)*)", re.MULTILINE)
_KERNEL = re.compile(r"__global__ void\s+(?:__launch_bounds__\(.*?\)\s+)?(\w+)\(([\w ]+?)\s*\*")
_DTYPES = {
    "bool": np.bool_,
    "char": np.int8,
    "short": np.int16,
    "unsigned short": np.uint16,
    "int": np.int32,
    "unsigned": np.uint32,
    "long long": np.int64,
    "unsigned long long": np.uint64,
    "__half": np.float16,
    "half": np.float16,
    "float": np.float32,
    "double": np.float64,
}


@dataclass(frozen=True)
class KernelFeature:
    """A feature with the kernel that uses it, and what it writes to its only array."""

    name: str
    file: Path
    kernel: str
    grid: Any
    block: Any
    expected: np.ndarray[Any, Any]
    alone: str
    """The source of this feature alone: what all of the file share, and its own part."""

    def run(self, xp: Any, kernel: Any) -> None:
        """Launch the kernel and compare; floating point to four units in the last place."""
        out = xp.zeros(self.expected.shape, self.expected.dtype)
        grid, block = (size if isinstance(size, tuple) else (size,)
                       for size in (self.grid, self.block))  # fmt: skip
        kernel(grid, block, (out,))
        if self.expected.dtype.kind == "f":
            close = 4 * float(np.finfo(self.expected.dtype).eps)
            np.testing.assert_allclose(xp.asnumpy(out), self.expected, rtol=close, atol=0)
        else:
            np.testing.assert_array_equal(xp.asnumpy(out), self.expected)


def _read(file: Path) -> list[KernelFeature]:
    text = file.read_text(encoding="utf-8")
    starts = list(_FEATURE.finditer(text))
    ends = [match.start() for match in starts[1:]] + [len(text)]
    shared = text[: starts[0].start()]
    found = []
    for match, end in zip(starts, ends, strict=True):
        where = f"{file.name}: {match['name']}"
        gives, launch = _GIVES.search(match["about"]), _LAUNCH.search(match["about"])
        kernel = _KERNEL.search(text, match.end(), end)
        assert gives, f"{where}: a line '// gives: ...' was expected"
        assert kernel, f"{where}: a kernel with one array as its parameter was expected"
        grid, block = eval(launch[1]) if launch else (1, 1)
        values = eval("[" + gives[1].replace("\n//", "\n") + "]", {"np": np})
        values = values[0] if len(values) == 1 and isinstance(values[0], list) else values
        expected = np.array(values, _DTYPES[kernel[2].strip()])
        alone = shared + text[match.start() : end]
        found.append(KernelFeature(match["name"], file, kernel[1], grid, block, expected, alone))
    return found


FILES = sorted(Path(__file__).parent.glob("*.cu"))
KERNELS = [feature for file in FILES for feature in _read(file)]
