"""Random numbers by Philox, and dropout by them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gpucnn.testing.naive.common import Array

# Salmon et al., 2011: multipliers and increments of the key for four words of 32 and of 64 bits.
MULTIPLIERS = {32: (0xD2511F53, 0xCD9E8D57), 64: (0xD2E7470EE14C6C93, 0xCA5A826395121157)}
INCREMENTS = {32: (0x9E3779B9, 0xBB67AE85), 64: (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)}


def philox4(counter: Sequence[int], key: Sequence[int], bits: int) -> list[int]:
    """Return the four words of Philox after ten rounds, for words of 32 or 64 bits."""
    words, keys, size = list(counter), list(key), 2**bits
    for _ in range(10):
        high, low = divmod(MULTIPLIERS[bits][0] * words[0], size)
        other_high, other_low = divmod(MULTIPLIERS[bits][1] * words[2], size)
        words = [other_high ^ words[1] ^ keys[0], other_low, high ^ words[3] ^ keys[1], low]
        keys = [(word + more) % size for word, more in zip(keys, INCREMENTS[bits], strict=True)]
    return words


def random_words(count: int, key: int, step: Array) -> Iterator[int]:
    """Yield a word for each of ``count`` elements: word i % 4 of the block with counter i // 4."""
    number, size = int(step[0]), 2**32
    for i in range(count):
        if i % 4 == 0:
            block = i // 4
            counter = (block % size, block // size, number % size, number // size)
            words = philox4(counter, (key % size, key // size), 32)
        yield words[i % 4]


def dropout(input: Array, p: float, key: int, step: Array) -> Array:
    """Return the input times 0 where the word is below p 2**32, and else times 1 / (1 - p)."""
    output = np.zeros(input.shape)
    words = random_words(input.size, key, step)
    for index, word in zip(np.ndindex(*input.shape), words, strict=True):
        output[index] = float(input[index]) * (1 / (1 - p) if word >= p * 2**32 else 0.0)
    return output


def dropout_backward(grad: Array, p: float, key: int, step: Array) -> Array:
    """Return grad times the same factors."""
    return dropout(grad, p, key, step)


def dropout2d(input: Array, p: float, key: int, step: Array) -> Array:
    """Return the input with each channel of each sample dropped or kept as a whole."""
    samples, channels, height, width = input.shape
    factors = dropout(np.ones((samples, channels)), p, key, step)
    output = np.zeros(input.shape)
    for n, c, y, x in np.ndindex(samples, channels, height, width):
        output[n, c, y, x] = float(input[n, c, y, x]) * float(factors[n, c])
    return output


def dropout2d_backward(grad: Array, p: float, key: int, step: Array) -> Array:
    """Return grad times the same factors."""
    return dropout2d(grad, p, key, step)


def uniform(shape: Sequence[int], key: int, step: Array) -> Array:
    """Return the upper 24 bits of each element's word, as a fraction of 1."""
    output = np.zeros(tuple(shape))
    words = random_words(output.size, key, step)
    for index, word in zip(np.ndindex(*shape), words, strict=True):
        output[index] = (word // 2**8) / 2**24
    return output


def bernoulli(probabilities: Array, key: int, step: Array) -> Array:
    """Return 1 where the uniform number is less than the probability; NaN where that is NaN."""
    output = np.array(probabilities, np.float64)
    drawn = uniform(probabilities.shape, key, step)
    for index in np.ndindex(*probabilities.shape):
        p = float(probabilities[index])
        if p == p:
            output[index] = 1.0 if float(drawn[index]) < p else 0.0
    return output
