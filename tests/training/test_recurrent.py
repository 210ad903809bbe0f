"""Training of recurrent networks: exact resumes, captured steps, and that they learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from available import backend_or_skip
from runs import epochs_of, snapshots, train

from gpucnn import models, nn
from gpucnn.optim import Adam


def stacked() -> nn.Sequential:
    """An Elman network whose states a GRU reads."""
    layers = [
        nn.Rows(),
        nn.RNN(8, 6, 2, return_sequences=True),
        nn.GRU(6, 5),
        nn.Linear(5, 4),
    ]
    return nn.Sequential(layers, (1, 8, 8), seed=3)


OPTIONS: dict[str, Any] = {"seed": 1, "optimizer": Adam(lr=0.01), "clip_grad_norm": 1.0}


@pytest.mark.parametrize("name", ["numpy", "emulated"])
def test_a_run_that_is_resumed_within_an_epoch_ends_in_the_same_file(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.npz"
    options = {**OPTIONS, "backend": backend_or_skip(name)}
    contents, _ = snapshots(path, model=stacked(), **options)
    final = path.read_bytes()
    path.write_bytes(contents[3])  # of five steps in an epoch
    train(stacked(), checkpoint=path, resume=path, **options)
    assert path.read_bytes() == final


@pytest.mark.parametrize("name", ["emulated", "cuda"])
def test_captured_steps_give_the_bits_of_eager_ones(name: str) -> None:
    found = []
    for records in (True, False):
        backend = backend_or_skip(name)
        if not records:
            backend.records = False
        model, _ = train(stacked(), backend=backend, **OPTIONS)
        found.append(model.state_dict())
    for key, values in found[0].items():
        assert values.tobytes() == found[1][key].tobytes(), key


@pytest.mark.parametrize("name", ["numpy", "emulated"])
def test_row_rnn_learns(name: str) -> None:
    model = models.row_rnn(size=8, classes=4, hidden=16, seed=1)
    _, events = train(model, backend=backend_or_skip(name), epochs=8, optimizer=Adam(lr=0.01))
    losses = [event.train_loss for event in epochs_of(events)]
    assert losses[-1] < 0.5 * losses[0]
    assert np.isfinite(losses).all()
