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
PATIENCE = 75.0
"""Seconds to wait for a reply: a hang or a long compilation must not use up all the time."""


def backend(options: Options) -> str:
    """Return the backend to time; BenchError if something that it needs is missing."""
    name = "emulated" if options.rehearse else "cuda"
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
    """Return PyTorch, its steps launched in each of ``modes``; nothing if it is not installed."""
    device, env = ("cpu", {"OMP_NUM_THREADS": "1"}) if options.rehearse else ("cuda", {})
    return HAS_TORCH * [
        Flavour(f"PyTorch {mode}", "pytorch_gpu", env, {"device": device, "mode": mode}, PATIENCE)
        for mode in modes
    ]


def report(title: str, options: Options) -> Report:
    """Return an empty report; that of tiny sizes is marked as meaningless."""
    found = Report(title)
    if options.tiny:
        found.title = f"REHEARSAL at tiny sizes, the figures mean nothing: {title}"
        found.about["rehearsal"] = True
    return found


def ask_once(worker: Worker, spec: dict[str, Any]) -> Results | str:
    """Return the results of a job's check, or the reason why there are none."""
    try:
        return worker.peer(spec).check()
    except BenchError as error:
        return str(error)


def ceilings(running: Sequence[Worker], options: Options) -> dict[str, float]:
    """Return FLOP/s of large products, "ieee" and "tf32", and bytes/s of a "copy" in PyTorch.

    BenchError if no PyTorch runs.
    """
    worker = next((w for w in running if w.flavour.side == "pytorch_gpu"), None)
    if worker is None:
        raise BenchError("the ceilings are measured with PyTorch")
    spec = {"kind": "ceilings", "side": options.size(8192, 64)}
    return {name: float(rate) for name, rate in worker.peer(spec).check().items()}


def format_ceilings(rates: dict[str, float]) -> str:
    """Return the ceilings as a line of text."""
    return (
        f"measured ceilings: float32 {rates['ieee'] / 1e12:.1f} TFLOP/s, "
        f"TF32 {rates['tf32'] / 1e12:.0f} TFLOP/s, copy {rates['copy'] / 1e12:.2f} TB/s"
    )
