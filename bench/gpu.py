"""What is compared on an NVIDIA GPU, and what all benches there share."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from bench.harness import BenchError, Options, Report, Results
from bench.peers import HAS_TORCH, Flavour, Worker
from gpucnn.backends import get_backend
from gpucnn.errors import BackendError

OURS, PYTORCH = ("eager", "captured", "fused"), ("eager", "graphs", "compile")
"""How each side's steps may be launched."""
PATIENCE = 100.0
"""Seconds for an answer: what hangs, or is compiled for too long, must not take all the time."""


def backend(options: Options) -> str:
    """Return the backend to time; BenchError where something that a bench needs is missing."""
    name = options.size("cuda", "emulated")
    if not HAS_TORCH:
        raise BenchError("PyTorch is what is compared with, and it is not installed")
    if not options.rehearse and find_spec("cupy") is None:
        raise BenchError("CuPy is not installed")
    try:
        get_backend(name)
    except BackendError as error:
        raise BenchError(f"it needs an NVIDIA GPU: {error}") from error
    return name


def ours(options: Options, modes: Sequence[str] = OURS) -> list[Flavour]:
    """Return gpucnn, its steps launched in each of ``modes``."""
    env, name = {"OPENBLAS_NUM_THREADS": "1"}, backend(options)
    return [
        Flavour(f"gpucnn {mode}", "ours", env, {"backend": name, "mode": mode}, PATIENCE)
        for mode in modes
    ]


def pytorch(options: Options, modes: Sequence[str] = PYTORCH) -> list[Flavour]:
    """Return PyTorch, its steps launched in each of ``modes``."""
    device, env = options.size("cuda", "cpu"), options.size({}, {"OMP_NUM_THREADS": "1"})
    return [
        Flavour(f"PyTorch {mode}", "pytorch_gpu", env, {"device": device, "mode": mode}, PATIENCE)
        for mode in modes
    ]


def report(title: str, options: Options) -> Report:
    """Return an empty report; one of a rehearsal says in every form that it means nothing."""
    found = Report(title)
    if options.rehearse:
        found.title = f"REHEARSAL without a GPU, no figure means anything: {title}"
        found.about["rehearsal"] = True
    return found


def asked(worker: Worker, spec: dict[str, Any]) -> Results | str:
    """Return what a job finds out once, or why it could not."""
    try:
        return worker.peer(spec).check()
    except BenchError as error:
        return str(error)


def ceilings(worker: Worker, options: Options) -> dict[str, float]:
    """Return FLOP/s of large products, "ieee" and "tf32", and bytes/s of a "copy", by PyTorch."""
    spec = {"kind": "ceilings", "side": options.size(8192, 64)}
    return {name: float(rate) for name, rate in worker.peer(spec).check().items()}


def said(rates: dict[str, float]) -> str:
    """Return the ceilings as a line of text."""
    return (
        f"measured ceilings: float32 {rates['ieee'] / 1e12:.1f} TFLOP/s, "
        f"TF32 {rates['tf32'] / 1e12:.0f} TFLOP/s, copy {rates['copy'] / 1e12:.2f} TB/s"
    )
