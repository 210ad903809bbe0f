"""How well a restricted Boltzmann machine describes images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.errors import SettingError
from gpucnn.rbm.model import RBM
from gpucnn.rng import Stream, philox, philox_key


@dataclass(frozen=True)
class Figures:
    """Means over some images.

    Attributes:
        error: the reconstruction error: the squared difference between pixels from 0 to 1 and
            P(v = 1 | P(h = 1 | images)).
        pseudo_likelihood: that of an image, in nats: the number of pixels times the logarithm of
            the probability of a random pixel, given the others (Besag, 1975). At most 0.
        free_energy: F(v). Where it grows on test images relative to training images, the machine
            overfits (Hinton, 2010, section 6).
    """

    error: float
    pseudo_likelihood: float
    free_energy: float


def evaluate(rbm: RBM, images: Any, *, seed: int = 0, number: int = 0) -> Figures:
    """Return the figures of a machine on images.

    The pseudo-likelihood is estimated as scikit-learn's ``BernoulliRBM.score_samples`` does: one
    random pixel of each image is flipped, and the free energies are compared.

    Args:
        rbm: the machine.
        images: uint8 (N, C, H, W) of its input shape.
        seed: what the pixels are drawn from, with ``number``, an integer such as that of an epoch.

    Raises:
        DataError: the images do not fit the machine.

    >>> from gpucnn import rbm
    >>> images = gpucnn.data.mnist().test.images[:200]
    >>> figures = rbm.evaluate(rbm.RBM((1, 28, 28), hidden=16), images)
    >>> 0 < figures.error < 0.3, figures.pseudo_likelihood < 0
    (True, True)
    """
    if not isinstance(rbm, RBM):
        raise SettingError(f"rbm.evaluate needs an RBM, got {type(rbm).__name__}")
    be, pixels = rbm.backend, rbm.prepare(images)
    flipped = _flipped(pixels, seed, number)
    errors, energies, likelihoods = (np.empty(len(pixels)) for _ in range(3))
    with be.limit_threads(), np.errstate(all="ignore"):  # NaN and infinity show in the figures
        for (rows, visible), (_, other) in zip(
            rbm.batches(pixels), rbm.batches(flipped), strict=True
        ):
            found = rbm.visible_probabilities(rbm.hidden_probabilities(visible))
            difference = be.to_numpy(found).astype(np.float64) - be.to_numpy(visible)
            errors[rows] = (difference**2).mean(1)
            energies[rows] = rbm.free_energy(visible)
            likelihoods[rows] = rbm.visible * _log_sigmoid(rbm.free_energy(other) - energies[rows])
    return Figures(float(errors.mean()), float(likelihoods.mean()), float(energies.mean()))


def _flipped(pixels: NDArray[np.uint8], seed: int, number: int) -> NDArray[np.uint8]:
    """Return images with one random pixel p of each replaced by 255 - p."""
    blocks = np.arange(-(-len(pixels) // 4), dtype=np.uint64)
    words = philox(philox_key(seed, Stream.FLIP), number, blocks).T.reshape(-1)[: len(pixels)]
    flipped = pixels.reshape(len(pixels), -1).copy()
    indices = (words.astype(np.uint64) * np.uint64(flipped.shape[1])) >> np.uint64(32)
    rows = np.arange(len(pixels))
    flipped[rows, indices] = 255 - flipped[rows, indices]
    return flipped.reshape(pixels.shape)


def _log_sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return -np.logaddexp(0, -x)
