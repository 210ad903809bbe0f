"""PyTorch on a GPU: steps launched eagerly, as CUDA graphs, or compiled; operations in graphs.

Data, order and losses stay on the device, and within an epoch nothing waits for it. With "cpu" as
a job's "device" the code can be tried out, except what needs CUDA.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from bench import cases
from bench.harness import BenchError
from bench.sides import Job, by_position, in_blocks, timed
from bench.sides.pytorch import call, lenet, split
from bench.start import LR, MOMENTUM, read_start

WARM_UP = 3
"""Steps before a capture, as in PyTorch's notes on CUDA graphs."""


def about() -> dict[str, Any]:
    """Return versions and threads of the process."""
    versions = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return {"torch": torch.__version__, **versions}


def load(spec: dict[str, Any]) -> Job:
    """Return the job that ``spec`` describes; cuDNN times its algorithms and takes the best."""
    torch.backends.cudnn.benchmark = True
    return KINDS[spec["kind"]](spec)


def set_precision(name: str) -> None:
    """Set the precision of float32 convolutions and matrix products: "ieee" or "tf32"."""
    if hasattr(torch.backends.cudnn, "allow_tf32"):
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
    else:  # from 2.9 on; setting both the old and the new names is an error
        torch.backends.cudnn.conv.fp32_precision = name
        torch.backends.cuda.matmul.fp32_precision = name


def wait(device: str) -> None:
    """Wait until the device has finished."""
    if device == "cuda":
        torch.cuda.synchronize()


# --- training -----------------------------------------------------------------------------------


class Loss(nn.Module):
    """A network and its loss, to be compiled together."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of a batch."""
        return F.cross_entropy(self.model(images), labels)


class Training:
    """Steps of SGD; ``total`` is the sum of their losses.

    The mode is how they are launched: "eager", "compile" (only the network and its loss are
    compiled) or "graphs" (a step is one graph, and the position in the epoch is on the device).
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        mode, device, count = spec["mode"], spec["device"], spec["images"]
        if mode != "eager" and device != "cuda":
            raise BenchError(f"{mode}: needs CUDA")
        set_precision("ieee")
        self.device, self.start = device, spec["start"]
        self.images, self.labels = (each[:count] for each in split("train", device))
        self.model = lenet(spec).to(device)
        self.first = {name: x.detach().clone() for name, x in self.model.named_parameters()}
        self.loss: Callable[..., torch.Tensor] = Loss(self.model)
        self.compiled = mode == "compile"
        if self.compiled:
            self.loss = torch.compile(self.loss, mode="reduce-overhead", dynamic=False)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=LR, momentum=MOMENTUM, fused=True
        )
        self.total = torch.zeros((), device=device)
        self.order = torch.arange(count, device=device)
        self.start_index = 0  # first image of the next step, for the host
        self.position = torch.zeros((), dtype=torch.long, device=device)  # the same for a graph
        full, rest = divmod(count, spec["batch"])
        step = self._captured if mode == "graphs" else self._eager
        self.steps = [step(spec["batch"])] * full + ([step(rest)] if rest else [])

    def _train(self, picked: torch.Tensor) -> None:
        """Do a step on the images with the indices ``picked``."""
        if self.compiled:
            torch.compiler.cudagraph_mark_step_begin()
        loss = self.loss(self.images[picked], self.labels[picked])
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()  # the next step allocates gradients, in its graph if it has one
        self.total += loss.detach()

    def _eager(self, size: int) -> Callable[[], None]:
        def step() -> None:
            picked = self.order[self.start_index : self.start_index + size]
            self.start_index += size
            self._train(picked)

        return step

    def _captured(self, size: int) -> Callable[[], None]:
        self.position.zero_()
        offsets = torch.arange(size, device=self.device)

        def step() -> None:
            self._train(self.order[self.position + offsets])
            self.position += size

        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        return capture(step, stream)

    def start_epoch(self, order: torch.Tensor) -> None:
        """Start an epoch with the images in ``order``."""
        self.order.copy_(order)
        self.total.zero_()
        self.position.zero_()
        self.start_index = 0

    def run_steps(self, count: int | None = None) -> float:
        """Do the first ``count`` steps of the epoch, by default all; return their mean loss."""
        steps = self.steps[:count]
        for step in steps:
            step()
        return float(self.total) / len(steps)  # waits for the device

    def check(self, count: int) -> dict[str, Any]:
        """Return the mean loss of the first steps from the start file's weights and order."""
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(self.first[name])
            for state in self.optimizer.state.values():
                state["momentum_buffer"].zero_()
        self.start_epoch(torch.tensor(read_start(self.start)[1]))
        return {"loss": self.run_steps(count)}

    def epoch(self, part: str) -> float:
        """Train an epoch in a new order; return its seconds, or those of its steps alone."""
        began = time.perf_counter()
        self.start_epoch(torch.randperm(len(self.order), device=self.device))
        if part == "steps":
            wait(self.device)
            began = time.perf_counter()
        self.run_steps()
        return time.perf_counter() - began


@dataclass(frozen=True)
class Replay:
    """The replay of a graph; keeps ``work`` and so the tensors it reads, as the graph does not."""

    graph: torch.cuda.CUDAGraph
    work: Callable[[], Any]

    def __call__(self) -> None:
        """Launch the graph."""
        self.graph.replay()


def capture(work: Callable[[], Any], stream: Any, times: int = 1) -> Replay:
    """Return the replay of a graph of ``times`` calls of ``work``, captured on ``stream``."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(times):
            work()
    return Replay(graph, work)


_trainings: dict[int, Training] = {}


def training(spec: dict[str, Any]) -> Training:
    """Return the training with the spec's batch size; a process has one mode and device."""
    if spec["batch"] not in _trainings:
        _trainings[spec["batch"]] = Training(spec)
    return _trainings[spec["batch"]]


def epoch(spec: dict[str, Any]) -> Job:
    """Training epochs without evaluation; ``check`` returns the mean loss of the first steps."""
    return Job(
        lambda: training(spec).check(spec["steps"]),
        lambda count: sum(training(spec).epoch(spec["part"]) for _ in range(count)),
    )


def launches(spec: dict[str, Any]) -> Job:
    """``check`` returns the number of kernels in a training step, by PyTorch's profiler."""

    def check() -> dict[str, Any]:
        one = training(spec)
        one.check(WARM_UP)
        one.start_epoch(one.order.clone())
        wait(one.device)
        on_gpu = one.device == "cuda"
        activities = [ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]
        with profile(activities=activities) as trace:
            one.steps[0]()
            wait(one.device)
        kernels = traced(trace, "kernel" if on_gpu else "cpu_op")
        if not kernels:
            raise BenchError("the profiler recorded no kernel")
        return {"kernels": kernels}

    return Job(check, lambda count: 0.0)


def traced(trace: profile, category: str) -> int:
    """Return the number of events of a category in a trace."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        trace.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    return sum(event.get("cat") == category for event in events)


def whole(spec: dict[str, Any]) -> dict[str, float]:
    """Do the first steps in a process started for it."""
    return Training(spec).check(spec["steps"])


# --- operations ---------------------------------------------------------------------------------


def captured(spec: dict[str, Any]) -> Job:
    """Many calls of an operation in one launch, on several sets of tensors in turn.

    ``check`` returns the results of the last set; what the calls write is overwritten before.
    """
    case, device, times = cases.ALL[spec["case"]], spec["device"], spec["repeats"]
    set_precision(spec["precision"])
    results: list[Any] = []

    def prepare() -> tuple[Callable[[], None], list[Any]]:
        sets = range(spec["sets"])
        calls = [call(case, spec["direction"], number, device) for number in sets]

        def work() -> None:
            results[:] = [function() for function, _ in calls]

        work()
        return work, calls[-1][1]

    if device == "cuda":
        # Autograd computes a gradient on the stream of its forward operation.
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            work, changed = prepare()
        stream.synchronize()
        replay = capture(work, stream, times)
    else:
        work, changed = prepare()

        def replay() -> None:
            for _ in range(times):
                work()

    def check() -> dict[str, Any]:
        for x in by_position(results[-1]).values():
            x.fill_(float("nan"))
        replay()
        arrays = by_position(changed if results[-1] is None else results[-1])
        return {name: x.detach().cpu().numpy() for name, x in arrays.items()}

    def launch(blocks: int) -> None:
        for _ in range(blocks):
            replay()
        wait(device)

    return Job(check, in_blocks(launch, times * spec["sets"]))


def ceilings(spec: dict[str, Any]) -> Job:
    """``check`` returns measured ceilings of the device, in FLOP/s and bytes per second.

    "ieee" and "tf32" are large matrix products; "copy" is a large copy, reads and writes counted.
    """

    def check() -> dict[str, Any]:
        device, side, found = spec["device"], spec["side"], dict[str, float]()
        a, b = (torch.randn(side, side, device=device) for _ in range(2))
        out = torch.empty_like(a)
        for precision in ("ieee", "tf32"):
            set_precision(precision)
            found[precision] = 2 * side**3 / seconds(lambda: torch.mm(a, b, out=out), device)
        source = torch.randn(4 * side, side, device=device)
        copy = torch.empty_like(source)
        moved = 2 * source.numel() * source.element_size()
        found["copy"] = moved / seconds(lambda: copy.copy_(source), device)
        return found

    return Job(check, lambda count: 0.0)


def seconds(function: Callable[[], Any], device: str, times: int = 5) -> float:
    """Return the median time of a call in seven blocks of calls, after one to warm up."""

    def block() -> None:
        for _ in range(times):
            function()
        wait(device)

    block()
    return median(timed(block)(1) / times for _ in range(7))


KINDS: dict[str, Callable[[dict[str, Any]], Job]] = {
    "epoch": epoch,
    "launches": launches,
    "captured": captured,
    "ceilings": ceilings,
}
