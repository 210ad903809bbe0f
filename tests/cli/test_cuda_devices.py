"""Commands on machines whose GPU is missing, old or small: one line and a status.

The stand-in for CUDA imitates such machines (tests/standin/README.md).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from available import standin_or_skip
from small import save_npz, small_data

pytestmark = pytest.mark.cuda
standin_or_skip("a GPU does not imitate others")


def gpucnn(folder: Path, *words: str, **knobs: str) -> tuple[int, str, list[str]]:
    """Run a command with knobs of the stand-in; return status, output and lines of errors."""
    done = subprocess.run(
        [sys.executable, "-m", "gpucnn", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **knobs},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.splitlines()


@pytest.mark.parametrize(
    ("knobs", "status", "message"),
    [
        ({"STANDIN_DRIVER_VERSION": "11040"}, 1, "gpucnn: the NVIDIA driver is too old for cupy-"),
        ({"STANDIN_DEVICES": "0"}, 1, "gpucnn: no usable GPU: CUDARuntimeError: cudaErrorNoDevice"),
        ({"STANDIN_CAPABILITY": "7.5"}, 2, "gpucnn: precision tf32 requires a GPU of compute cap"),
        (
            {"STANDIN_MEMORY_MIB": "1"},
            1,
            "gpucnn: out of memory: 1 MiB requested, 1 MiB free for 20,000 images; use fewer",
        ),
    ],
    ids=str,
)
def test_train_names_what_the_gpu_lacks(
    knobs: dict[str, str], status: int, message: str, tmp_path: Path
) -> None:
    save_npz(tmp_path / "data.npz", small_data(20_000))
    words = ["train", "--data", "data.npz", "--model", "mlp", "--backend", "cuda"]
    found, _, errors = gpucnn(tmp_path, *words, "--precision", "tf32", **knobs)
    assert (found, len(errors)) == (status, 1), errors
    assert errors[0].startswith(message)


@pytest.mark.parametrize(
    ("knobs", "parts"),
    [
        ({}, ["GPU 0 stand-in", "--backend auto selects cuda: a kernel compiled and ran"]),
        ({"STANDIN_DEVICES": "2"}, ["GPU 1 stand-in", "selects cuda"]),
        ({"STANDIN_DEVICES": "0"}, ["CuPy cupy-cuda12x", "selects numpy", "no usable GPU"]),
        ({"STANDIN_DRIVER_VERSION": "11040"}, ["supports CUDA 11.4", "driver is too old for"]),
    ],
    ids=str,
)
def test_doctor_describes_the_gpus(knobs: dict[str, str], parts: list[str], tmp_path: Path) -> None:
    status, output, errors = gpucnn(tmp_path, "doctor", **knobs)
    assert (status, errors) == (0, [])
    text = " ".join(output.split())
    assert all(part in text for part in parts), text
