"""Training by several processes: equal gradients, equal bits, and errors that are reported."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from small import small_data, small_model

import gpucnn
from gpucnn import training
from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.errors import CheckpointError, DivergedError, SettingError, WorkerError
from gpucnn.machine import processor
from gpucnn.nn.imports import files_of, import_file
from gpucnn.nn.layers import Dropout, Layer, ReLU, TrainingPass
from gpucnn.training.event_types import CheckpointWritten, Event, StepEnded
from gpucnn.training.files import checkpoint
from gpucnn.training.processes import workers
from gpucnn.training.settings import Settings


def start(count: int, **options: Any) -> Iterator[Event]:
    model = options.pop("model", None) or small_model(seed=1)
    rest: dict[str, Any] = {"epochs": 2, "batch_size": 16, "seed": 1, "workers": count, **options}
    return training.events(model, small_data(), **rest)


def children() -> list[Any]:
    found = [p for p in multiprocessing.active_children() if p.name.startswith("worker")]
    return sorted(found, key=lambda process: process.name)


@pytest.mark.parametrize("number", [2, 3])
def test_the_gradients_are_those_of_one_process(number: int) -> None:
    """Batches of 16 and, at the end of an epoch, 6 images: one is a multiple of 3, one is not."""
    models = [small_model(p=0.0).to(gpucnn.get_backend("numpy", "float64")) for _ in range(2)]
    runs = [start(count, model=model) for count, model in zip((1, number), models, strict=True)]
    figures: list[list[tuple[float, float]]] = [[], []]
    for events in zip(*runs, strict=True):
        assert {event.name for event in events} == {events[0].name}
        for event, found in zip(events, figures, strict=True):
            if isinstance(event, StepEnded):
                found.append(event.metrics())
        np.testing.assert_allclose(models[1].flat_grads, models[0].flat_grads, atol=1e-13)
        np.testing.assert_allclose(models[1].flat_parameters, models[0].flat_parameters, atol=1e-13)
    np.testing.assert_allclose(figures[1], figures[0], rtol=1e-12)
    assert not children()


def test_a_batch_smaller_than_the_number_of_workers_leaves_some_idle() -> None:
    """70 images in batches of 23: the last one has a single image."""
    one, two = small_model(p=0.0), small_model(p=0.0)
    list(start(1, model=one, batch_size=23))
    list(start(2, model=two, batch_size=23))
    np.testing.assert_allclose(two.flat_parameters, one.flat_parameters, rtol=1e-4, atol=1e-6)


def test_the_same_number_gives_the_same_bits_after_every_resume(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    contents = {}
    for event in start(2, checkpoint=path, checkpoint_every=1):
        if isinstance(event, CheckpointWritten):
            contents[event.step] = path.read_bytes()
    for step in (2, 5):  # within an epoch, and between two
        path.write_bytes(contents[step])
        list(start(2, model=small_model(seed=9), checkpoint=path, resume=path))
        assert path.read_bytes() == contents[10], f"resumed after step {step}"
    with pytest.raises(CheckpointError, match="workers was 2, now 1"):
        start(1, resume=path)


def test_any_number_of_workers_has_the_same_changed_images(tmp_path: Path) -> None:
    """And the same mixtures, also of a resumed run."""
    augment, figures = gpucnn.Augmentation(shift=1, rotate=20, elastic=1, flip=0.5), []
    for count in (1, 2):
        model, path = small_model(p=0.0), tmp_path / f"{count}.npz"
        options: dict[str, Any] = {"checkpoint": path, "augment": augment, "mixup": 0.5}
        list(start(count, model=model, **options))
        figures.append(model.flat_parameters.copy())
        straight, asked = path.read_bytes(), iter([False] * 6 + [True])
        list(start(count, model=small_model(p=0.0), should_stop=lambda a=asked: next(a), **options))
        list(start(count, model=small_model(seed=9, p=0.0), resume=path, **options))
        assert path.read_bytes() == straight
    np.testing.assert_allclose(*figures, rtol=1e-4, atol=1e-6)


def test_every_process_has_its_own_dropout_masks() -> None:
    model, masks = gpucnn.Sequential([Dropout(0.25)], (1, 6, 8)), []
    for rank, step in ((0, 3), (0, 3), (1, 3), (2, 3), (1, 1), (3, 1)):
        training = TrainingPass(7, np.array([step]), rank)
        masks.append(model.forward(np.ones((4, 1, 6, 8), np.float32), training)[0])
    same = [[np.array_equal(one, other) for other in masks] for one in masks]
    wanted = np.eye(6, dtype=bool)
    wanted[:2, :2] = True
    np.testing.assert_array_equal(same, wanted)


def test_every_step_has_its_own_dropout_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps count from 1, as with one process."""
    calls: list[tuple[int, ...]] = []
    forward = Dropout.forward

    def recorded(layer: Dropout, be: Any, x: Any, training: TrainingPass | None = None) -> Any:
        if training is not None:
            calls.append((training.seed, int(training.step[0]), training.rank, *training.path))
        return forward(layer, be, x, training)

    monkeypatch.setattr(Dropout, "forward", recorded)
    list(start(2))
    assert calls == [(1, step, 0, 4) for step in range(1, 11)]


def test_a_killed_worker_ends_the_run_with_a_checkpoint(tmp_path: Path) -> None:
    path, straight = tmp_path / "checkpoint.npz", tmp_path / "straight.npz"
    list(start(2, checkpoint=straight))
    events = start(2, checkpoint=path)
    next(event for event in events if event.name == "step" and event.step == 7)
    os.kill(children()[-1].pid, signal.SIGKILL)
    message = rf"worker 1 was killed by SIGKILL: stopped after step 7; checkpoint saved to {path}$"
    with pytest.raises(WorkerError, match=message) as caught:
        list(events)
    assert caught.value.status == 1
    assert not children()
    assert checkpoint.load(path).metadata["index"] == 2, "5 steps an epoch"
    list(start(2, model=small_model(seed=5), checkpoint=path, resume=path))
    assert path.read_bytes() == straight.read_bytes()


def test_a_run_that_is_closed_leaves_no_process() -> None:
    events = start(2)
    next(event for event in events if event.name == "step")
    assert len(children()) == 1
    events.close()  # type: ignore[attr-defined]
    assert not children()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX")
def test_after_the_run_a_model_has_memory_of_its_own() -> None:
    """A fork of the process does not share it."""
    model = small_model()
    list(start(2, model=model))
    before = model.flat_parameters.copy()
    assert model.flat_parameters.flags.owndata
    child = os.fork()
    if child == 0:
        model.flat_parameters[...] = 7
        os._exit(0)
    os.waitpid(child, 0)
    np.testing.assert_array_equal(model.flat_parameters, before)
    unused = start(2, model=model)
    assert model.flat_parameters.flags.owndata
    unused.close()  # type: ignore[attr-defined]


def test_a_model_that_is_moved_during_the_run_is_refused() -> None:
    model = small_model()
    events = start(2, model=model)
    next(event for event in events if event.name == "step")
    model.to("numpy")
    with pytest.raises(SettingError, match="the model was moved"):
        next(events)
    assert not children()


def test_a_checkpoint_of_an_older_version_can_be_resumed(tmp_path: Path) -> None:
    path, straight = tmp_path / "checkpoint.npz", tmp_path / "straight.npz"
    list(start(1, checkpoint=straight))
    events = start(1, checkpoint=path)
    next(event for event in events if event.name == "epoch")
    next(events)
    saved = checkpoint.load(path)
    del saved.metadata["settings"]["workers"], saved.metadata["precision"]  # as 0.1.0 wrote it
    checkpoint.save(path, saved)
    assert checkpoint.load(path).metadata["settings"]["workers"] == 1
    list(start(1, model=small_model(seed=5), checkpoint=path, resume=path))
    assert path.read_bytes() == straight.read_bytes()


def test_too_little_shared_memory_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=100))
    with pytest.raises(SettingError, match=r"shared memory for workers: No space left.* workers=1"):
        list(start(2))


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="POSIX")
def test_a_callback_that_fails_ends_the_workers() -> None:
    """Though the error, while it is handled, keeps what the run refers to."""

    def fail(event: Event) -> None:
        if event.step:
            raise ValueError("enough")

    with pytest.raises(ValueError, match="enough") as caught:
        gpucnn.fit(small_model(), small_data(), workers=2, on_event=fail)
    assert not children(), caught


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="POSIX")
def test_workers_where_child_signals_are_ignored() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert [event.name for event in start(2, epochs=1)][-1] == "stop"
        assert signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
        assert not children()
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="POSIX")
def test_a_suspended_worker_does_not_hold_up_the_end() -> None:
    events = start(2)
    next(event for event in events if event.name == "step")
    (process,) = children()
    pid = process.pid
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    events.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 5, "it waits half a second, and used to wait for ten"
    assert not children()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_system_without_more_processes_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    begin = multiprocessing.context.SpawnProcess.start

    def limited(process: Any) -> None:
        if started:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        started.append(process)
        begin(process)

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "start", limited)
    message = r"cannot start worker processes: Resource temporarily .*train with workers=1"
    with pytest.raises(WorkerError, match=message):
        list(start(3))
    assert not children()


class Fails(ReLU):
    """Fails in a worker, on small parts."""

    def forward(self, be: Backend, x: Array, training: Any = None) -> tuple[Array, Any]:
        if multiprocessing.parent_process() is not None and len(x) < 8:
            raise KeyError("tea")
        return super().forward(be, x, training)


def with_activation(layer: Layer) -> gpucnn.Sequential:
    model = small_model()
    return gpucnn.Sequential({**model.layers, "relu": layer}, model.input_shape)


def test_an_error_in_a_worker_is_raised_with_its_traceback() -> None:
    with pytest.raises(WorkerError, match=r"worker 1: KeyError: 'tea'") as caught:
        list(start(2, model=with_activation(Fails())))
    cause = caught.value.__cause__
    assert cause is not None
    assert "in forward" in cause.__notes__[0]


def test_a_model_that_cannot_be_pickled_is_refused() -> None:
    class Local(ReLU):
        pass

    with pytest.raises(SettingError, match="cannot be sent to a worker"):
        start(2, model=with_activation(Local()))


def test_divergence_in_a_workers_part_is_found() -> None:
    model = small_model()
    model.flat_parameters[...] = 1e30
    with pytest.raises(DivergedError, match="epoch 1, step 1: the output of layer 'fc'"):
        list(start(2, model=model))


def test_a_batch_must_have_an_image_for_every_worker() -> None:
    with pytest.raises(SettingError, match="a batch of 16 is too small for 17 workers"):
        start(17)


def test_only_the_numpy_backend_has_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    monkeypatch.setattr(type(model.backend), "thread_parallel", False)
    with pytest.raises(SettingError, match="workers need the numpy backend"):
        start(2, model=model)


@pytest.mark.parametrize(
    ("cores", "images", "batch", "number"),
    [
        (1, 60_000, 64, 1),
        (2, 60_000, 64, 2),
        (2, 60_000, 16, 1),
        (8, 60_000, 64, 2),
        (8, 60_000, 512, 8),
        (8, 1_000, 512, 1),
    ],
)
def test_the_default_number_of_workers(
    monkeypatch: pytest.MonkeyPatch, cores: int, images: int, batch: int, number: int
) -> None:
    monkeypatch.setattr(processor, "cores", lambda: cores)
    model = gpucnn.models.lenet5()
    settings = Settings(epochs=1, batch_size=batch)
    assert workers.default_workers(model, model.backend, images, settings) == number
    with monkeypatch.context() as sandbox:
        sandbox.setattr(sys, "platform", "linux")
        sandbox.setattr(workers, "SHARED_MEMORY", "/there/is/none")
        assert workers.default_workers(model, model.backend, images, settings) == 1
    monkeypatch.setattr(type(model.backend), "thread_parallel", False)
    assert workers.default_workers(model, model.backend, images, settings) == 1


def test_a_worker_imports_only_the_files_of_its_model(tmp_path: Path) -> None:
    """Files of other models may have been imported before, in a notebook for example."""
    for name in ("mine", "other"):
        (tmp_path / f"{name}.py").write_text(
            "from gpucnn.nn import ReLU\nclass Own(ReLU): pass\ndef own(): return Own()\n"
        )
    mine, other = (import_file(tmp_path / f"{name}.py") for name in ("mine", "other"))
    assert files_of(pickle.dumps(mine.own())) == [str(tmp_path / "mine.py")]
    both = pickle.dumps([mine.own(), other.own()])
    assert files_of(both) == [str(tmp_path / "mine.py"), str(tmp_path / "other.py")]
    assert files_of(pickle.dumps(small_model())) == []
