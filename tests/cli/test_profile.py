"""``gpucnn profile``: its tables and its JSON."""

from __future__ import annotations

import functools
import json
import re

import pytest

import gpucnn
from gpucnn.cli import profile as command
from gpucnn.cli import run
from gpucnn.emulator import Profile, require
from gpucnn.errors import BackendError
from gpucnn.training.profile import profile_step

try:
    require()
    MISSING = ""
except BackendError as error:
    MISSING = str(error)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@functools.cache
def step() -> Profile:
    return profile_step(gpucnn.models.lenet5(seed=0), 4)


@pytest.fixture
def _counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "profile_step", lambda *_, **__: step())


def test_a_step_is_launched_as_in_training_and_counted_once() -> None:
    first, *fused, last = step().kernels
    assert (first, len(fused), last) == ("begin_step", 4, "sgd_step")
    assert all(name.startswith("lenet5_") for name in fused)
    assert {kernel.launches for kernel in step().kernels.values()} == {1}
    forward = step().kernel("lenet5_conv_forward")
    # Layers 1 and 2 have 117600 and 240000 multiply-adds an image, and a sum each for biases.
    assert forward.flops >= 2 * 4 * (117_600 + 240_000)


@pytest.mark.usefixtures("_counted")
def test_json_has_every_kernel_with_its_counts_and_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["profile", "lenet5", "--gpu", "a100", "--batch-size", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gpu"]["name"] == "A100 SXM 40 GB"
    assert [kernel["kernel"] for kernel in found["kernels"]] == list(step().kernels)
    update = found["kernels"][-1]
    assert update["global_store"]["sectors"] == update["global_store"]["least_sectors"] > 0
    assert update["launches"][0]["block"] == [256, 1, 1]
    assert update["lines"][0]["file"] == "kernels/sgd.cu"
    assert update["roofline"]["seconds"] > 0


@pytest.mark.usefixtures("_counted")
def test_the_tables_name_the_line_that_wastes_most(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profile", "--lines", "3"]) == 0
    text = capsys.readouterr().out
    assert "one training step of lenet5 with 64 images" in text
    for name in step().kernels:
        row, estimate = (line for line in text.splitlines() if line.startswith(f"| {name} "))
        assert re.search(r" \w+\.cuh?:\d+ ", row)
        assert estimate.rstrip("| ").endswith(("memory", "arithmetic", "l1"))
    assert "on H100 SXM" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gpu", "h1000"], "h100"),
        (["--backend", "cuda"], "--backend must be emulated, got 'cuda'"),
        (["--batch-size", "0"], "--batch-size must be an integer"),
        (["--lines", "-1"], "--lines"),
        (["vgg"], "vgg"),
    ],
)
def test_what_cannot_be_profiled_is_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["profile", *words]) == 2
    assert message in capsys.readouterr().err
