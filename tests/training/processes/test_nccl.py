"""Ranks with a GPU each, whose gradients NCCL adds: on the stand-in, in the order of ranks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from available import standin_or_skip

from gpucnn import nn, training
from gpucnn.errors import SettingError
from gpucnn.training.processes import nccl
from gpucnn.training.processes.group import Alone

PROGRAM = Path(__file__).with_name("nccl_program.py")
HOST = "the gradients of 2 processes are added by the host"


def run(**knobs: str) -> tuple[dict[str, str], str]:
    """Return what the program found, and what it printed to standard error."""
    environment = {name: value for name, value in os.environ.items() if name[:8] != "STANDIN_"}
    if "STANDIN_MODE" in os.environ:
        environment["STANDIN_MODE"] = os.environ["STANDIN_MODE"]
    paths = [str(PROGRAM.parents[2]), environment.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **knobs},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    errors = "\n".join(line for line in done.stderr.splitlines() if " cu" not in line)
    return dict(line.split(" = ", 1) for line in done.stdout.splitlines()), errors


@pytest.mark.cuda
def test_sums_by_nccl_have_the_bits_of_the_hosts_and_faults_end_all() -> None:
    standin_or_skip("NCCL promises no order, and two GPUs are rare")
    found, errors = run(STANDIN_DEVICES="2", STANDIN_NCCL_SECONDS="600", STANDIN_TRACE="1")
    assert found == {
        "host": HOST,
        "captured": "[None, None]",
        "same": "[True, True]",
        "slices": "[True, True]",
        "eager": "('the model (Custom) is a custom class', [True, True])",
        "one rank": "True",
        "diverged": "DivergedError",
        "ended": "['WorkerError', 'RuntimeError']",
        "waits": "['another rank has failed', 'failed']",
        "no longer": "True",
    }, errors[-2000:]
    beside = {int(number) for number in re.findall(r"may run beside (\d+) others", errors)}
    assert min(beside) == 0  # a single sum, which waits for all of backward
    assert max(beside) > 4  # the first slice


class Pair(Alone):
    """A rank that gathers its own value twice, as if there were another on the same GPU."""

    size = 2

    def gather(self, value: Any) -> list[Any]:
        return [value, value]


@pytest.mark.cuda
def test_where_two_ranks_share_a_gpu_the_host_adds() -> None:
    standin_or_skip("it needs no GPU")
    control = Pair()
    assert nccl.with_nccl(control) is control
    reason = "NCCL needs a GPU for each process, and ranks 0 and 1 share one"
    assert control.why_host == reason


def test_where_nccl_is_missing_the_message_names_the_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime = SimpleNamespace(runtimeGetVersion=lambda: 12090)
    device = SimpleNamespace(pci_bus_id="0000:00:00.0")
    cupy: Any = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime, Device=lambda: device))
    monkeypatch.setattr(nccl, "_binding", lambda: SimpleNamespace(available=False))
    monkeypatch.setattr(nccl, "get_backend", lambda name: None)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    message = "NCCL cannot be used: NCCL is not installed: pip install nvidia-nccl-cu12"
    with pytest.raises(SettingError, match=f"^{message}$"):
        training.make_group("nccl")


def test_nccl_is_refused_on_another_backend() -> None:
    model = nn.Sequential([nn.Flatten(), nn.Linear(4, 2)], (1, 2, 2))
    group = nccl.Nccl.__new__(nccl.Nccl)
    with pytest.raises(SettingError, match="the backend is numpy: take cuda"):
        nccl.added_on_gpus(group, model.backend)
    assert nccl.added_on_gpus(alone := Alone(), model.backend) is alone
