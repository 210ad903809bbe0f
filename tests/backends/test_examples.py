"""One example per family with numbers small enough to check by hand.

All numbers are exact in float32, so results must be equal, except where a tolerance is given.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.testing import assert_array_equal

from gpucnn.backends import Backend


def same(backend: Backend, actual: Any, expected: Any) -> None:
    assert_array_equal(backend.to_numpy(actual), np.float32(expected), strict=True)


def maps(backend: Backend, values: Any) -> Any:
    """Return an H by W plane as an array of one sample and one channel."""
    return backend.asarray(np.float32(values)[None, None])


def test_convolution(backend32: Backend) -> None:
    """A 2x2 kernel is not flipped: the first output is 1*1 + 2*2 + 4*3 + 5*4, plus the bias."""
    be = backend32
    x, w = maps(be, [[1, 2, 3], [4, 5, 6], [7, 8, 9]]), maps(be, [[1, 2], [3, 4]])
    bias = be.asarray(np.float32([100]))
    same(be, be.conv2d(x, w, bias), [[[[137, 147], [167, 177]]]])

    grads = be.conv2d_backward(maps(be, [[1, 0], [0, 10]]), x, w)
    # The gradient adds the kernel at the upper left, and ten times the kernel at the lower right.
    same(be, grads[0], [[[[1, 2, 0], [3, 14, 20], [0, 30, 40]]]])
    same(be, grads[1], [[[[51, 62], [84, 95]]]])  # x at the upper left plus 10 x at the lower right
    same(be, grads[2], [11])


def test_transposed_convolution(backend32: Backend) -> None:
    """With stride 2, the two pixels add their kernels side by side."""
    be = backend32
    x, w = maps(be, [[1, 10]]), maps(be, [[1, 2], [3, 4]])
    same(be, be.conv_transpose2d(x, w, stride=2), [[[[1, 2, 10, 20], [3, 4, 30, 40]]]])


def test_pooling(backend32: Backend) -> None:
    be = backend32
    x = maps(be, [[1, 5, 2, 2], [3, 4, 0, 2]])
    output, indices = be.max_pool2d(x, 2, return_indices=True)
    same(be, output, [[[[5, 2]]]])
    # Row 0, column 1 has index 1. The first of the equal elements is in row 0, column 2.
    assert be.to_numpy(indices).tolist() == [[[[1, 2]]]]
    grad = maps(be, [[8, 16]])
    same(
        be,
        be.max_pool2d_backward(grad, indices, x.shape, 2),
        [[[[0, 8, 16, 0], [0, 0, 0, 0]]]],
    )
    same(be, be.avg_pool2d(x, 2), [[[[13 / 4, 6 / 4]]]])
    same(be, be.avg_pool2d_backward(grad, x.shape, 2), [[[[2, 2, 4, 4], [2, 2, 4, 4]]]])
    same(be, be.sum_pool2d(x, 2), [[[[13, 6]]]])
    same(be, be.lp_pool2d(maps(be, [[2, 3], [6, 0]]), 2, 2), [[[[7]]]])  # the root of 4 + 9 + 36


def test_activations(backend32: Backend) -> None:
    be = backend32
    x = be.asarray(np.float32([-2, 0, 3]))
    grad = be.asarray(np.float32([4, 8, 16]))
    same(be, be.relu(x), [0, 0, 3])
    same(be, be.relu_backward(grad, be.relu(x)), [0, 0, 16])
    same(be, be.leaky_relu(x, 0.25), [-0.5, 0, 3])
    same(be, be.leaky_relu_backward(grad, x, 0.25), [1, 2, 16])
    half = be.asarray(np.float32([0.5]))
    same(be, be.sigmoid(be.zeros((1,))), [0.5])
    same(be, be.sigmoid_backward(be.asarray(np.float32([8])), half), [2])  # 8 * 0.5 * (1 - 0.5)
    same(be, be.tanh_backward(be.asarray(np.float32([8])), half), [6])  # 8 * (1 - 0.5 * 0.5)
    same(be, be.softmax(be.zeros((1, 4))), [[0.25, 0.25, 0.25, 0.25]])


def test_random_numbers(backend32: Backend) -> None:
    """Of the words 6627e8d5, e169c58d, bc57ac4c, 9b00dbd8: those of Random123's first vector."""
    be = backend32
    step = be.asarray([0])
    numbers = [word / 2**24 for word in (0x6627E8, 0xE169C5, 0xBC57AC, 0x9B00DB)]
    same(be, be.uniform((2, 2), 0, step), [numbers[:2], numbers[2:]])
    same(be, be.bernoulli(be.asarray(np.float32([0.4, 0.3, 0.8, 0.6])), 0, step), [1, 0, 1, 0])
    x = be.asarray(np.float32([3, 3, 3, 3]))
    same(be, be.dropout(x, 0.625, 0, step), [0, 8, 8, 0])
    same(be, be.dropout_backward(x, 0.625, 0, step), [0, 8, 8, 0])
    planes = be.asarray(np.full((2, 2, 1, 2), 3, np.float32))
    wanted = [[[[0, 0]], [[8, 8]]], [[[8, 8]], [[0, 0]]]]
    same(be, be.dropout2d(planes, 0.625, 0, step), wanted)
    same(be, be.dropout2d_backward(planes, 0.625, 0, step), wanted)


def test_linear(backend32: Backend) -> None:
    be = backend32
    x, w = be.asarray(np.float32([[1, 2]])), be.asarray(np.float32([[1, 10], [0, 3], [5, 0]]))
    same(be, be.linear(x, w, be.asarray(np.float32([0, 1, 2]))), [[21, 7, 7]])
    input_grad, weight_grad, bias_grad = be.linear_backward(
        be.asarray(np.float32([[1, 2, 3]])), x, w
    )
    same(be, input_grad, [[16, 16]])  # 1*1 + 2*0 + 3*5, and 1*10 + 2*3 + 3*0
    same(be, weight_grad, [[1, 2], [2, 4], [3, 6]])
    same(be, bias_grad, [1, 2, 3])


def test_joining(backend32: Backend) -> None:
    be = backend32
    x, y = be.asarray(np.float32([[1, -5, 3]])), be.asarray(np.float32([[2, 1, 0]]))
    same(be, be.add(x, y), [[3, -4, 3]])
    same(be, be.add(x, y, relu=True), [[3, 0, 3]])
    both = be.zeros((1, 5))
    be.write_channels(both, x, 1)
    same(be, both, [[0, 1, -5, 3, 0]])
    same(be, be.read_channels(both, 2, 2), [[-5, 3]])


def test_losses(backend32: Backend) -> None:
    be = backend32
    scores, target = be.zeros((2, 4)), be.asarray([1, 3])
    loss = be.to_numpy(be.cross_entropy(scores, target))
    assert math.isclose(loss, math.log(4), rel_tol=1e-6)  # every class has probability 1/4
    same(
        be,
        be.cross_entropy_backward(scores, target),  # (1/4 - one_hot) / 2
        [[0.125, -0.375, 0.125, 0.125], [0.125, 0.125, 0.125, -0.375]],
    )
    x, t = be.asarray(np.float32([[1, 5]])), be.asarray(np.float32([[3, 1]]))
    same(be, be.mse_loss(x, t), 10)  # (4 + 16) / 2
    same(be, be.mse_loss(x, t, "sum"), 20)
    same(be, be.mse_loss(x, t, "none"), [[4, 16]])
    same(be, be.mse_loss_backward(x, t), [[-2, 4]])
    same(be, be.half_squared_error(x, t), 5)
    half = be.asarray(np.float32([[0.5]]))
    loss = be.to_numpy(be.binary_cross_entropy(half, half))
    assert math.isclose(loss, math.log(2), rel_tol=1e-6)


def test_training(backend32: Backend) -> None:
    be = backend32
    same(be, be.one_hot(be.asarray([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])
    totals = be.zeros((2,), "float64")
    scores = be.asarray(np.float32([[1, 2], [5, 5], [0, 9]]))
    be.add_metrics(totals, be.asarray(np.float32(0.5)), scores, be.asarray([1, 0, 0]))
    assert be.to_numpy(totals).tolist() == [1.5, 2]  # the first two samples are correct

    param, velocity = be.asarray(np.float32([10])), be.asarray(np.float32([4]))
    grad, lr = be.asarray(np.float32([2])), be.asarray(np.float32([0.5]))
    be.sgd_step(param, grad, velocity, lr, momentum=0.5, weight_decay=0.25)
    same(be, velocity, [6.5])  # 0.5 * 4 + (2 + 0.25 * 10)
    same(be, param, [6.75])  # 10 - 0.5 * 6.5

    grads, norm = be.asarray(np.float32([3, -4])), be.zeros((1,), "float64")
    be.clip_grad_norm(grads, norm, 10.0)
    same(be, grads, [3, -4])
    be.clip_grad_norm(grads, norm, 2.5000005)
    assert be.to_numpy(norm).tolist() == [5]
    same(be, grads, [1.5, -2])  # 2.5000005 / (5 + 1e-6)
    average = be.asarray(np.float32([2, 4]))
    be.ema_step(average, grads, be.asarray(np.float32([0.5])))
    same(be, average, [1.75, 1])

    param, first, second = (be.asarray(np.float32([value])) for value in (10, 0, 0))
    rates = be.asarray(np.float32([1, 0.5, 0.5]))  # step size, correction, shrink
    be.adam_step(param, grad, first, second, rates, betas=(0.5, 0.75), eps=0.0)
    same(be, first, [1])  # 0.5 * 2
    same(be, second, [1])  # 0.25 * 2 * 2
    same(be, param, [4.5])  # 10 * 0.5 - 1 / (1 / 0.5)
