"""Every feature of gpucnn/emulator/README.md works, in both modes and, where there is one, on CUDA.

The kernels of a file are compiled together.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from available import BACKENDS, backend_or_skip
from features import KERNELS, PROGRAMS, KernelFeature, Program

from gpucnn import emulator
from gpucnn.emulator import settings

KINDS = [name for name in ("fast", "check", "cuda") if name != "cuda" or name in BACKENDS]


@functools.cache
def module(xp: Any, file: Path) -> Any:
    code = f'#line 1 "{file.name}"\n{file.read_text(encoding="utf-8")}'
    return xp.RawModule(code=code, options=("--std=c++17",))


@pytest.fixture(params=KINDS)
def xp(request: pytest.FixtureRequest) -> Iterator[Any]:
    """``gpucnn.emulator`` in fast and in check mode, and ``cupy`` where it works."""
    if request.param == "cuda":
        yield backend_or_skip("cuda")._xp  # type: ignore[attr-defined]
        return
    backend_or_skip("emulated")
    before = settings.current()
    emulator.configure(request.param)
    yield emulator
    emulator.configure(before.mode)


@pytest.mark.parametrize("feature", KERNELS, ids=lambda feature: feature.kernel)
def test_kernels(xp: Any, feature: KernelFeature) -> None:
    try:
        kernel = module(xp, feature.file).get_function(feature.kernel)
    except Exception as error:
        if xp is emulator or "crt/mma.h" not in str(error):
            raise
        pytest.skip("the CUDA toolkit that CuPy finds has mma.h, but not crt/mma.h")
    feature.run(xp, kernel)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.run.__name__)
def test_host_programs(xp: Any, program: Program) -> None:
    if program.emulated and xp is not emulator:
        pytest.skip("not on the stand-in for CUDA, or not as on a GPU")
    program.run(xp)


def test_the_readme_lists_every_feature() -> None:
    readme = Path(emulator.__file__).with_name("README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- (.+?)(?:: .*)?$", readme.split("## Features")[1], re.MULTILINE)
    assert sorted(listed) == sorted(feature.name for feature in (*KERNELS, *PROGRAMS))
