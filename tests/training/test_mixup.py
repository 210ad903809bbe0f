"""Mixup: what is mixed with what, and the losses and gradients of mixtures."""

from __future__ import annotations

import numpy as np
import pytest
from small import small_data, small_model

import gpucnn
from gpucnn import training
from gpucnn.errors import SettingError
from gpucnn.nn import CrossEntropyLoss
from gpucnn.training.batches import Batches
from gpucnn.training.mixup import Mixture, own_shares, partners
from gpucnn.training.step import RunArrays, TrainStep


def test_shares_are_those_of_a_symmetric_beta_distribution() -> None:
    """By the half that is above 0.5; each epoch has its own."""
    shares = own_shares(2.0, seed=3, epoch=1, steps=20_000)
    assert 0.5 <= shares.min() <= shares.max() <= 1
    # The density of Beta(2, 2) is 6 x (1 - x): the mean above one half is 11 / 16.
    assert shares.mean() == pytest.approx(11 / 16, abs=0.003)
    assert np.any(own_shares(2.0, 3, 2, 10) != shares[:10])
    np.testing.assert_array_equal(own_shares(2.0, 3, 1, 20_000), shares)


def test_gradients_are_those_of_class_probabilities() -> None:
    """Cross-entropy of mixed labels, as in the paper: softmax minus the mixed probabilities."""
    be, rng = gpucnn.get_backend("numpy", "float64"), np.random.default_rng(0)
    scores, target, other = rng.normal(size=(5, 4)), rng.integers(0, 4, 5), rng.integers(0, 4, 5)
    mixture, loss = Mixture(other, be.asarray([0.75])), CrossEntropyLoss()
    probabilities = 0.75 * np.eye(4)[target] + 0.25 * np.eye(4)[other]
    odds = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    grad = mixture.backward(be, loss, scores, target)
    np.testing.assert_allclose(grad, (odds - probabilities) / 5, rtol=1e-12)
    wanted = -np.sum(probabilities * np.log(odds)) / 5
    assert float(mixture.loss(be, loss, scores, target)) == pytest.approx(wanted)
    totals = np.array([1.0, 2.0])
    mixture.add_metrics(be, loss, totals, scores, target)
    assert totals[0] == pytest.approx(1 + 5 * wanted)
    assert totals[1] == 2 + np.sum(scores.argmax(1) == target)


def test_a_step_mixes_each_image_with_one_of_its_batch() -> None:
    """The first with the last, and so on, by the share in the table of rates."""
    model, data = small_model(p=0.0), small_data()
    model.normalization = data.statistics()
    batches, optimizer = Batches(model, data.train, 6), gpucnn.optim.SGD(lr=0.0)
    optimizer.reset(model.backend, model.flat_size)
    run = RunArrays.zeros(model.backend, batches, 2)
    run.rate_table[:, 1] = 0.7
    gradients = training.step.LayerGradients(model, CrossEntropyLoss(), 0)
    TrainStep(model, batches, 6, gradients, optimizer, run, mixup=True)()
    found = model.flat_grads.copy()

    x, target = batches.batch(0)
    mixture = Mixture(target[::-1], np.array([0.7], np.float32))
    mixed = np.float32(0.7) * x + np.float32(0.3) * x[::-1]
    value, wanted = training.loss_and_grads(model, mixed, target, mixture=mixture)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    assert run.totals[0] == pytest.approx(6 * float(value), rel=1e-5)
    assert partners(3).tolist() == [2, 1, 0]


def test_mixup_is_refused_for_regression() -> None:
    split = small_data().train
    numbers = gpucnn.data.Split(split.images, np.linspace(0, 1, len(split)))
    data = gpucnn.Data(numbers, numbers, classes=(), name="numbers")
    with pytest.raises(SettingError, match="mixup is for classes, but the data has numbers"):
        gpucnn.fit(small_model(), data, mixup=0.2, loss=gpucnn.nn.MSELoss(), backend="numpy")
