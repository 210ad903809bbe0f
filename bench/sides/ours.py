"""gpucnn's NumPy backend, through its public interface."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

import gpucnn
from bench import cases, machine
from bench.sides import Job, named, timed
from bench.sides.timers import Timers
from bench.start import LR, MEAN, MOMENTUM, STD, read_start


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


def lenet(spec: dict[str, Any]) -> gpucnn.Sequential:
    """Return LeNet-5 with the weights of the start file."""
    backend = gpucnn.get_backend("numpy", spec.get("dtype", "float32"))
    model = gpucnn.models.lenet5(seed=0).to(backend)
    model.load_state_dict(read_start(spec["start"])[0])
    model.normalization = (MEAN,), (STD,)
    return model


def fit(
    model: gpucnn.Sequential, data: gpucnn.Data, epochs: int, batch: int, workers: int = 1
) -> Iterator[Any]:
    """Train as the other side does: SGD at a constant rate."""
    return gpucnn.fit(
        model,
        data,
        epochs=epochs,
        batch_size=batch,
        optimizer=gpucnn.optim.SGD(lr=LR, momentum=MOMENTUM),
        schedule=gpucnn.schedules.ConstantLR(),
        seed=0,
        workers=workers,
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
    x = be.asarray(values, {"images": np.uint8, "totals": np.float64}.get(name))
    if name not in ("input", "mask", "scores", "target") or x.ndim < 2:
        return x
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0)


# --- training -----------------------------------------------------------------------------------


def step(spec: dict[str, Any]) -> Job:
    """Steps of ``fit`` on all of MNIST; what happens between epochs is not counted."""
    data = replace(mnist(), test=mnist().test.limit(128))

    def check() -> dict[str, Any]:
        events = steps(fit(lenet(spec), data, 1, spec["batch"], spec["workers"]))
        return {"losses": [next(events).metrics()[0] for _ in range(3)]}

    return Job(check, stepping(fit(lenet(spec), data, 10**6, spec["batch"], spec["workers"])))


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
    for event in fit(model, data, 1, spec["batch"], spec["workers"]):
        if event.name == "epoch":
            return {"loss": event.train_loss, "accuracy": event.test_accuracy}
        if event.name == "step" and event.step == spec["steps"]:
            loss = event.metrics()[0]
            return {"loss": loss, "accuracy": gpucnn.evaluate(model, data.test).accuracy}
    raise AssertionError("an epoch ends")


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
    "inference": inference,
}
