"""What is compared on an NVIDIA GPU, and code that the benches for it share."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from bench.harness import BenchError, Options, Report, Results
from bench.peers import HAS_TORCH, Flavour, Worker
from gpucnn.backends import get_backend
from gpucnn.errors import BackendError

OURS, PYTORCH = ("eager", "captured", "fused"), ("eager", "graphs", "compile")
"""The modes in which each side launches training steps."""
PATIENCE = 100.0
"""Seconds to wait for a reply: a hang or a long compilation must not use up all the time."""


def backend(options: Options) -> str:
    """Return the backend to time; BenchError if something that a GPU bench needs is missing."""
    name = options.size("cuda", "emulated")
    if not HAS_TORCH:
        raise BenchError("PyTorch, the peer, is not installed: pip install 'gpucnn[bench]'")
    if not options.rehearse and find_spec("cupy") is None:
        raise BenchError("CuPy is not installed: pip install 'gpucnn[cuda12]', or add --rehearse")
    try:
        get_backend(name)
    except BackendError as error:
        raise BenchError(
            f"no usable NVIDIA GPU, add --rehearse to try the code without one: {error}"
        ) from error
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
    """Return an empty report; that of a rehearsal is marked as meaningless."""
    found = Report(title)
    if options.rehearse:
        found.title = f"REHEARSAL without a GPU, the figures mean nothing: {title}"
        found.about["rehearsal"] = True
    return found


def ask_once(worker: Worker, spec: dict[str, Any]) -> Results | str:
    """Return the results of a job's check, or the reason why there are none."""
    try:
        return worker.peer(spec).check()
    except BenchError as error:
        return str(error)


def ceilings(worker: Worker, options: Options) -> dict[str, float]:
    """Return FLOP/s of large products, "ieee" and "tf32", and bytes/s of a "copy" in PyTorch."""
    spec = {"kind": "ceilings", "side": options.size(8192, 64)}
    return {name: float(rate) for name, rate in worker.peer(spec).check().items()}


def format_ceilings(rates: dict[str, float]) -> str:
    """Return the ceilings as a line of text."""
    return (
        f"measured ceilings: float32 {rates['ieee'] / 1e12:.1f} TFLOP/s, "
        f"TF32 {rates['tf32'] / 1e12:.0f} TFLOP/s, copy {rates['copy'] / 1e12:.2f} TB/s"
    )
