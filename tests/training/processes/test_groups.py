"""Ranks that share a run: equal bits on all, those of workers, and one process's results."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from groups import Threads, together
from packing import pack_data
from small import small_data, small_model

from gpucnn import Augmentation, Sequential, training
from gpucnn.data import Data
from gpucnn.errors import CheckpointError, ReadError, SettingError, WorkerError
from gpucnn.nn import BatchNorm2d, Conv2d, Dropout, Flatten, Linear, ReLU
from gpucnn.training import feed
from gpucnn.training.files import checkpoint

OPTIONS: dict[str, Any] = {"epochs": 2, "batch_size": 16, "seed": 1}


def train(path: Path | None, group: Threads | None = None, **options: Any) -> Any:
    """Train a small model; return its parameters, and the names of the events."""
    model = options.pop("model", None) or small_model(seed=1)
    events = training.events(
        model, small_data(), group=group, checkpoint=path, **{**OPTIONS, **options}
    )
    return model.flat_parameters.copy(), [event.name for event in events]


def normalized_model(seed: int = 1) -> Sequential:
    layers = [Conv2d(1, 3, 3), BatchNorm2d(3), ReLU(), Flatten(), Dropout(0.2), Linear(108, 4)]
    return Sequential(layers, (1, 8, 8), seed=seed)


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_give_the_bytes_of_workers(tmp_path: Path, size: int) -> None:
    """Only rank 0 writes; every rank has its weights and, in the end, its running statistics."""
    changes = {
        **{"ema": 0.9, "clip_grad_norm": 1.0, "augment": Augmentation(shift=1), "mixup": 0.3},
        **{"validation": 12, "keep_best": True, "early_stopping": 1},
    }
    train(tmp_path / "workers.npz", workers=size, model=normalized_model(), **changes)

    def rank(group: Threads) -> Any:
        path = tmp_path / f"{group.rank}.npz"
        model = normalized_model()
        _, events = train(path, group, model=model, **changes)
        return model.state_dict(), path.exists(), events

    results: list[Any] = together(size, rank)
    assert (tmp_path / "0.npz").read_bytes() == (tmp_path / "workers.npz").read_bytes()
    assert [written for _, written, _ in results] == [True] + [False] * (size - 1)
    for state, _, events in results[1:]:
        for name, values in results[0][0].items():
            np.testing.assert_array_equal(state[name], values, err_msg=name)
        assert events == [name for name in results[0][2] if name != "checkpoint"]


def test_a_group_resumes_what_workers_began(tmp_path: Path) -> None:
    """And rank 0 alone needs to see the checkpoint."""
    path, straight = tmp_path / "run.npz", tmp_path / "straight.npz"
    train(straight, workers=2)
    asked = iter([False] * 6 + [True])
    train(path, workers=2, should_stop=lambda: next(asked))
    assert checkpoint.load(path).metadata["index"] == 2

    def rank(group: Threads) -> Any:
        return train(path, group, model=small_model(seed=9), resume=path if not group.rank else "-")

    assert not [found for found in together(2, rank) if isinstance(found, BaseException)]
    assert path.read_bytes() == straight.read_bytes()


def test_a_rank_with_other_settings_is_named() -> None:
    def rank(group: Threads) -> Any:
        return train(None, group, seed=7 if group.rank == 2 else 1)

    message = "rank 2 is to train another run than rank 0: settings.seed is 7 there, 1 on rank 0"
    for error in together(3, rank):
        assert isinstance(error, SettingError)
        assert message in str(error)


def test_a_rank_on_another_backend_is_named_before_other_messages() -> None:
    """The messages that follow are not the same: ranks on GPUs first agree on NCCL."""

    def rank(group: Threads) -> Any:
        try:
            return train(None, group, model=on_backend(small_model(seed=1), "01"[group.rank]))
        finally:
            assert group.calls == 1

    for error in together(2, rank):
        assert isinstance(error, SettingError)
        assert "rank 1 is to train another run than rank 0: backend is '1' there, '0' on" in str(
            error
        )


def on_backend(model: Sequential, name: str = "numpy", launch: int = 0) -> Sequential:
    """Return the model on a copy of its backend, which launches up to ``launch`` steps at once."""
    backend: Any = copy.copy(model.backend)
    backend.name = name
    if launch:
        backend.records, backend.steps_per_launch = True, lambda multiply_adds: launch
        backend._capture = lambda work, _: lambda times: [work() for _ in range(times)]
    return model.to(backend)


class Devices(Threads):
    """Ranks whose sums may be captured."""

    capturable = True


def test_ranks_launch_the_same_steps_on_unequal_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them launches more steps at once, or reads the images while it trains."""
    monkeypatch.setattr(feed, "MAX_BATCHES", 3)
    data = small_data()
    packed = pack_data(data, tmp_path / "packed")

    def rank(group: Threads) -> Any:
        group.__class__ = Devices
        model = on_backend(small_model(seed=1), launch=(3, 2)[group.rank])
        options = {**OPTIONS, "batch_size": 4, "checkpoint_every": (7, None)[group.rank]}
        source = (data, packed)[group.rank]
        events = training.events(model, source, group=group, checkpoint=tmp_path / "c", **options)
        return [event.step for event in events if event.name == "step"]

    first, second = together(2, rank)
    assert first == second
    assert first[:7] == [2, 3, 5, 6, 7, 9, 11]  # at most 2 at once, 3 in memory, 7 to a checkpoint


def test_rank_0_gets_the_error_of_another_rank_without_its_step(tmp_path: Path) -> None:
    """Rank 0 adds its own, which has the checkpoint."""
    reported: list[str] = []

    class Reporting(Threads):
        def fail(self, error: BaseException) -> None:
            reported.append(str(error))
            super().fail(error)

    folders = [tmp_path / "0", tmp_path / "1"]
    packed = [pack_data(small_data(), folder) for folder in folders]
    shard = sorted(folders[1].glob("train*images*"))[3]
    content = shard.read_bytes()
    shard.write_bytes(content[:128] + bytes(len(content) - 128))

    def rank(group: Threads) -> Any:
        group.__class__ = Reporting
        data, path = packed[group.rank], tmp_path / "c.npz"
        return list(training.events(small_model(), data, group=group, checkpoint=path, **OPTIONS))

    first, second = together(2, rank)
    assert isinstance(first, WorkerError)
    assert isinstance(second, ReadError)
    assert str(second).startswith(f"{reported[0]}: stopped after step ")
    assert shard.name in reported[0]


def test_a_rank_with_other_data_is_named() -> None:
    data, other = small_data(), small_data(seed=3)

    def rank(group: Threads, changed: Data) -> Any:
        mine = changed if group.rank else data
        return list(training.events(small_model(seed=1), mine, group=group, **OPTIONS))

    for changed, fault in (
        (other, r"SHA-256 of the training images and labels is '\w{16}' there, '\w{16}' on rank 0"),
        (replace(data, validation=data.test), r"validation images .* '\w{16}' there, not given on"),
    ):
        for error in together(2, partial(rank, changed=changed)):
            assert isinstance(error, SettingError)
            assert re.search(f"rank 1 is to train another run than rank 0: .*{fault}", str(error))


def test_a_rank_that_asks_stops_all_after_the_same_step(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"

    def rank(group: Threads) -> Any:
        asked = iter([False] * 3 + [group.rank == 1] + [False] * 99)
        return train(path, group, should_stop=lambda: next(asked))[1]

    results: list[Any] = together(3, rank)
    assert [names.count("step") for names in results] == [4, 4, 4]
    assert [names[-1] for names in results] == ["stop"] * 3
    assert checkpoint.load(path).metadata["index"] == 4


def test_a_rank_that_fails_ends_all_and_rank_0_saves(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"

    def rank(group: Threads) -> Any:
        def stop() -> bool:
            if group.rank == 1 and group.calls > 12:
                raise KeyError("tea")
            return False

        return train(path, group, should_stop=stop)

    first, second = together(2, rank)
    assert isinstance(second, KeyError)
    assert isinstance(first, WorkerError)
    saved = checkpoint.load(path).metadata
    step = 5 * saved["epoch"] + saved["index"]
    assert f"another rank has failed: stopped after step {step}; checkpoint saved to" in str(first)
    assert step > 0


def test_another_number_of_processes_is_refused_unless_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    train(path, workers=2, should_stop=lambda: True)

    def rank(group: Threads) -> Any:
        return train(path, group, resume=path, change_workers=changed)

    changed = False
    for error in together(3, rank):
        assert isinstance(error, CheckpointError | WorkerError)
    first = together(3, rank)[0]
    assert "settings.workers was 2, now 3; --change-workers (change_workers=True)" in str(first)
    changed = True
    results: list[Any] = together(3, rank)
    assert [names.count("step") for _, names in results] == [9, 9, 9]
    assert checkpoint.load(path).metadata["settings"]["workers"] == 3


def test_weights_that_differ_are_found(tmp_path: Path) -> None:
    """As where a callback of one rank changes them."""

    def rank(group: Threads) -> None:
        model = small_model(seed=1)
        for event in training.events(model, small_data(), group=group, **OPTIONS):
            if event.name == "step" and group.rank == 1:
                model.flat_parameters[0] += 1

    for error in together(2, rank):
        assert isinstance(error, WorkerError)
        assert "the weights of rank 1 are no longer those of rank 0 (step 5)" in str(error)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 3}, "workers is 3, but the group has 2 processes"),
        ({"batch_size": 1}, "a batch of 1 is too small for 2 processes"),
    ],
)
def test_settings_that_do_not_fit_the_group(options: dict[str, Any], message: str) -> None:
    for error in together(2, lambda group: train(None, group, **options)):
        assert isinstance(error, SettingError)
        assert message in str(error)
