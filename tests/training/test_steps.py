"""Captured and replayed steps: their results are those of eager steps."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from available import BACKENDS, backend_or_skip
from small import blobs, number_data, small_data, small_model

import gpucnn
from gpucnn import models, training
from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.cuda import graphs
from gpucnn.backends.cuda.lenet5 import LeNet5
from gpucnn.data import Data
from gpucnn.emulator import memory
from gpucnn.errors import DivergedError, SettingError
from gpucnn.nn.layers import Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU
from gpucnn.nn.losses import CrossEntropyLoss, MSELoss
from gpucnn.nn.sequential import Sequential
from gpucnn.optim import SGD, Adam, AdamW
from gpucnn.training.event_types import Event, RunStarted, StepEnded
from gpucnn.training.run import Run

# 8 full batches and one of 6 an epoch.
IMAGES, BATCH, STEPS = 70, 8, 9


@pytest.fixture(params=[name for name in BACKENDS if name != "numpy"])
def device(request: pytest.FixtureRequest) -> Backend:
    return backend_or_skip(request.param)


def start(backend: Backend, model: Sequential | None = None, **options: Any) -> Iterator[Event]:
    model = small_model() if model is None else model
    settings = {"epochs": 2, "batch_size": BATCH, "seed": 1, **options}
    return training.events(model, small_data(IMAGES), backend=backend, **settings)


def eager(backend: Backend) -> Backend:
    """The same kind of backend, which captures nothing."""
    other = backend_or_skip(backend.name, str(backend.dtype))
    other.records = False
    return other


def figures(events: list[Event]) -> list[tuple[float, float]]:
    return [(e.train_loss, e.test_loss) for e in events if e.name == "epoch"]


@pytest.mark.parametrize(
    "optimizer",
    [SGD(lr=0.05, momentum=0.9), Adam(lr=1e-2), AdamW(lr=1e-2, betas=(0.7, 0.9))],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_captured_steps_give_the_bits_of_eager_ones(
    device: Backend, optimizer: gpucnn.optim.Optimizer, tmp_path: Path
) -> None:
    """With the order of the images, a schedule, the number of the step, dropout's masks and the
    short batch."""
    files, found = [tmp_path / "captured.npz", tmp_path / "eager.npz"], []
    for file, backend in zip(files, (device, eager(device)), strict=True):
        events = list(start(backend, optimizer=optimizer, epochs=3, checkpoint=file))
        found.append(figures(events))
    assert found[0] == found[1]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_captured_steps_change_images_as_eager_ones(device: Backend, tmp_path: Path) -> None:
    """Each step in another way, and mixed in other shares; a resumed run as a straight one."""
    files = [tmp_path / f"{name}.npz" for name in ("captured", "eager", "resumed", "plain")]
    augment = gpucnn.Augmentation(shift=1, rotate=20, erase=0.5)
    options: dict[str, Any] = {"augment": augment, "mixup": 0.4, "ema": 0.5}
    list(start(device, checkpoint=files[0], **options))
    list(start(eager(device), checkpoint=files[1], **options))
    asked, more = iter((False, True)), {**options, "checkpoint": files[2], "checkpoint_every": 5}
    list(start(device, should_stop=lambda: next(asked), **more))
    list(start(device, small_model(seed=5), resume=files[2], **more))
    assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()
    list(start(device, checkpoint=files[3]))
    assert files[3].read_bytes() != files[0].read_bytes()


def test_captured_steps_on_numbers_give_the_bits_of_eager_ones(
    device: Backend, tmp_path: Path
) -> None:
    files = [tmp_path / "captured.npz", tmp_path / "eager.npz"]
    for file, backend in zip(files, (device, eager(device)), strict=True):
        model, data = small_model(outputs=2), number_data(IMAGES)
        options = {"epochs": 2, "batch_size": BATCH, "backend": backend, "checkpoint": file}
        list(training.events(model, data, **options))
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_launch_is_one_event(device: Backend) -> None:
    events = [event for event in start(device) if isinstance(event, StepEnded)]
    assert [event.step for event in events] == [8, 9, 17, 18]
    assert [event.images for event in events] == [64, 70, 64, 70]
    single = [event for event in start(eager(device)) if isinstance(event, StepEnded)]
    assert [event.step for event in single] == list(range(1, 2 * STEPS + 1))
    for event in events:
        assert event.lr == single[event.step - 1].lr


def test_steps_with_much_work_are_launched_in_smaller_groups(device: Backend) -> None:
    model = small_model().to(device)
    run = Run(model, small_data(IMAGES), settings())
    assert run.steps.per_launch == graphs.MAX_STEPS_PER_GRAPH
    heavy = models.small_cnn(size=96, classes=4, channels=3).to(device)
    data = small_data(channels=3)
    data = replace(data, train=grown(data.train), test=grown(data.test))
    assert Run(heavy, data, settings()).steps.per_launch < 10


def settings(batch_size: int = 70) -> Any:
    return gpucnn.Settings(batch_size=batch_size, epochs=1)


def grown(split: Any) -> Any:
    return gpucnn.data.Split(split.images.repeat(12, 2).repeat(12, 3), split.labels)


def test_launches_end_where_checkpoints_are_written(device: Backend, tmp_path: Path) -> None:
    events = list(start(device, checkpoint=tmp_path / "c.npz", checkpoint_every=5))
    steps = [event.step for event in events if event.name == "checkpoint"]
    assert steps == [0, 5, 9, 10, 15, 18]


def test_captured_steps_need_little_more_memory_than_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Arrays reuse what earlier ones released, and the last batch the memory of full batches."""
    live, peaks = [0], []

    class Counted(memory.Memory):
        def __init__(self, nbytes: int) -> None:
            super().__init__(nbytes)
            live[0] += nbytes
            peaks[-1] = max(peaks[-1], live[0])

        def __del__(self) -> None:
            live[0] -= self.nbytes
            super().__del__()

    layers: list[Layer] = []
    for before, channels in pairwise((1, 8, 8, 16, 16, 32, 32)):
        layers += [Conv2d(before, channels, 3, padding=1), ReLU()]
    layers += [MaxPool2d(8), Flatten(), Linear(32, 4)]
    monkeypatch.setattr(memory, "Memory", Counted)
    for backend in (backend_or_skip("emulated"), eager(backend_or_skip("emulated"))):
        peaks.append(0)
        model = Sequential(layers, (1, 8, 8)).to(backend)
        steps = Run(model, small_data(IMAGES), settings(8)).steps
        before = peaks[-1] = live[0]
        for index in (0, 1, 8, 8):  # first run, then captured
            steps.run(index, 1)
        peaks[-1] -= before
        steps.close()
        gc.collect()
        assert live[0] <= before
    assert peaks[0] < 1.5 * peaks[1]


@pytest.mark.parametrize("to_the_end", [True, False])
def test_a_run_that_has_ended_holds_no_memory(device: Backend, to_the_end: bool) -> None:
    """Nor does one that was closed."""
    run = Run(small_model().to(device), small_data(IMAGES), settings())
    events, steps = run.events(), weakref.ref(run.steps)
    del run
    gc.disable()
    try:
        next(event for event in events if isinstance(event, StepEnded))
        if to_the_end:
            list(events)
        events.close()
        del events
        assert steps() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("stop_at", [1, 2, 3, 4])
def test_a_stopped_run_resumes_to_the_same_bits(
    device: Backend, stop_at: int, tmp_path: Path
) -> None:
    """Within an epoch, too: the counters start where they were."""
    files = tmp_path / "straight.npz", tmp_path / "resumed.npz"
    options = {"optimizer": Adam(lr=1e-2), "checkpoint_every": 5}
    list(start(device, checkpoint=files[0], **options))
    asked = iter(range(1, 100))
    stopped = list(
        start(device, checkpoint=files[1], should_stop=lambda: next(asked) == stop_at, **options)
    )
    assert stopped[-1].reason == "interrupted"
    list(start(device, small_model(seed=5), checkpoint=files[1], resume=files[1], **options))
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("optimizer", [SGD(lr=1e12), Adam(lr=3e38)], ids=["gradients", "weights"])
def test_a_step_with_nan_or_infinity_is_named_and_changes_nothing(
    device: Backend, optimizer: gpucnn.optim.Optimizer
) -> None:
    """The launch has more steps after it, but the weights stay as they were before it."""
    found = []
    for backend in (device, eager(device), gpucnn.get_backend("numpy")):
        model = small_model()
        with pytest.raises(DivergedError) as caught:
            list(start(backend, model, optimizer=optimizer, schedule=gpucnn.optim.ConstantLR()))
        found.append((str(caught.value), model.state_dict()))
    (message, weights), (wanted_message, wanted), (on_numpy, _) = found
    assert message == wanted_message == on_numpy
    assert "epoch 1, step 3" in message or "epoch 1, step 2" in message
    for name in wanted:
        assert not np.isnan(wanted[name]).any()
        np.testing.assert_array_equal(weights[name], wanted[name])


@dataclass(frozen=True)
class LateDivergence(gpucnn.optim.Schedule):
    """A learning rate that makes every network diverge, in the second half of a run."""

    def factor(self, progress: float) -> float:
        return 1e15 if progress >= 0.5 else 1.0


def test_a_step_of_a_later_epoch_has_its_number(device: Backend, tmp_path: Path) -> None:
    """Also in a resumed run: steps count from the run's beginning."""
    path, messages = tmp_path / "c.npz", []
    for backend in (device, gpucnn.get_backend("numpy")):
        options = {"schedule": LateDivergence(), "optimizer": SGD(lr=0.01), "checkpoint": path}
        list(start(backend, **options, should_stop=lambda: True, checkpoint_every=4))
        with pytest.raises(DivergedError) as caught:
            list(start(backend, small_model(), **options, resume=path))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert messages[0].startswith("epoch 2, step 1")


@dataclass(eq=False)
class CustomReLU(ReLU):
    """A custom layer: it may do anything on the host."""


class CustomLoss(CrossEntropyLoss):
    pass


class CustomSGD(SGD):
    pass


class CustomModel(Sequential):
    """A network with a backward of its own: for five steps its first layer does not learn."""

    done = 0

    def backward(self, grad: Array, saved: Any, input_grad: bool = False) -> Array | None:
        result = super().backward(grad, saved, input_grad)
        self.done += 1
        if self.done <= 5:
            next(iter(self.parameters())).grad.fill(0)
        return result


def custom_model() -> Sequential:
    return CustomModel(small_model().layers, (1, 8, 8))


def patched_model() -> Sequential:
    model = small_model()
    model.forward = model.forward  # type: ignore[method-assign]
    return model


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"model": small_model}, None),
        (
            {"model": lambda: Sequential([CustomReLU(), Flatten(), Linear(64, 4)], (1, 8, 8))},
            "layer '0' (CustomReLU) is a custom layer",
        ),
        ({"model": custom_model}, "the model (CustomModel) is a custom class"),
        ({"model": patched_model}, "the model has a custom forward"),
        ({"loss": CustomLoss()}, "CustomLoss is a custom class"),
        ({"optimizer": CustomSGD(lr=0.01)}, "CustomSGD is a custom class"),
        ({"loss": MSELoss()}, None),
    ],
)
def test_what_cannot_be_captured_runs_eagerly(
    device: Backend, options: dict[str, Any], why: str | None
) -> None:
    options = {"model": small_model, **options}  # the other backend's test gets the same dict
    make: Callable[[], Sequential] = options.pop("model")
    first, *events = start(device, make(), epochs=1, **options)
    assert isinstance(first, RunStarted)
    assert first.eager == why
    assert len([e for e in events if isinstance(e, StepEnded)]) == (2 if why is None else STEPS)
    first, *on_numpy = start(gpucnn.get_backend("numpy"), make(), epochs=1, **options)
    assert first.eager is None, "NumPy captures nothing, so there is no reason to give"
    assert figures(events)[0] == pytest.approx(figures(on_numpy)[0], rel=1e-4)


def test_a_capture_that_fails_warns_and_the_run_continues(
    emulator_stream: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no graphs here")

    wanted = figures(list(start(backend_or_skip("emulated"))))
    monkeypatch.setattr(emulator_stream, "begin_capture", refuse)
    with pytest.warns(UserWarning, match=r"could not be captured.*no graphs here"):
        assert figures(list(start(backend_or_skip("emulated")))) == wanted


@pytest.fixture
def emulator_stream() -> type:
    backend_or_skip("emulated")
    from gpucnn.emulator.cuda import Stream

    return Stream


def test_captured_steps_pass_check_mode() -> None:
    backend = backend_or_skip("emulated")
    from gpucnn import emulator

    (wanted,) = figures(list(start(backend, epochs=1)))
    with emulator.checking():
        assert figures(list(start(backend, epochs=1))) == [pytest.approx(wanted, rel=1e-5)]


def test_a_batch_size_may_exceed_the_number_of_images(device: Backend) -> None:
    (last,) = [e for e in start(device, batch_size=3 * 10**9, epochs=1) if isinstance(e, StepEnded)]
    assert (last.step, last.images) == (1, IMAGES)


@dataclass(frozen=True)
class CustomSchedule(gpucnn.optim.Schedule):
    """The full learning rate until ``enough`` is set, then 0."""

    enough: ClassVar[list[bool]] = [False]

    def factor(self, progress: float) -> float:
        return 0.0 if self.enough[0] else 1.0


def test_a_custom_schedule_is_called_when_an_epoch_begins(device: Backend) -> None:
    for backend in (device, gpucnn.get_backend("numpy")):
        CustomSchedule.enough[0] = False
        model, lrs, weights = small_model(), [], []
        for event in start(backend, model, schedule=CustomSchedule(), optimizer=SGD(lr=0.05)):
            if event.name == "epoch":
                CustomSchedule.enough[0] = True
                lrs.append(event.lr)
                weights.append(model.state_dict()["conv.weight"])
        assert lrs == [0.05, 0.0]
        np.testing.assert_array_equal(*weights)


def test_a_model_that_is_moved_during_the_run_is_refused(device: Backend, tmp_path: Path) -> None:
    for name in ("start", "checkpoint", "step", "epoch"):
        model = small_model()
        events = start(device, model, checkpoint=tmp_path / f"{name}.npz")
        next(event for event in events if event.name == name)
        model.to("numpy")
        with pytest.raises(SettingError, match="moved to a backend while it was being trained"):
            list(events)


# --- LeNet-5, whose gradients are one fused operation (test_lenet5.py) ---------------------------


def lenet_run(backend: Backend, **options: Any) -> Iterator[Event]:
    data = Data(blobs(IMAGES, size=28), blobs(8, size=28, seed=1), tuple("abcd"), "blobs")
    model = models.lenet5(classes=4, seed=3)
    settings = {"epochs": 2, "batch_size": BATCH, "seed": 3, **options}
    return training.events(model, data, backend=backend, **settings)


def test_fused_lenet_learns_what_its_layers_learn(device: Backend) -> None:
    (found,) = figures(list(lenet_run(device, epochs=1)))
    for other in (eager(device), gpucnn.get_backend("numpy")):
        (wanted,) = figures(list(lenet_run(other, epochs=1)))
        assert found == pytest.approx(wanted, rel=1e-4)


def test_fused_lenet_resumes_to_the_same_bits(device: Backend, tmp_path: Path) -> None:
    files = tmp_path / "straight.npz", tmp_path / "resumed.npz"
    list(lenet_run(device, checkpoint=files[0]))
    asked = iter(range(1, 100))
    list(lenet_run(device, checkpoint=files[1], should_stop=lambda: next(asked) == 3))
    assert gpucnn.training.files.checkpoint.load(files[1]).metadata["index"] > 0
    list(lenet_run(device, checkpoint=files[1], resume=files[1]))
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("options", "fuses", "fused"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"loss": MSELoss()}, True, False),
        ({"optimizer": CustomSGD(lr=0.01)}, True, False),
    ],
    ids=["LeNet-5", "turned off", "another loss", "eager"],
)
def test_when_lenet_is_fused(
    device: Backend,
    options: dict[str, Any],
    fuses: bool,
    fused: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(LeNet5, "set_grads", lambda *_: calls.append(1))
    monkeypatch.setattr(device, "fuses", fuses)
    list(lenet_run(device, epochs=1, **options))
    assert bool(calls) == fused


# --- two runs at once ---------------------------------------------------------------------------


@pytest.mark.parametrize("make", [start, lenet_run], ids=["layers", "fused"])
def test_runs_on_two_streams_do_not_meet(device: Any, make: Callable[..., Iterator[Event]]) -> None:
    """Neither waits for the other, so that their graphs may run at the same time."""
    wanted = [figures(list(make(device, seed=seed))) for seed in (1, 2)]
    cuda, found = device._xp.cuda, [[], []]
    streams = [cuda.Stream(non_blocking=True) for _ in wanted]
    runs: list[Iterator[Event]] = []
    for seed, stream in zip((1, 2), streams, strict=True):
        with stream:
            runs.append(make(device, seed=seed))
    for turn in range(100):
        for place, (stream, run, events) in enumerate(zip(streams, runs, found, strict=True)):
            with stream:
                # More work in the second stream, in each turn another amount: its steps meet
                # those of the first at other distances.
                for _ in range(place * turn % 6):
                    device.zeros((1,))
                events += [event for event in (next(run, None),) if event is not None]
    assert [figures(events) for events in found] == wanted
