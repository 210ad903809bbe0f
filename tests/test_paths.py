"""Paths of this repository that its scripts and documents name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = "bench|gpucnn|kernels|tests"


@pytest.mark.parametrize(
    "name", ["README.md", "bench/gpu.sh", "bench/README.md", "kernels/README.md", ".ci/run"]
)
def test_named_paths_exist(name: str) -> None:
    if not (ROOT / name).exists():
        pytest.skip("an installed package has no checkout around it")
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(rf"(?<![\w/.-])(?:{ROOMS})/[\w/*.-]*[\w/*]", text))
    assert named, "no path found: has the way that they are written changed?"
    # What benches write is not part of the repository.
    missing = {
        path for path in named if not path.startswith("bench/results") and not list(ROOT.glob(path))
    }
    assert not missing
