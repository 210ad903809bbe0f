"""Training by several processes: the same gradients, the same bits, and no end in silence."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from small import save_npz, small_data, small_model

import gpucnn
from gpucnn import training
from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.errors import CheckpointError, DivergedError, SettingError, WorkerError
from gpucnn.machine import processor
from gpucnn.nn.layers import Dropout, Layer, ReLU
from gpucnn.training import checkpoint, workers
from gpucnn.training.event_types import CheckpointWritten, Event, StepEnded
from gpucnn.training.settings import Settings

COMMAND = [sys.executable, "-m", "gpucnn"]


def fit(number: int, **options: Any) -> Iterator[Event]:
    model = options.pop("model", None) or small_model(seed=1)
    rest: dict[str, Any] = {"epochs": 2, "batch_size": 16, "seed": 1, "workers": number, **options}
    return training.events(model, small_data(), **rest)


def children() -> list[Any]:
    found = [p for p in multiprocessing.active_children() if p.name.startswith("worker")]
    return sorted(found, key=lambda process: process.name)


@pytest.mark.parametrize("number", [2, 3])
def test_the_gradients_are_those_of_one_process(number: int) -> None:
    """Batches of 16 and, at the end of an epoch, 6 images: no multiple of 3 and one."""
    models = [small_model(p=0.0).to(gpucnn.get_backend("numpy", "float64")) for _ in range(2)]
    runs = [fit(count, model=model) for count, model in zip((1, number), models, strict=True)]
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
    list(fit(1, model=one, batch_size=23))
    list(fit(2, model=two, batch_size=23))
    np.testing.assert_allclose(two.flat_parameters, one.flat_parameters, rtol=1e-4, atol=1e-6)


def test_the_same_number_gives_the_same_bits_at_every_resumption(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    contents = {}
    for event in fit(2, checkpoint=path, checkpoint_every=1):
        if isinstance(event, CheckpointWritten):
            contents[event.step] = path.read_bytes()
    for step in (0, 2, 5, 8):
        path.write_bytes(contents[step])
        list(fit(2, model=small_model(seed=9), checkpoint=path, resume=path))
        assert path.read_bytes() == contents[10], f"resumed behind step {step}"
    with pytest.raises(CheckpointError, match="workers was 2, now 1"):
        fit(1, resume=path)


def test_processes_have_dropout_masks_of_their_own() -> None:
    model, masks = gpucnn.Sequential([Dropout(0.25)], (1, 6, 8)), []
    for rank, passes in ((0, 3), (0, 3), (1, 3), (2, 3), (1, 0), (3, 0)):
        model.seed_dropout(7, passes, rank)
        mask, _ = model.forward(np.ones((4, 1, 6, 8), np.float32), training=True)
        masks.append(mask)
    same = [[np.array_equal(one, other) for other in masks] for one in masks]
    wanted = np.eye(6, dtype=bool)
    wanted[:2, :2] = True
    np.testing.assert_array_equal(same, wanted)


def test_a_worker_that_is_killed_ends_the_run_with_a_saved_checkpoint(tmp_path: Path) -> None:
    path, whole = tmp_path / "checkpoint.npz", tmp_path / "whole.npz"
    list(fit(3, checkpoint=whole))
    events = fit(3, checkpoint=path)
    next(event for event in events if event.name == "step" and event.step == 7)
    os.kill(children()[-1].pid, signal.SIGKILL)
    message = rf"worker 2 was killed by SIGKILL: stopped after step 7; checkpoint saved to {path}$"
    with pytest.raises(WorkerError, match=message) as caught:
        list(events)
    assert caught.value.status == 1
    assert not children()
    assert checkpoint.load(path).metadata["index"] == 2, "5 steps an epoch"
    list(fit(3, model=small_model(seed=5), checkpoint=path, resume=path))
    assert path.read_bytes() == whole.read_bytes()


def test_a_run_that_is_given_up_leaves_no_process() -> None:
    events = fit(2)
    next(event for event in events if event.name == "step")
    assert len(children()) == 1
    events.close()  # type: ignore[attr-defined]
    assert not children()


def test_an_interpreter_that_ends_within_a_run_takes_its_workers_along(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import gpucnn\n"
        "if __name__ == '__main__':\n"
        f"    data = gpucnn.data.load({str(tmp_path / 'small.npz')!r})\n"
        "    model = gpucnn.models.mlp(channels=1, size=(8, 8), classes=4)\n"
        "    events = gpucnn.training.events(model, data, workers=2)\n"
        "    print(next(events).name)\n"
    )
    save_npz(tmp_path / "small.npz", small_data())
    words = [sys.executable, str(script)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "start\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX")
def test_a_model_is_the_users_own_again_after_the_run() -> None:
    """In memory that a fork of the process does not share."""
    model = small_model()
    list(fit(2, model=model))
    before = model.flat_parameters.copy()
    assert model.flat_parameters.flags.owndata
    child = os.fork()
    if child == 0:
        model.flat_parameters[...] = 7
        os._exit(0)
    os.waitpid(child, 0)
    np.testing.assert_array_equal(model.flat_parameters, before)
    unused = fit(2, model=model)
    assert model.flat_parameters.flags.owndata
    unused.close()  # type: ignore[attr-defined]


def test_a_model_that_is_moved_within_a_run_is_not_trained_any_further() -> None:
    model = small_model()
    events = fit(2, model=model)
    next(event for event in events if event.name == "step")
    model.to("numpy")
    with pytest.raises(SettingError, match="the model was moved"):
        next(events)
    assert not children()


def test_a_checkpoint_from_before_there_were_workers_goes_on(tmp_path: Path) -> None:
    path, whole = tmp_path / "checkpoint.npz", tmp_path / "whole.npz"
    list(fit(1, checkpoint=whole))
    events = fit(1, checkpoint=path)
    next(event for event in events if event.name == "epoch")
    next(events)
    saved = checkpoint.load(path)
    del saved.metadata["settings"]["workers"]
    checkpoint.save(path, saved)
    list(fit(1, model=small_model(seed=5), checkpoint=path, resume=path))
    assert path.read_bytes() == whole.read_bytes()


def test_no_room_for_shared_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=100))
    with pytest.raises(SettingError, match="shared memory for workers: No space left"):
        list(fit(2))


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="POSIX")
def test_where_nobody_learns_how_children_end() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert [event.name for event in fit(2, epochs=1)][-1] == "stop"
    finally:
        signal.signal(signal.SIGCHLD, before)


class Fails(ReLU):
    """Fails in workers, on small parts."""

    def forward(self, be: Backend, x: Array, training: Any = None) -> tuple[Array, Any]:
        if multiprocessing.parent_process() is not None and len(x) < 8:
            raise KeyError("tea")
        return super().forward(be, x, training)


def with_activation(layer: Layer) -> gpucnn.Sequential:
    model = small_model()
    return gpucnn.Sequential({**model.layers, "relu": layer}, model.input_shape)


def test_what_a_worker_raises_is_raised_here_with_where_it_was() -> None:
    with pytest.raises(WorkerError, match=r"worker 1: KeyError: 'tea'") as caught:
        list(fit(2, model=with_activation(Fails())))
    cause = caught.value.__cause__
    assert cause is not None
    assert "in forward" in cause.__notes__[0]


def test_a_model_that_cannot_be_sent_is_refused_at_once() -> None:
    class Local(ReLU):
        pass

    with pytest.raises(SettingError, match="cannot be sent to a worker"):
        fit(2, model=with_activation(Local()))


def test_divergence_is_found_in_a_workers_part() -> None:
    model = small_model()
    model.flat_parameters[...] = 1e30
    with pytest.raises(DivergedError, match="epoch 1, step 1: the output of layer 'fc'"):
        list(fit(2, model=model))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers must be an integer"),
        ({"workers": 17}, "a batch of 16 is too small for 17 workers"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        fit(options["workers"])


def test_only_the_numpy_backend_has_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    monkeypatch.setattr(type(model.backend), "thread_parallel", False)
    with pytest.raises(SettingError, match="workers need the numpy backend"):
        fit(2, model=model)


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
def test_there_are_as_many_as_pay(
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


# --- as a command -------------------------------------------------------------------------------


def command(folder: Path, *options: str) -> list[str]:
    data = folder / "small.npz"
    save_npz(data, small_data(400))
    words = ["train", "--data", str(data), "--model", "mlp", "--batch-size", "4", "--workers", "2"]
    return [*COMMAND, *words, "--out", str(folder / "out"), *options]


def log_has(folder: Path, text: str) -> None:
    deadline = time.monotonic() + 60
    path = folder / "out" / "log.jsonl"
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def running(group: int) -> list[int]:
    """Return the processes of a group that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it ended meanwhile
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_signals_to_all_processes_are_the_first_ones_matter(
    tmp_path: Path, number: int, status: int
) -> None:
    """A terminal and a service manager send to all; a kill of the first leaves no other behind."""
    process = subprocess.Popen(
        command(tmp_path, "--epochs", "2000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    log_has(tmp_path, '"epoch": 2,')
    assert len(running(process.pid)) >= 2
    if number == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, number)
    output, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (status, "")
    assert number == signal.SIGKILL or "--resume goes on from there" in output
    deadline = time.monotonic() + 30
    while running(process.pid):
        assert time.monotonic() < deadline, "a worker outlived its run"
        time.sleep(0.02)
    done = [*command(tmp_path)[:3], "evaluate", str(tmp_path / "out")]
    subprocess.run([*done, "--data", str(tmp_path / "small.npz")], check=True, capture_output=True)


def test_a_resumed_run_keeps_its_number_of_workers(tmp_path: Path) -> None:
    words = command(tmp_path, "--epochs", "2")
    shown = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert ", 2 processes\n" in shown
    words.remove("--workers")
    words.remove("2")
    again = subprocess.run([*words, "--resume"], check=True, capture_output=True, text=True).stdout
    assert ", 2 processes\n" in again


def test_layers_of_a_file_of_ones_own_reach_the_workers(tmp_path: Path) -> None:
    (tmp_path / "mynet.py").write_text(
        "from gpucnn import Sequential\n"
        "from gpucnn.nn import Flatten, Linear, ReLU\n"
        "class Mine(ReLU):\n"
        "    pass\n"
        "class Net(Sequential):\n"
        "    pass\n"
        "def build(channels, size, classes):\n"
        "    rest = [Mine(), Linear(channels * size[0] * size[1], classes)]\n"
        "    return Net([Flatten(), *rest], (channels, *size))\n"
    )
    words = command(tmp_path, "--epochs", "1")
    words[words.index("mlp")] = f"{tmp_path}/mynet.py:build"
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_script_without_a_guard_is_told(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import gpucnn\n"
        f"data = gpucnn.data.load({str(tmp_path / 'small.npz')!r})\n"
        "model = gpucnn.models.mlp(channels=1, size=(8, 8), classes=4)\n"
        "gpucnn.fit(model, data, workers=2)\n"
    )
    save_npz(tmp_path / "small.npz", small_data())
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "WorkerError: worker 1 exited with status 1 before it was ready" in last
    assert "`if __name__ == '__main__':`" in last
