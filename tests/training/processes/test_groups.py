"""Ranks that share a run: equal bits on all, those of workers, and one process's results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from groups import Threads, together
from small import small_data, small_model

from gpucnn import training
from gpucnn.errors import SettingError
from gpucnn.training.files import checkpoint

OPTIONS: dict[str, Any] = {"epochs": 2, "batch_size": 16, "seed": 1}


def train(path: Path | None, group: Threads | None = None, **options: Any) -> Any:
    """Train a small model; return its parameters, and the names of the events."""
    model = options.pop("model", None) or small_model(seed=1)
    events = training.events(
        model, small_data(), group=group, checkpoint=path, **{**OPTIONS, **options}
    )
    return model.flat_parameters.copy(), [event.name for event in events]


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_give_the_bytes_of_workers(tmp_path: Path, size: int) -> None:
    """Only rank 0 writes; every rank has the same weights."""
    changes = {"ema": 0.9, "clip_grad_norm": 1.0}
    train(tmp_path / "workers.npz", workers=size, **changes)

    def rank(group: Threads) -> Any:
        path = tmp_path / f"{group.rank}.npz"
        model = small_model(seed=1)
        _, events = train(path, group, model=model, **changes)
        return model.flat_parameters, path.exists(), events

    results: list[Any] = together(size, rank)
    assert (tmp_path / "0.npz").read_bytes() == (tmp_path / "workers.npz").read_bytes()
    assert [written for _, written, _ in results] == [True] + [False] * (size - 1)
    for parameters, _, events in results[1:]:
        np.testing.assert_array_equal(parameters, results[0][0])
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
