"""Contrastive divergence against plain loops, and against the exact gradient of a tiny machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from boltzmann import joint, states, tiny

from gpucnn import rbm
from gpucnn.backends import Backend, get_backend
from gpucnn.backends.contract import StepArrays
from gpucnn.errors import ShapeError
from gpucnn.rbm.contrast import ContrastiveDivergence
from gpucnn.rng import Stream, philox_key
from gpucnn.testing import naive

SEED, STEP = 4, 9


def arrays_for(machine: rbm.RBM, images: Any) -> StepArrays:
    """What a step on all ``images``, uint8 (N, C, H, W), reads and writes."""
    be = machine.backend
    scale, shift = machine.scaling()
    return StepArrays(
        images=be.asarray(images, np.uint8),
        indices=be.asarray(np.arange(len(images))),
        targets=be.zeros((len(images),), np.int64),
        scale=scale,
        shift=shift,
        parameters=machine.flat_parameters,
        grads=machine.flat_grads,
        totals=be.zeros((2,), np.float64),
        failed_step=be.zeros((1,), np.int64),
        step=be.asarray(np.array([STEP])),
    )


def gradients(machine: rbm.RBM) -> dict[str, Any]:
    be = machine.backend
    return {name: be.to_numpy(p.grad) for name, p in machine.named_parameters()}


def loops(
    machine: rbm.RBM, images: Any, steps: int, chains: Any
) -> tuple[dict[str, Any], Any, float]:
    """The gradients by plain loops in float64, the hidden units in the end, and the error."""
    state = machine.state_dict()
    weight, c, b = (state[name] for name in ("hidden.weight", "hidden.bias", "visible.bias"))
    keys = [philox_key(SEED, Stream.GIBBS, half) for half in range(2 * steps + 1)]
    data, step = images.reshape(len(images), -1) / 255, np.array([STEP])
    wanted, hidden = naive.sample_units(naive.linear(data, weight), keys[0], step, c)
    hidden, error = hidden if chains is None else chains, 0.0
    for k in range(steps):
        inputs = naive.linear_transpose(hidden, weight)
        first, visible = naive.sample_units(inputs, keys[2 * k + 1], step, b)
        error = ((first - data) ** 2).mean() if k == 0 and chains is None else error
        found, hidden = naive.sample_units(naive.linear(visible, weight, c), keys[2 * k + 2], step)
    grads = {
        "hidden.weight": found.T @ visible / len(found) - wanted.T @ data / len(data),
        "hidden.bias": found.mean(0) - wanted.mean(0),
        "visible.bias": visible.mean(0) - data.mean(0),
    }
    return grads, hidden, error


@pytest.mark.parametrize(("steps", "chains"), [(1, 0), (3, 0), (1, 6), (2, 9)])
def test_gradients_are_those_of_plain_loops(steps: int, chains: int, backend64: Backend) -> None:
    """The same samples, too: no probability is within rounding of its random number."""
    machine, rng = tiny(backend64), np.random.default_rng(1)
    images = rng.integers(0, 256, (7, 1, 2, 2), np.uint8)
    start = rng.integers(0, 2, (chains, 3)).astype(np.float64) if chains else None
    there = None if start is None else backend64.asarray(start.copy())
    arrays = arrays_for(machine, images)
    ContrastiveDivergence(machine, 7, steps, there, SEED).set_grads(arrays)
    wanted, hidden, error = loops(machine, images, steps, start)
    for name, found in gradients(machine).items():
        np.testing.assert_allclose(found, wanted[name], rtol=1e-12, atol=1e-14, err_msg=name)
    if there is not None:
        np.testing.assert_array_equal(backend64.to_numpy(there), hidden)
    totals = [0.0, 0.0] if chains else [error, 1.0]
    np.testing.assert_allclose(backend64.to_numpy(arrays.totals), totals, rtol=1e-12)
    assert not backend64.to_numpy(arrays.failed_step)[0]


def test_samples_do_not_depend_on_the_memory_order() -> None:
    """NumPy draws in the memory order of the inputs."""
    be, step = get_backend("numpy", "float64"), np.array([5])
    inputs = np.random.default_rng(2).standard_normal((7, 12))
    inputs[3, 5] = np.nan
    wanted = naive.sample_units(inputs, 2**63 + 9, step)
    for array in (inputs, np.asfortranarray(inputs)):
        for found, expected in zip(be.sample_units(array, 2**63 + 9, step), wanted, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_a_nan_is_noted_and_changes_no_chain_to_a_number(backend: Backend) -> None:
    machine, chains = tiny(backend), backend.zeros((5, 3))
    machine.hidden_bias[...] = backend.asarray(np.full(3, np.nan))
    arrays = arrays_for(machine, np.zeros((5, 1, 2, 2), np.uint8))
    ContrastiveDivergence(machine, 5, 1, chains, SEED).set_grads(arrays)
    assert backend.to_numpy(arrays.failed_step)[0] == STEP
    assert np.isnan(backend.to_numpy(chains)).all()


def test_persistent_chains_estimate_the_gradient_of_the_likelihood() -> None:
    """Chains of a machine that does not change have the distribution of the enumeration."""
    machine = tiny(get_backend("numpy", "float64"), scale=0.7)
    be, table = machine.backend, joint(machine)
    images = np.array([[[[0, 255], [255, 0]]], [[[255, 255], [0, 51]]]], np.uint8)
    data = images.reshape(2, 4) / 255
    visible, hidden = states(4), states(3)
    likely = be.to_numpy(machine.hidden_probabilities(be.asarray(data)))
    exact = {
        "hidden.weight": hidden.T @ table.T @ visible - likely.T @ data / 2,
        "hidden.bias": table.sum(0) @ hidden - likely.mean(0),
        "visible.bias": table.sum(1) @ visible - data.mean(0),
    }
    count = 10_000
    chains = be.zeros((count, 3))
    contrast = ContrastiveDivergence(machine, 2, 30, chains, SEED)
    contrast.set_grads(arrays_for(machine, images))
    for name, found in gradients(machine).items():
        # An element is a mean of products of two numbers from 0 to 1.
        assert np.abs(found - exact[name]).max() < 4 * 0.5 / np.sqrt(count), name
    codes = (chains @ [4, 2, 1]).astype(int)
    expected = count * table.sum(0)
    chi_squared = ((np.bincount(codes, minlength=8) - expected) ** 2 / expected).sum()
    assert chi_squared < 24.3  # 7 degrees of freedom: exceeded with probability 0.001


def test_the_mean_of_cd_1_is_that_of_the_enumeration() -> None:
    """Over P(h | v), P(v' | h) and P(h' | v') of an image v."""
    machine = tiny(get_backend("numpy", "float64"), scale=0.7)
    be, count = machine.backend, 40_000
    image, visible, hidden = np.array([1.0, 0.0, 0.0, 1.0]), states(4), states(3)
    table = joint(machine)
    of_hidden = table / table.sum(1, keepdims=True)  # P(h | v)
    of_visible = table / table.sum(0)  # P(v | h)
    start = of_hidden[int(image @ [8, 4, 2, 1])]
    after = of_visible @ start  # P(v')
    likely, found = be.to_numpy(machine.hidden_probabilities(be.asarray(image[None])))[0], None
    next_hidden = of_hidden @ hidden  # E[h' | v']
    exact = {
        "hidden.weight": (after[:, None] * next_hidden).T @ visible - np.outer(likely, image),
        "hidden.bias": after @ next_hidden - likely,
        "visible.bias": after @ visible - image,
    }
    images = np.tile(255 * image.astype(np.uint8).reshape(1, 1, 2, 2), (count, 1, 1, 1))
    ContrastiveDivergence(machine, count, 1, None, SEED).set_grads(arrays_for(machine, images))
    for name, found in gradients(machine).items():
        assert np.abs(found - exact[name]).max() < 4 * 0.5 / np.sqrt(count), name


def test_samples_are_written_where_they_are_wanted(backend: Backend) -> None:
    x, samples = backend.zeros((3, 4)), backend.empty((3, 4))
    step = backend.asarray(np.array([1]))
    _, found = backend.sample_units(x, 7, step, samples=samples)
    assert found is samples
    wanted = backend.to_numpy(backend.sample_units(x, 7, step)[1])
    np.testing.assert_array_equal(backend.to_numpy(samples), wanted)
    with pytest.raises(ShapeError, match=r"^sample_units: samples must have shape \(3, 4\)"):
        backend.sample_units(x, 7, step, samples=backend.empty((3, 3)))
