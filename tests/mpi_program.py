"""Run by tests as several ranks: sums, messages, and a run that is stopped and resumed.

The argument is the folder to which rank 0 writes checkpoints.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import small_data, small_model

from gpucnn import training
from gpucnn.errors import SettingError

OPTIONS: dict[str, Any] = {"epochs": 2, "batch_size": 16, "seed": 1, "ema": 0.9, "mixup": 0.2}


def check_sums(group: training.Group) -> None:
    """Sums have the bits of additions from left to right, whatever the shapes."""
    large = (600_001,), (5,)
    for shapes in (large, ((1001,), (5,)), ((2,), (2, 3)), ((3, 4),), ((1,), (1,), (7,))):
        rng = np.random.default_rng(len(shapes))
        values = [
            [rng.normal(size=shape).astype(f"f{4 + 4 * (k % 2)}") for k, shape in enumerate(shapes)]
            for _ in range(group.size)
        ]
        for _ in range(2):  # the memory is used again
            arrays = [array.copy() for array in values[group.rank]]
            group.sum(*arrays)
            for k, array in enumerate(arrays):
                wanted = values[0][k].copy()
                for other in values[1:]:
                    wanted += other[k]
                assert array.tobytes() == wanted.tobytes(), (shapes, k)


def check_messages(group: training.Group) -> None:
    assert group.broadcast({"rank": group.rank, "long": "x" * 10**5})["rank"] == 0
    assert group.gather("y" * 1000 * group.rank) == ["y" * 1000 * k for k in range(group.size)]
    assert group.any(group.rank == group.size - 1)
    assert not group.any(False)
    group.barrier()
    assert group.local_rank == group.rank


def train(group: training.Group, path: Path, seed: int = 1, **options: Any) -> None:
    events = training.events(
        small_model(seed=seed), small_data(), group=group, checkpoint=path, **{**OPTIONS, **options}
    )
    assert [event.name for event in events][-1] == "stop"


def main() -> None:
    group, folder = training.make_group(), Path(sys.argv[1])
    check_sums(group)
    check_messages(group)
    train(group, folder / "straight.npz")
    last, asked = group.size - 1, iter([False] * 6 + [True])
    path = folder / "resumed.npz"
    train(group, path, should_stop=lambda: next(asked) and group.rank == last)
    resume = path if group.rank == 0 else folder / "only rank 0 reads it"
    train(group, path, seed=9, resume=resume)
    message = f"rank {last} is to train another run than rank 0: settings.batch_size is 17 there"
    with pytest.raises(SettingError, match=message):
        train(group, folder / "never.npz", batch_size=16 + (group.rank == last))
    sys.stdout.write("refused\n")  # in one piece, also where Python does not buffer
    group.close()


if __name__ == "__main__":
    main()
