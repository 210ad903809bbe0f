"""Every row of the table against PyTorch, forward and, by autograd, backward.

An operation means what PyTorch's function of its name means; PyTorch computes in float64 what the
backend computes in either precision, from the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gpucnn.backends import Backend
from gpucnn.config import describe
from gpucnn.optim import SGD, Adam, AdamW, Optimizer
from gpucnn.testing import naive
from gpucnn.testing.case import (
    Case,
    backward,
    backward_arguments,
    forward,
    to_backend,
    to_numpy,
    widened,
)
from gpucnn.testing.cases import CASES
from gpucnn.testing.comparison import assert_close
from gpucnn.testing.values import normal

torch = pytest.importorskip("torch")
F = torch.nn.functional


def kept(shape: Any, p: float, key: int, step: Any) -> Any:
    """Return the factors of dropout: PyTorch has other random numbers."""
    numbers = naive.uniform(shape, key, step.numpy())  # to 24 bits
    return torch.from_numpy((numbers >= p) / (1 - p))


def rnn(input: Any, weight: Any, bias: Any = None, nonlinearity: str = "tanh") -> Any:
    """The first layer of torch.nn.RNN, whose weight of the input is the identity."""
    function = torch.rnn_tanh if nonlinearity == "tanh" else torch.rnn_relu
    return _recurrent(function, input, weight, bias)


def gru(input: Any, weight: Any, bias: Any = None, return_gates: bool = True) -> Any:
    """The first layer of torch.nn.GRU, likewise."""
    return _recurrent(torch.gru, input, weight, bias)


def _recurrent(function: Callable[..., Any], input: Any, weight: Any, bias: Any) -> Any:
    if not input.isfinite().all():
        pytest.skip("zeros of the identity times NaN or infinity are NaN")
    samples, _, features = input.shape
    of_input = torch.eye(features, dtype=input.dtype)
    weights = [of_input, weight]
    if bias is not None:
        weights += [torch.zeros_like(bias), bias]
    first = input.new_zeros((1, samples, weight.shape[1]))
    options = (bias is not None, 1, 0.0, True, False, True)  # the last is batch_first
    return function(input, first, weights, *options)[0]


# What torch.nn.functional has under another name, or not at all.
OTHERS: dict[str, Callable[..., Any]] = {
    "sum_pool2d": lambda **kw: F.avg_pool2d(**kw, divisor_override=1),
    "upsample_nearest2d": lambda input, output_size: F.interpolate(input, output_size),
    "half_squared_error": lambda **kw: F.mse_loss(**kw) / 2,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softmax": lambda input, dim=1: torch.softmax(input, dim),
    "dropout": lambda input, p, key, step: input * kept(input.shape, p, key, step),
    "dropout2d": lambda input, p, key, step: (
        input * kept(input.shape[:2], p, key, step)[:, :, None, None]
    ),
    "batch_norm": lambda num_batches_tracked=None, momentum=0.1, running_mean=None, **kw: (
        F.batch_norm(
            running_mean=running_mean,
            running_var=kw.pop("running_var", None),
            training=True,
            momentum=1 / (int(num_batches_tracked) + 1) if momentum is None else momentum,
            **kw,
        )
    ),
    "batch_norm_inference": F.batch_norm,
    "add": torch.add,
    "write_channels": lambda output, input, start: output.slice_scatter(
        input, 1, start, start + input.shape[1]
    ),
    "read_channels": lambda input, start, channels: input.narrow(1, start, channels),
    "lerp": lambda input, end, weight: torch.lerp(input, end, weight[0]),
    "flatten": lambda input: input.reshape(len(input), -1),
    "stack_rows": lambda first, second, first_factor, second_factor: torch.cat(
        [first * first_factor, second * second_factor]
    ),
    "rnn": rnn,
    "gru": gru,
    "rows": lambda input: input.transpose(1, 2).flatten(2),
    "last_step": lambda input: input[:, -1],
    "linear_transpose": lambda input, weight: input @ weight,
    "one_hot": lambda target, num_classes: F.one_hot(target, num_classes),
    "gather_images": lambda images, indices, scale, shift: (
        images[indices].double() * scale[:, None, None] + shift[:, None, None]
    ),
    "gather_labels": lambda labels, indices: labels[indices],
    "all_finite": lambda array: torch.isfinite(array).all(),
}
# The contract's backward gives none for them.
NO_GRAD = {"target", "running_mean", "running_var"}

# PyTorch pads unevenly by a copy, and says so.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Using padding='same' with even kernel lengths:UserWarning"
)


def counterpart(case: Case) -> Callable[..., Any]:
    function = OTHERS.get(case.op) or getattr(F, case.op, None)
    if function is None:
        pytest.skip(f"PyTorch has no {case.op}")
    if isinstance(case.options.get("padding"), tuple):
        function = with_sides(case, function)
    if "relu" in case.options:
        return lambda relu, **rest: F.relu(function(**rest))
    return function


def with_sides(case: Case, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function`` with a padding that may differ between sides, which PyTorch's has not."""
    if all(isinstance(side, int) for side in case.options["padding"]):
        return function
    vertical, horizontal = naive.padding_sides(case.options["padding"])
    if case.op == "conv2d":
        return lambda input, padding, **rest: function(
            input=F.pad(input, (*horizontal, *vertical)), **rest
        )
    if case.op == "conv_transpose2d":

        def cropped(padding: Any, **rest: Any) -> Any:
            full = function(**rest)
            rows, columns = (
                slice(before, size - after)
                for (before, after), size in zip(
                    (vertical, horizontal), full.shape[2:], strict=True
                )
            )
            return full[:, :, rows, columns]

        return cropped
    pytest.skip(f"the padding of PyTorch's {case.op} is the same on both sides")


def tensors(case: Case) -> dict[str, Any]:
    made = {name: torch.from_numpy(array) for name, array in widened(case.arrays()).items()}
    for name, tensor in made.items():
        differentiable = name == "input" if case.is_loss else name not in NO_GRAD
        if case.has_backward and tensor.is_floating_point() and differentiable:
            tensor.requires_grad_()
    return made


def host(tensor: Any) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().numpy()
    return array


def compare(actual: NDArray[Any], wanted: Any, case: Case, what: str) -> None:
    reference = host(wanted)
    if actual.dtype.kind == "f" and reference.dtype.kind != "f":
        reference = reference.astype(np.float64)  # one_hot, which is of integers in PyTorch
    assert_close(actual, reference, terms=case.terms, what=what)


STEPS = ("sgd_step", "adam_step", "ema_step", "clip_grad_norm", "begin_step")
STEPS += ("add_metrics", "add_errors")
FUNCTIONS = [case for case in CASES if case.op not in STEPS]


@pytest.mark.parametrize("case", FUNCTIONS, ids=str)
def test_forward(case: Case, backend: Backend) -> None:
    results = to_numpy(backend, forward(backend, case, to_backend(backend, case.arrays())))
    given = tensors(case)
    wanted = counterpart(case)(**given, **case.options)
    for name in ("running_mean", "running_var"):
        if case.op == "batch_norm" and name in given and not wanted.isnan().any():
            compare(results[name], given[name], case, name)  # PyTorch's may become NaN
    if "indices" in results:
        wanted, indices = wanted
        # Of several NaN in a window PyTorch points to the last, the contract to the first.
        numbers = ~np.isnan(results["output"])
        np.testing.assert_array_equal(results["indices"][numbers], host(indices)[numbers])
    compare(results["output"], wanted, case, "output")


def differs(case: Case, given: dict[str, Any], output: Any) -> str:
    """Why the contract's gradient is not PyTorch's, in the few places where it means not to be."""
    has_nan = bool(output.isnan().any())
    if case.op in ("max_pool2d", "adaptive_max_pool2d") and has_nan:
        return "of several NaN in a window PyTorch points to the last"
    if (case.op == "relu" or "relu" in case.options) and has_nan:
        return "PyTorch's gradient of relu goes through NaN"
    if case.op == "tanh" and bool((1 - output.abs() < 1e-6).any()):
        return "in float32 the output near 1, from which the gradient is computed, is rounded to it"
    if case.op == "softmax" and bool((output == 1).any()):
        return "PyTorch's gradient of a certain class is a difference of equal numbers"
    if case.op == "lp_pool2d" and bool((output == 0).any()):
        return "PyTorch's gradient of a sum of zero is zero for p = 1, and NaN for p = 2"
    if case.op == "binary_cross_entropy" and bool(((given["input"] % 1) == 0).any()):
        return "PyTorch's least x (1 - x) of 1e-12 is rounded to float32"
    return ""


@pytest.mark.parametrize("case", [c for c in FUNCTIONS if c.has_backward], ids=str)
def test_backward(case: Case, backend: Backend) -> None:
    given = tensors(case)
    output = counterpart(case)(**given, **case.options)
    output = output[0] if isinstance(output, tuple) else output
    if reason := differs(case, given, output):
        pytest.skip(reason)

    arrays = to_backend(backend, case.arrays())
    results = forward(backend, case, arrays)
    grad = case.output_grad(results)
    wide = torch.full_like(output, grad) if case.is_loss else torch.from_numpy(grad).double()
    output.backward(wide)
    grad = grad if case.is_loss else to_backend(backend, {"grad": grad})["grad"]
    grads = backward(backend, case, backward_arguments(case, arrays, results, grad))
    for name, actual in to_numpy(backend, grads).items():
        if name in given:
            compare(actual, given[name].grad, case, name)


@pytest.mark.parametrize("case", [c for c in CASES if c.op == "add_metrics"], ids=str)
def test_metrics(case: Case, backend: Backend) -> None:
    given, arrays = tensors(case), to_backend(backend, case.arrays())
    backend.add_metrics(**arrays)
    scores, target = given["scores"], given["target"]
    # Of equal scores PyTorch may choose any; the first is the one before which none is as great.
    greatest = scores.max(1, keepdim=True).values
    chosen = (scores == greatest).int().argmax(1)
    right = (chosen == target) & ~scores.isnan().any(1)
    gained = torch.stack([given["loss"] * len(target), right.sum().double()])
    compare(backend.to_numpy(arrays["totals"]), given["totals"] + gained, case, "totals")


@pytest.mark.parametrize("case", [c for c in CASES if c.op == "add_errors"], ids=str)
def test_errors(case: Case, backend: Backend) -> None:
    given, arrays = tensors(case), to_backend(backend, case.arrays())
    backend.add_errors(**arrays)
    errors = [
        function(given["outputs"], given["target"], reduction="none").sum(0)
        for function in (F.mse_loss, F.l1_loss)
    ]
    gained = torch.cat([(given["loss"] * len(given["target"])).reshape(1), *errors])
    compare(backend.to_numpy(arrays["totals"]), given["totals"] + gained, case, "totals")


# --- optimisers, over several steps -------------------------------------------------------------


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(lr=0.1),
        SGD(lr=0.1, momentum=0.9),
        SGD(lr=0.1, weight_decay=0.05),
        SGD(lr=0.1, momentum=0.9, weight_decay=0.05, nesterov=True),
        Adam(lr=0.01),
        Adam(lr=0.1, betas=(0.6, 0.8), eps=0.1),
        Adam(lr=0.1, weight_decay=0.1),
        AdamW(lr=0.1, weight_decay=0.1),
    ],
    ids=repr,
)
def test_seven_steps(optimizer: Optimizer, backend: Backend) -> None:
    rng = np.random.default_rng(3)
    values = normal(rng, 35)
    param = backend.asarray(values)
    optimizer.reset(backend, param.size)
    parameter = torch.nn.Parameter(torch.from_numpy(values).double())
    options = describe(optimizer)
    theirs = getattr(torch.optim, options.pop("type"))([parameter], **options)
    for step in range(1, 8):
        grad = normal(rng, 35)
        parameter.grad = torch.from_numpy(grad).double()
        theirs.step()
        rates = backend.asarray(optimizer.rates(step, optimizer.lr))
        optimizer.step(backend, param, backend.asarray(grad), rates)
        assert_close(backend.to_numpy(param), host(parameter), terms=step, what=f"step {step}")


@pytest.mark.parametrize("case", [c for c in CASES if c.op == "clip_grad_norm"], ids=str)
def test_clipping(case: Case, backend: Backend) -> None:
    arrays = to_backend(backend, case.arrays())
    backend.clip_grad_norm(**arrays, **case.options)
    parameter = torch.nn.Parameter(torch.zeros(len(case.arrays()["grads"]), dtype=torch.float64))
    parameter.grad = tensors(case)["grads"].double()
    norm = torch.nn.utils.clip_grad_norm_([parameter], case.options["max_norm"])
    compare(backend.to_numpy(arrays["norm"]), norm[None], case, "norm")
    compare(backend.to_numpy(arrays["grads"]), parameter.grad, case, "grads")


def test_moving_average(backend: Backend) -> None:
    rng = np.random.default_rng(3)
    theirs = torch.nn.Linear(7, 5, bias=False, dtype=torch.float64)
    averaged = torch.optim.swa_utils.AveragedModel(
        theirs, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.75)
    )
    average, rates = backend.zeros((5, 7)), backend.asarray([0.25])
    for step in range(1, 5):
        values = normal(rng, 5, 7)
        theirs.weight.data[...] = torch.from_numpy(values).double()
        averaged.update_parameters(theirs)
        if step == 1:  # PyTorch copies the first
            average[...] = backend.asarray(values)
        else:
            backend.ema_step(average, backend.asarray(values), rates)
        assert_close(backend.to_numpy(average), host(averaged.module.weight), terms=step)
