"""The emulator does what CuPy does: each script gives what is written next to it with both."""

from __future__ import annotations

from typing import Any

import pytest
from agreement import OPERATIONS, SCRIPTS, SITUATIONS, Script, while_capturing
from available import BACKENDS, backend_or_skip, cupy_or_skip

from gpucnn import emulator
from gpucnn.emulator import cuda


@pytest.fixture(params=[name for name in BACKENDS if name != "numpy"])
def xp(request: pytest.FixtureRequest) -> Any:
    """``gpucnn.emulator``, and ``cupy`` where it works."""
    return backend_or_skip(request.param)._xp  # type: ignore[attr-defined]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_give_the_same(xp: Any, script: Script) -> None:
    wanted = script.emulated if xp is emulator else script.wanted
    assert list(script.run(xp)) == wanted


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_while_a_stream_captures(xp: Any, name: str) -> None:
    operation = OPERATIONS[name]
    for situation in SITUATIONS:
        found = while_capturing(xp, operation, situation)
        assert found == getattr(operation, situation), situation


def test_where_the_emulator_is_different_there_is_a_reason() -> None:
    for script in SCRIPTS:
        assert (script.wanted != script.emulated) == bool(script.reason), script.name


@pytest.mark.cuda
def test_cupy_has_every_public_name() -> None:
    cupy = cupy_or_skip()
    pairs = [(getattr(cuda, name), getattr(cupy.cuda, name)) for name in cuda.__all__]
    pairs += [(getattr(emulator, name), getattr(cupy, name)) for name in ("ndarray", "RawModule")]
    for own, theirs in [*pairs, (emulator.RawKernel, cupy.RawKernel)]:
        for name in vars(own):
            assert name.startswith("_") or hasattr(theirs, name), f"{own.__name__}.{name}"
