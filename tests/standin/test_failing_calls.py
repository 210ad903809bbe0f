"""A call of CUDA that fails during ``gpucnn train``: one line, or the same result without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from available import STANDIN
from small import save_npz, small_data

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not STANDIN, reason="failures are planned with STANDIN_FAIL"),
]
MODEL = """
from gpucnn.nn import Conv2d, Flatten, Linear, Sequential

def build(**_):
    return Sequential([Conv2d(1, 3, 3), Flatten(), Linear(108, 4)], (1, 8, 8), seed=0)
"""
FAULT = "gpucnn: cudaErrorIllegalAddress: "


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("failing")
    save_npz(made / "data.npz", small_data(70))
    (made / "model.py").write_text(MODEL)
    return made


def train(folder: Path, out: Path, failure: str) -> tuple[int, list[str]]:
    """Return the status of a run and the lines it prints to standard error."""
    options = "--backend cuda --data data.npz --model model.py:build --epochs 2 --batch-size 8"
    done = subprocess.run(
        [sys.executable, "-m", "gpucnn", "train", *options.split(), "--out", str(out)],
        cwd=folder,
        env={**os.environ, "STANDIN_FAIL": failure, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    notice = "compiling the kernels"
    return done.returncode, [x for x in done.stderr.splitlines() if not x.startswith(notice)]


@pytest.mark.parametrize(
    ("failure", "begins", "contains"),
    [
        ("cudaMalloc:1+=2", "gpucnn: the GPU has no free memory (", "nvidia-smi"),
        ("cudaMalloc:12+=2", "gpucnn: out of memory: ", "; try half the batch size (--batch-size)"),
        ("cudaMemcpyAsync:9=700", FAULT, ""),
        (
            "cuModuleLoadData:3=2",
            "gpucnn: kernels/",
            ".cu cannot be loaded: CUDA_ERROR_OUT_OF_MEMO",
        ),
        (
            "cuLaunchKernel:9=700",
            "gpucnn: CUDA_ERROR_ILLEGAL_ADDRESS: ",
            "of the steps 1 to 9); th",
        ),
        (
            "cudaGraphInstantiate:2=700",
            FAULT,
            "(in one of the steps 10 to 18); the checkpoint of s",
        ),
        (
            "cudaGraphLaunch:9=700",
            FAULT,
            "(in one of the steps 10 to 18); the checkpoint of step 9",
        ),
        ("cudaStreamSynchronize:15=700", FAULT, "; the checkpoint of step 0 is kept in "),
    ],
)
def test_it_ends_the_run_with_one_line(
    failure: str, begins: str, contains: str, folder: Path, tmp_path: Path
) -> None:
    status, lines = train(folder, tmp_path / "run", failure)
    assert (status, len(lines)) == (1, 1), lines
    assert lines[0].startswith(begins)
    assert contains in lines[0]


def test_without_graphs_the_run_ends_in_the_same_bits(folder: Path, tmp_path: Path) -> None:
    found = []
    for number, failure in enumerate(["", "cudaGraphInstantiate:1=2", "cudaStreamBeginCapture:2"]):
        out = tmp_path / str(number)
        status, lines = train(folder, out, failure)
        assert status == 0
        assert len(lines) == bool(failure), lines
        assert all("could not be captured as a CUDA graph: cudaError" in line for line in lines)
        found.append((out / "checkpoint.npz").read_bytes())
    assert found[0] == found[1] == found[2]


def test_errors_of_destructors_are_not_printed(folder: Path, tmp_path: Path) -> None:
    """As those after a fault, which CUDA returns from every call."""
    for failure in ("cudaEventDestroy:2", "cuModuleUnload:1", "cudaGraphExecDestroy:1"):
        assert train(folder, tmp_path / failure, failure) == (0, [])
