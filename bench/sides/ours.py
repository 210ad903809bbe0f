"""gpucnn through its public interface, on the NumPy backend if a job does not say otherwise."""

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
from bench.sides import Job, in_blocks, named, timed
from bench.sides.timers import Timers
from bench.start import LR, MEAN, MOMENTUM, STD, read_start
from gpucnn import training
from gpucnn.backends.cuda import loader
from gpucnn.training.settings import RECIPES


def about() -> dict[str, Any]:
    """Return what the process computes with."""
    return {"numpy": np.__version__, **machine.blas()}


def load(spec: dict[str, Any]) -> Job:
    """Make the job that ``spec`` describes."""
    return KINDS[spec["kind"]](spec)


@cache
def mnist() -> gpucnn.Data:
    """Return MNIST, read once."""
    return gpucnn.data.mnist()


def backend(spec: dict[str, Any]) -> gpucnn.Backend:
    """Return the backend of a job, which launches its steps in the job's mode."""
    dtype = spec.get("dtype", "float32")
    coarse = spec.get("precision") == "tf32" and dtype == "float32"
    own: Any = {"precision": "tf32"} if coarse else {}
    be = gpucnn.get_backend(spec.get("backend", "numpy"), dtype, **own)
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
    """Train as the other side does: SGD at a constant rate."""
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
    """One call of an operation, on arrays that lie in memory as the backend's own results do."""
    be = gpucnn.get_backend("numpy", spec.get("dtype", "float32"))
    case = cases.CASES[spec["case"]]

    def call() -> Any:
        arrays = {name: natural(be, name, x) for name, x in case.draw().items()}
        return cases.call(be, case, arrays, spec["direction"])

    def check() -> dict[str, Any]:
        function, changed = call()
        result = function()
        return named(tuple(changed) if result is None else result)

    return Job(check, timed(call()[0]))


def natural(be: gpucnn.Backend, name: str, values: np.ndarray) -> np.ndarray:
    """Return an array of the backend, batches of features with the batch innermost in memory."""
    x = placed(be, name, values)
    if name not in ("input", "mask", "scores", "target") or x.ndim < 2:
        return x
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0)


# --- training -----------------------------------------------------------------------------------


def step(spec: dict[str, Any]) -> Job:
    """Steps of ``fit`` on all of MNIST; what happens between epochs is not counted."""
    workers = spec.get("workers", 1)
    data = replace(mnist(), test=mnist().test.limit(128))

    def check() -> dict[str, Any]:
        events = steps(fit(lenet(spec), data, 1, spec["batch"], workers=workers))
        return {"losses": [next(events).metrics()[0] for _ in range(3)]}

    return Job(check, stepping(fit(lenet(spec), data, 10**6, spec["batch"], workers=workers)))


def stepping(endless: Iterator[Any]) -> Callable[[int], float]:
    """Return what does COUNT steps of a run and returns their seconds, evaluations left out."""

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
    """Steps with a timer around each operation; ``check`` returns the last run's seconds of each.

    Batches are full ones, and what happens between epochs is not counted.
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
            parts = timers.take(time.perf_counter() - began)
            if event.name == "step":
                done += 1
                for name, seconds in parts.items():
                    found[name] = found.get(name, 0.0) + seconds
        return sum(found.values())

    return Job(lambda: dict(found), run)


def steps(events: Iterator[Any]) -> Iterator[Any]:
    """Yield the events of steps alone."""
    return (event for event in events if event.name == "step")


def growth(spec: dict[str, Any]) -> Job:
    """The training part of an epoch of ``images`` images."""
    data = replace(mnist().limit(spec["images"]), test=mnist().test.limit(128))

    def epoch() -> Any:
        events = fit(lenet(spec), data, 1, 64)
        return next(event for event in events if event.name == "epoch")

    return Job(
        lambda: {"loss": epoch().train_loss},
        lambda count: sum(epoch().seconds for _ in range(count)),
    )


def whole(spec: dict[str, Any]) -> dict[str, float]:
    """Train an epoch, or ``steps`` of it, and evaluate, in a process that was started for it."""
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
    raise AssertionError("an epoch ends")


# --- on a device --------------------------------------------------------------------------------


class Digits(gpucnn.Data):
    """Part of MNIST, normalised as the other side has it: as all of it is."""

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation of all training pixels."""
        return (MEAN,), (STD,)


def little(images: int, test: int) -> gpucnn.Data:
    """Return the first images of MNIST, and as many test digits as are wanted."""
    few = {"train": mnist().train.limit(images), "test": mnist().test.limit(test)}
    return Digits(**{**vars(mnist()), **few})


def epoch(spec: dict[str, Any]) -> Job:
    """Epochs of ``fit``; ``check`` returns the mean loss of the first ``steps`` steps.

    The device is done when an epoch's time is taken. Where "part" is "steps", neither what the host
    does before an epoch's first step is counted, nor the evaluation of the few test digits.
    """
    data, batch = little(spec["images"], spec["test"]), spec["batch"]

    def check() -> dict[str, Any]:
        every = spec["steps"]  # recorded steps are many to an event otherwise
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
    """Go through the events of an epoch and return the seconds of its training, or its steps."""
    began = time.perf_counter()
    ended = next(event for event in events if event.name == "epoch")
    return float(ended.seconds) if part == "steps" else time.perf_counter() - began


def launches(spec: dict[str, Any]) -> Job:
    """``check`` returns how many kernels a training step launches."""

    def check() -> dict[str, Any]:
        model, names = lenet(spec), list[str]()
        events = steps(
            fit(model, little(2 * spec["batch"], 1), 1, spec["batch"], checkpoint_every=1)
        )
        launch = loader._Kernel.launch

        def counted(kernel: Any, *arguments: Any) -> None:
            names.append(kernel.signature.name)
            launch(kernel, *arguments)

        loader._Kernel.launch = counted
        try:
            next(events)  # a run's first step is launched, and never a replay
        finally:
            loader._Kernel.launch = launch
        # Before it, the weights that it begins with are looked at.
        return {"kernels": len(names) - names.count("finite_flags")}

    return Job(check, lambda count: 0.0)


def accuracy(spec: dict[str, Any]) -> Job:
    """Runs of the fast recipe, each with the next seed, warm from the first one on.

    A run's seconds are those from its first step to the first evaluation at ``goal`` or above,
    infinite if there is none; data and weights are on the device before. ``check`` returns all
    evaluations of the last run, and the last one done again by NumPy in float64.
    """
    data, recipe = little(spec["images"], spec["test"]), vars(RECIPES["fast"]())
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
            total += next((when for when, right in reached if right >= spec["goal"]), math.inf)
        judge = model.to(gpucnn.get_backend("numpy", "float64"))
        found["judged"] = gpucnn.evaluate(judge, data.test).accuracy
        return total

    return Job(lambda: dict(found), run)


def repeated(spec: dict[str, Any]) -> Job:
    """Many calls of an operation as one launch, on several sets of arrays in turn.

    ``check`` returns the last set's results, after what the calls wrote to was overwritten.
    """
    be, case = backend(spec), cases.ALL[spec["case"]]
    numbers = range(spec["sets"]) if be.records else [spec["sets"] - 1]  # NumPy is the judge only
    calls = []
    for number in numbers:
        arrays = {name: placed(be, name, x) for name, x in case.draw(number).items()}
        calls.append(cases.call(be, case, arrays, spec["direction"]))
    results: list[Any] = []

    def work() -> None:
        results[:] = [function() for function, _ in calls]

    repeat, times = be.capture(work), spec["repeats"]

    def check() -> dict[str, Any]:
        repeat(1)
        if results[-1] is None:  # changed in place, by each call
            repeat(times)
            return {name: be.to_numpy(array) for name, array in named(calls[-1][1]).items()}
        for array in named(results[-1]).values():
            array.fill(cases.poison(array.dtype))
        repeat(times if be.records else 1)
        return {name: be.to_numpy(array) for name, array in named(results[-1]).items()}

    def launch(blocks: int) -> None:
        for _ in range(blocks):
            repeat(times)
        be.synchronize()

    return Job(check, in_blocks(launch, times * len(calls)))


def placed(be: gpucnn.Backend, name: str, values: np.ndarray) -> Any:
    """Return an array of the backend, of the type that the argument of this name has."""
    return be.asarray(values, {"images": np.uint8, "totals": np.float64}.get(name))


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
    "repeated": repeated,
    "inference": inference,
}
