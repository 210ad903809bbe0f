"""Random streams: fixed by seed and purpose, so that runs can be repeated by later versions."""

from __future__ import annotations

import numpy as np
import pytest
from peak import peak_memory

from gpucnn.errors import SettingError
from gpucnn.rng import Stream, epoch_order, generator, initializer, philox, philox_key
from gpucnn.testing.naive.random import philox4


@pytest.mark.parametrize(
    ("stream", "first"),
    [
        (Stream.WEIGHTS, [278, 724, 575]),
        (Stream.ORDER, [397, 743, 695]),
        (Stream.HOLD_OUT, [866, 973, 607]),
        (Stream.SPLIT, [776, 103, 630]),
    ],
)
def test_streams_keep_their_numbers(stream: Stream, first: list[int]) -> None:
    assert generator(3, stream, 1).integers(0, 1000, 3).tolist() == first


def test_orders_depend_on_seed_and_epoch() -> None:
    assert epoch_order(3, 1, 6).tolist() == [4, 3, 0, 2, 5, 1]
    assert epoch_order(3, 2, 6).tolist() != [4, 3, 0, 2, 5, 1]


def test_an_order_is_drawn_in_the_array_that_is_given():
    count = (1 << 22) + 3
    expected, out = np.random.default_rng([3, Stream.ORDER, 1]).permutation(count), np.empty(count)
    out = out.view(np.int64)
    order, peak = peak_memory(epoch_order, 3, 1, count, out)
    assert order is out
    np.testing.assert_array_equal(order, expected)
    assert peak < count * 4  # the order has 8 bytes for each image


# Counter, key and result of "philox4x32 10" in kat_vectors of Random123.
PUBLISHED = [
    ("00000000 " * 4, "00000000 " * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff " * 4, "ffffffff " * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), PUBLISHED)
def test_philox_returns_the_published_words(counter: str, key: str, words: str) -> None:
    values, keys, wanted = (
        [int(word, 16) for word in text.split()] for text in (counter, key, words)
    )
    assert philox4(values, keys, 32) == wanted
    block, step = values[0] | values[1] << 32, values[2] | values[3] << 32
    found = philox(keys[0] | keys[1] << 32, step, np.array([[block]], np.uint64))
    assert found.shape == (4, 1, 1)
    assert found.ravel().tolist() == wanted


def test_the_algorithm_is_that_of_numpys_generator() -> None:
    """Which has words of 64 bits: the loops of the tests take both sizes."""
    counter, key = [3, 1, 4, 2**64 - 9], [5, 2**63 + 9]
    generator = np.random.Philox(counter=sum(word << 64 * i for i, word in enumerate(counter)))
    state = generator.state
    state["state"]["key"] = np.array(key, np.uint64)
    generator.state = state
    counter[0] += 1  # NumPy increments it first
    assert generator.random_raw(4).tolist() == philox4(counter, key, 64)


def test_philox_of_many_blocks_is_that_of_each() -> None:
    """Also of indices beyond 32 bits, and of more blocks than are computed at once."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 2**64, 5000, np.uint64, endpoint=False).reshape(100, 50)
    key, step = 2**64 - 3, 2**35 + 1
    words = philox(key, step, blocks)
    for at in ((0, 0), (81, 45), (81, 46), (99, 49)):
        block = int(blocks[at])
        counter = [block % 2**32, block >> 32, step % 2**32, step >> 32]
        assert words[:, *at].tolist() == philox4(counter, [key % 2**32, key >> 32], 32)


def test_keys_are_fixed_and_depend_on_all_of_their_arguments() -> None:
    assert philox_key(3, Stream.DROPOUT, 0, 4) == 16511228168970045614
    arguments = [(3, 2, 0, 4), (4, 2, 0, 4), (3, 1, 0, 4), (3, 2, 1, 4), (3, 2, 0, 4, 0), (3, 2, 0)]
    assert len({philox_key(seed, Stream(s), *path) for seed, s, *path in arguments}) == 6
    with pytest.raises(SettingError, match="seed must be an integer >= 0, got -1"):
        philox_key(-1, Stream.DROPOUT)


def test_bad_seeds_and_names_are_refused() -> None:
    with pytest.raises(SettingError, match="seed must be an integer >= 0, got -1"):
        generator(-1, Stream.ORDER)
    with pytest.raises(SettingError, match="did you mean 'kaiming_normal'"):
        initializer("kaiming")
