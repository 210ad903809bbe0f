"""gpucnn through its public interface, on the NumPy backend unless a job names another."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import count as count_from
from typing import Any

import numpy as np

import gpucnn
from bench import cases, machine
from bench.sides import Job, by_position, in_blocks, timed
from bench.sides.timers import Timers
from bench.start import LR, MEAN, MOMENTUM, STD, read_start
from gpucnn import training
from gpucnn.backends.cuda import loader
from gpucnn.training.settings import RECIPES


def about() -> dict[str, Any]:
    """Return versions and threads of the process."""
    return {"numpy": np.__version__, **machine.blas()}


def load(spec: dict[str, Any]) -> Job:
    """Return the job that ``spec`` describes."""
    return KINDS[spec["kind"]](spec)


@cache
def mnist() -> gpucnn.Data:
    """Return MNIST, read once."""
    return gpucnn.data.mnist()


def backend(spec: dict[str, Any]) -> gpucnn.Backend:
    """Return the backend of a job; it launches training steps in the job's mode."""
    dtype = spec.get("dtype", "float32")
    precision = spec.get("precision", "ieee") if dtype == "float32" else "ieee"
    be = gpucnn.get_backend(spec.get("backend", "numpy"), dtype, precision=precision)
    if "mode" in spec:
        be.records, be.fuses = spec["mode"] != "eager", spec["mode"] == "fused"
    return be


def lenet(spec: dict[str, Any]) -> gpucnn.Sequential:
    """Return LeNet-5 with the weights of the start file."""
    model = gpucnn.models.lenet5(seed=0).to(backend(spec))
    model.load_state_dict(read_start(spec["start"])[0])
    model.normalization = (MEAN,), (STD,)
    return model


def fit(
    model: gpucnn.Sequential, data: gpucnn.Data, epochs: int, batch: int, **options: Any
) -> Iterator[Any]:
    """Train as the other sides do: SGD with momentum at a constant learning rate."""
    return training.events(
        model,
        data,
        epochs=epochs,
        batch_size=batch,
        optimizer=gpucnn.optim.SGD(lr=LR, momentum=MOMENTUM),
        schedule=gpucnn.optim.ConstantLR(),
        seed=0,
        **options,
    )


# --- operations ---------------------------------------------------------------------------------


def op(spec: dict[str, Any]) -> Job:
    """One call of an operation, on arrays in the memory layout of the backend's own results."""
    be = gpucnn.get_backend("numpy", spec.get("dtype", "float32"))
    case = cases.CASES[spec["case"]]

    def call() -> Any:
        arrays = {name: batch_innermost(be, name, x) for name, x in case.draw().items()}
        return cases.call(be, case, arrays, spec["direction"])

    def check() -> dict[str, Any]:
        function, changed = call()
        result = function()
        return by_position(tuple(changed) if result is None else result)

    return Job(check, timed(call()[0]))


def batch_innermost(be: gpucnn.Backend, name: str, values: np.ndarray) -> np.ndarray:
    """Return an array of the backend; batches of features have the batch innermost in memory."""
    x = to_backend(be, name, values)
    if name not in ("input", "scores", "target") or x.ndim < 2:
        return x
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0)


# --- training -----------------------------------------------------------------------------------


def step(spec: dict[str, Any]) -> Job:
    """Training steps on all of MNIST; the time between epochs is not counted."""
    workers = spec.get("workers", 1)
    data = replace(mnist(), test=mnist().test.limit(128))

    def check() -> dict[str, Any]:
        events = steps(fit(lenet(spec), data, 1, spec["batch"], workers=workers))
        return {"losses": [next(events).metrics()[0] for _ in range(3)]}

    return Job(check, stepping(fit(lenet(spec), data, 10**6, spec["batch"], workers=workers)))


def stepping(endless: Iterator[Any]) -> Callable[[int], float]:
    """Return a function that does COUNT steps and returns their seconds without evaluations."""

    def run(count: int) -> float:
        seconds, done = 0.0, 0
        while done < count:
            began = time.perf_counter()
            event = next(endless)
            if event.name == "step":
                seconds += time.perf_counter() - began
                done += 1
        return seconds

    return run


def profile(spec: dict[str, Any]) -> Job:
    """Steps with a timer around each operation; ``check`` returns its seconds in the last run.

    All batches are full, and the time between epochs is not counted.
    """
    model, timers = lenet(spec), Timers()
    timers.wrap(model.backend)
    events = fit(model, mnist().limit(100 * spec["batch"]), 10**6, spec["batch"])
    found: dict[str, float] = {}

    def run(count: int) -> float:
        found.clear()
        done = 0
        while done < count:
            began = time.perf_counter()
            event = next(events)
            parts = timers.collect(time.perf_counter() - began)
            if event.name == "step":
                done += 1
                for name, seconds in parts.items():
                    found[name] = found.get(name, 0.0) + seconds
        return sum(found.values())

    return Job(lambda: dict(found), run)


def steps(events: Iterator[Any]) -> Iterator[Any]:
    """Return the step events only."""
    return (event for event in events if event.name == "step")


def growth(spec: dict[str, Any]) -> Job:
    """The training part of an epoch on ``images`` images."""
    data = replace(mnist().limit(spec["images"]), test=mnist().test.limit(128))

    def epoch() -> Any:
        events = fit(lenet(spec), data, 1, 64)
        return next(event for event in events if event.name == "epoch")

    return Job(
        lambda: {"loss": epoch().train_loss},
        lambda count: sum(epoch().seconds for _ in range(count)),
    )


def whole(spec: dict[str, Any]) -> dict[str, float]:
    """Train an epoch, or ``steps`` of it, and evaluate, in a process started for it."""
    model, data = lenet(spec), mnist().limit(spec["images"])
    options = {"workers": spec.get("workers", 1), "checkpoint_every": spec["steps"]}
    for event in fit(model, data, 1, spec["batch"], **options):
        if event.name == "epoch":
            return {"loss": event.train_loss, "accuracy": event.test_accuracy}
        if event.name == "step" and event.step == spec["steps"]:
            loss = event.metrics()[0]
            if not spec.get("evaluate", True):
                return {"loss": loss}
            return {"loss": loss, "accuracy": gpucnn.evaluate(model, data.test).accuracy}
    raise AssertionError("an epoch ends with an event")


# --- on a device --------------------------------------------------------------------------------


class Digits(gpucnn.Data):
    """A part of MNIST, normalised with the statistics of all of MNIST, as in PyTorch's side."""

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation of all training pixels."""
        return (MEAN,), (STD,)


def subset(images: int, test: int) -> gpucnn.Data:
    """Return the first ``images`` training and ``test`` test images of MNIST."""
    few = {"train": mnist().train.limit(images), "test": mnist().test.limit(test)}
    return Digits(**{**vars(mnist()), **few})


def epoch(spec: dict[str, Any]) -> Job:
    """Training epochs; ``check`` returns the mean loss of the first ``steps`` steps.

    The device has finished when the time of an epoch is taken. If "part" is "steps", the time
    before an epoch's first step and the evaluation of the few test digits are not counted.
    """
    data, batch = subset(spec["images"], spec["test"]), spec["batch"]

    def check() -> dict[str, Any]:
        every = spec["steps"]  # else captured steps share an event
        events = steps(fit(lenet(spec), data, 1, batch, checkpoint_every=every))
        event = next(event for event in events if event.step == every)
        return {"loss": event.metrics()[0]}

    @cache
    def endless() -> Iterator[Any]:
        return fit(lenet(spec), data, 10**6, batch)

    def run(count: int) -> float:
        return sum(one_epoch(endless(), spec["part"]) for _ in range(count))

    return Job(check, run)


def one_epoch(events: Iterator[Any], part: str) -> float:
    """Train an epoch and return its seconds, or those of its steps alone."""
    began = time.perf_counter()
    ended = next(event for event in events if event.name == "epoch")
    return float(ended.seconds) if part == "steps" else time.perf_counter() - began


def launches(spec: dict[str, Any]) -> Job:
    """``check`` returns the number of kernels that a training step launches."""

    def check() -> dict[str, Any]:
        model, names = lenet(spec), list[str]()
        events = steps(
            fit(model, subset(2 * spec["batch"], 1), 1, spec["batch"], checkpoint_every=1)
        )
        launch = loader._Kernel.launch

        def counted(kernel: Any, *arguments: Any) -> None:
            names.append(kernel.signature.name)
            launch(kernel, *arguments)

        loader._Kernel.launch = counted
        try:
            next(events)  # the first step of a run is eager, not a replay
        finally:
            loader._Kernel.launch = launch
        # finite_flags validates the initial weights, before the step.
        return {"kernels": len(names) - names.count("finite_flags")}

    return Job(check, lambda count: 0.0)


def accuracy(spec: dict[str, Any]) -> Job:
    """Runs of the fast recipe, each with the next seed, after a warm-up run.

    The time of a run is from its first step to the first evaluation at ``goal`` or above, infinite
    if there is none; data and weights are on the device before. ``check`` returns all evaluations
    of the last run, and the last one repeated by NumPy in float64.
    """
    data, recipe = subset(spec["images"], spec["test"]), vars(RECIPES["fast"]())
    seeds, found = count_from(0), dict[str, Any]()

    def train(seed: int) -> gpucnn.Sequential:
        model = gpucnn.models.lenet5(seed=seed).to(backend(spec))
        events = training.events(model, data, **{**recipe, **spec["settings"], "seed": seed})
        next(events)
        model.backend.synchronize()
        began, times, accuracies = time.perf_counter(), list[float](), list[float]()
        for event in events:
            if event.name == "epoch":
                times.append(time.perf_counter() - began)
                accuracies.append(event.test_accuracy)
        found.update(seconds=times, accuracies=accuracies, seed=seed)
        return model

    train(10**6)

    def run(count: int) -> float:
        total = 0.0
        for _ in range(count):
            model = train(next(seeds))
            reached = zip(found["seconds"], found["accuracies"], strict=True)
            total += next((when for when, value in reached if value >= spec["goal"]), math.inf)
        reference = model.to(gpucnn.get_backend("numpy", "float64"))
        found["reference"] = gpucnn.evaluate(reference, data.test).accuracy
        return total

    return Job(lambda: dict(found), run)


def captured(spec: dict[str, Any]) -> Job:
    """Many calls of an operation in one launch, on several sets of arrays in turn.

    ``check`` returns the results of the last set; what the calls write is overwritten before.
    """
    be, case = backend(spec), cases.ALL[spec["case"]]
    numbers = (
        range(spec["sets"]) if be.records else [spec["sets"] - 1]
    )  # NumPy is the reference only
    calls = []
    for number in numbers:
        arrays = {name: to_backend(be, name, x) for name, x in case.draw(number).items()}
        calls.append(cases.call(be, case, arrays, spec["direction"]))
    results: list[Any] = []

    def work() -> None:
        results[:] = [function() for function, _ in calls]

    replay, times = be.capture(work), spec["repeats"]

    def check() -> dict[str, Any]:
        replay(1)
        if results[-1] is None:  # each call changes arrays in place
            replay(times)
            return {name: be.to_numpy(array) for name, array in by_position(calls[-1][1]).items()}
        for array in by_position(results[-1]).values():
            array.fill(cases.poison(array.dtype))
        replay(times if be.records else 1)
        return {name: be.to_numpy(array) for name, array in by_position(results[-1]).items()}

    def launch(blocks: int) -> None:
        for _ in range(blocks):
            replay(times)
        be.synchronize()

    return Job(check, in_blocks(launch, times * len(calls)))


def to_backend(be: gpucnn.Backend, name: str, values: np.ndarray) -> Any:
    """Return an array of the backend, of the dtype of the argument with this name."""
    kinds = {"images": np.uint8, "totals": np.float64, "norm": np.float64}
    return be.asarray(values, kinds.get(name))


# --- inference ----------------------------------------------------------------------------------


def inference(spec: dict[str, Any]) -> Job:
    """``evaluate`` on the test digits, or ``predict`` on the first ``batch`` of them."""
    model, test = lenet(spec), mnist().test
    if spec["batch"] is None:
        result = gpucnn.evaluate(model, test)
        return Job(
            lambda: {"loss": result.loss, "accuracy": result.accuracy},
            timed(lambda: gpucnn.evaluate(model, test)),
        )
    images = test.images[: spec["batch"]]
    return Job(
        lambda: {"probabilities": model.predict(images)},
        timed(lambda: model.predict(images, batch_size=spec["batch"])),
    )


KINDS: dict[str, Callable[[dict[str, Any]], Job]] = {
    "op": op,
    "step": step,
    "profile": profile,
    "growth": growth,
    "epoch": epoch,
    "launches": launches,
    "accuracy": accuracy,
    "captured": captured,
    "inference": inference,
}
