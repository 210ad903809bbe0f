"""Mixup: each image is mixed with another one of its batch, and so are their losses.

Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018. The share of an image of its
own is drawn once a step from the Beta distribution, before the epoch begins. The image at position
n of a batch of N is mixed with that at N - 1 - n: the order of the images is random already. As
both mixtures of a pair are in the batch, a share below one half would be that of the same batch in
another order; so the greater share is taken, and the classes of the images are the likelier ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.nn.losses import Loss
from gpucnn.rng import Stream, generator


def own_shares(alpha: float, seed: int, epoch: int, steps: int) -> NDArray[np.float64]:
    """Return each step's share of an image of its own, from 0.5 to 1: Beta(alpha, alpha)."""
    drawn = generator(seed, Stream.MIXUP, epoch).beta(alpha, alpha, steps)
    return np.maximum(drawn, 1 - drawn)


def partners(count: int) -> NDArray[np.int64]:
    """Return the position of the image that each of ``count`` images is mixed with."""
    return np.arange(count - 1, -1, -1)


@dataclass(frozen=True)
class Mixture:
    """What the images of a batch are mixed with.

    Attributes:
        target: the classes of the other images, int64 (N,).
        own_share: how much of each image is its own, (1,).
    """

    target: Array
    own_share: Array

    def mix(self, be: Backend, own: Array, other: Array) -> Array:
        """Return ``own`` times its share, plus ``other`` times the rest."""
        return be.lerp(other, own, self.own_share)

    def loss(self, be: Backend, loss: Loss, scores: Array, target: Array) -> Array:
        """Return the mean loss, of shape ()."""
        own, other = (loss.forward(be, scores, of) for of in (target, self.target))
        return self.mix(be, own, other)

    def backward(self, be: Backend, loss: Loss, scores: Array, target: Array) -> Array:
        """Return the gradient of the mean loss by the scores."""
        own, other = (loss.backward(be, scores, of) for of in (target, self.target))
        return self.mix(be, own, other)

    def add_metrics(
        self, be: Backend, loss: Loss, totals: Array, scores: Array, target: Array
    ) -> Array:
        """Add the losses to ``totals``, and the samples with the class of the greater share."""
        value = self.loss(be, loss, scores, target)
        be.add_metrics(totals, value, scores, target)
        return value
