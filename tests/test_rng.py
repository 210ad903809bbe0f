"""Random streams: fixed by seed and purpose, so that runs can be repeated by later versions."""

from __future__ import annotations

import pytest

from gpucnn.errors import SettingError
from gpucnn.rng import Stream, dropout_mask, epoch_order, generator, initializer


@pytest.mark.parametrize(
    ("stream", "first"),
    [
        (Stream.WEIGHTS, [278, 724, 575]),
        (Stream.ORDER, [397, 743, 695]),
        (Stream.DROPOUT, [616, 831, 659]),
        (Stream.HOLD_OUT, [866, 973, 607]),
        (Stream.SPLIT, [776, 103, 630]),
    ],
)
def test_streams_keep_their_numbers(stream: Stream, first: list[int]) -> None:
    assert generator(3, stream, 1).integers(0, 1000, 3).tolist() == first


def test_orders_and_masks_depend_on_all_of_their_arguments() -> None:
    assert epoch_order(3, 1, 6).tolist() == [4, 3, 0, 2, 5, 1]
    assert epoch_order(3, 2, 6).tolist() != [4, 3, 0, 2, 5, 1]
    mask = [2.0, 0.0, 2.0, 2.0, 2.0, 0.0]
    assert dropout_mask((6,), 0.5, 3, 1).tolist() == mask
    assert dropout_mask((6,), 0.5, 3, 3).tolist() != mask
    assert dropout_mask((6,), 0.0, 3, 1).tolist() == [1.0] * 6


def test_bad_seeds_and_names_are_refused() -> None:
    with pytest.raises(SettingError, match="seed must be an integer >= 0, got -1"):
        generator(-1, Stream.ORDER)
    with pytest.raises(SettingError, match="did you mean 'kaiming_normal'"):
        initializer("kaiming")
