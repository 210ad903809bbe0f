"""Contrastive divergence: the gradients of a training step.

The gradient of the negative log-likelihood, for the weights, is the mean of h v over the model,
minus that of P(h | v) v over the images, and likewise for the biases. Gibbs sampling estimates the
first: from the images themselves, for k steps (CD-k: Hinton, "Training products of experts by
minimizing contrastive divergence", 2002), or from chains that continue from one training step to
the next (persistent contrastive divergence: Tieleman, ICML 2008).
"""

from __future__ import annotations

import numpy as np

from gpucnn.backends.contract import StepArrays
from gpucnn.backends.contract.checks import Array
from gpucnn.rbm.model import RBM
from gpucnn.rng import Stream, philox_key


class ContrastiveDivergence:
    """Sets the gradients of a batch of ``size`` images (``FusedGradients`` of the contract).

    Args:
        rbm: the machine.
        size: N, the number of images.
        steps: k, the number of Gibbs steps, each of all visible and all hidden units.
        chains: the hidden units of M persistent chains (M, hidden), which each training step
            continues; None for chains that start from the images.
        seed: what the units are drawn from, with the number of the training step.

    The images and the persistent chains enter with the probabilities of their hidden units, which
    have the same mean as samples and less noise (Hinton, 2010, section 3).
    """

    def __init__(self, rbm: RBM, size: int, steps: int, chains: Array | None, seed: int) -> None:
        self.rbm, self.size, self.steps, self.chains = rbm, size, steps, chains
        self.keys = [philox_key(seed, Stream.GIBBS, half) for half in range(2 * steps + 1)]
        be = rbm.backend
        self.count = size if chains is None else int(chains.shape[0])
        signs = [-1 / size] * size + [1 / self.count] * self.count
        self.signs = be.asarray(np.array(signs)[:, None])
        self.no_error, self.no_class = be.zeros(()), be.zeros((1,), np.int64)

    def set_grads(self, arrays: StepArrays) -> None:
        """As ``FusedGradients.set_grads``.

        ``totals`` gets the reconstruction error of the step, the mean squared difference between
        the images and their first reconstruction, and the number of steps; persistent chains
        reconstruct nothing and add neither.
        """
        rbm = self.rbm
        be = rbm.backend
        images = be.gather_images(arrays.images, arrays.indices, arrays.scale, arrays.shift)
        data = be.flatten(images)
        inputs = rbm.hidden_inputs(data)
        if self.chains is None:
            wanted, hidden = be.sample_units(inputs, self.keys[0], arrays.step)
            error, visible, found = self._sample_from(data, hidden, arrays)
            scores = error.reshape(1, 1)  # the only class is always the correct one: it is counted
            be.add_metrics(arrays.totals, error, scores, self.no_class, "sum")
        else:
            wanted, error = be.sigmoid(inputs), self.no_error
            visible, found = self._continue_chains(self.chains, arrays.step)
        self._set_grads(data, wanted, visible, found)
        be.check_finite(arrays.failed_step, error, arrays.grads, arrays.step)

    def _sample_from(
        self, data: Array, hidden: Array, arrays: StepArrays
    ) -> tuple[Array, Array, Array]:
        """Return the error of the first reconstruction, and the units after k Gibbs steps."""
        be, step = self.rbm.backend, arrays.step
        for number in range(self.steps):
            first, visible = self._visible(hidden, number, step)
            if number == 0:
                error = be.mse_loss(first, data)
            inputs = self.rbm.hidden_inputs(visible)
            if number + 1 < self.steps:
                hidden = be.sample_units(inputs, self.keys[2 * number + 2], step)[1]
        return error, visible, be.sigmoid(inputs)

    def _continue_chains(self, chains: Array, step: Array) -> tuple[Array, Array]:
        """Continue the chains for k Gibbs steps; return their visible units and P(h = 1 | v)."""
        be, hidden = self.rbm.backend, chains
        for number in range(self.steps):
            _, visible = self._visible(hidden, number, step)
            inputs = self.rbm.hidden_inputs(visible)
            out = chains if number + 1 == self.steps else None
            found, hidden = be.sample_units(inputs, self.keys[2 * number + 2], step, samples=out)
        return visible, found

    def _visible(self, hidden: Array, number: int, step: Array) -> tuple[Array, Array]:
        """Return P(v = 1 | h) and samples, in Gibbs step ``number``, from 0."""
        be, rbm = self.rbm.backend, self.rbm
        inputs = be.linear_transpose(hidden, rbm.weight)
        return be.sample_units(inputs, self.keys[2 * number + 1], step, rbm.visible_bias)

    def _set_grads(self, data: Array, wanted: Array, visible: Array, found: Array) -> None:
        """Write the gradients: the means over the chains minus those over the images.

        ``data`` and ``visible`` are the visible units of both, ``wanted`` and ``found`` P(h | v).
        """
        be, rbm = self.rbm.backend, self.rbm
        both = be.stack_rows(data, visible)
        hidden = be.stack_rows(wanted, found, -1 / self.size, 1 / self.count)
        grads = {name: parameter.grad for name, parameter in rbm.named_parameters()}
        out = grads["hidden.weight"], grads["hidden.bias"]
        be.linear_backward(hidden, both, rbm.weight, input_grad=False, out=out)
        column = (rbm.visible, 1)
        out = grads["visible.bias"].reshape(column), None
        weight = rbm.visible_bias.reshape(column)
        be.linear_backward(both, self.signs, weight, input_grad=False, out=out)
