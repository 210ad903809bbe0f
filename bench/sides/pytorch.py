"""PyTorch on the CPU: the same network and operations, data in memory, no DataLoader.

gpucnn is not imported here, so that a process of this side takes the memory of a PyTorch program.
"""

from __future__ import annotations

import gzip
import math
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from bench import cases
from bench.sides import Job, by_position, timed
from bench.start import LR, MEAN, MOMENTUM, STD, read_start

MNIST = Path(__file__).parents[2] / "gpucnn" / "data" / "mnist"
EVALUATION_BATCH = 500

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))


def about() -> dict[str, Any]:
    """Return versions and threads of the process."""
    return {"torch": torch.__version__, "threads": torch.get_num_threads()}


def load(spec: dict[str, Any]) -> Job:
    """Return the job that ``spec`` describes."""
    return {"op": op, "step": step, "inference": inference}[spec["kind"]](spec)


def _pixels(name: str) -> np.ndarray:
    with gzip.open(MNIST / f"{name}-images-idx3-ubyte.gz") as file:
        return np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)


def normalized(pixels: np.ndarray, device: str = "cpu") -> torch.Tensor:
    """Return pixels from 0 to 255 as a normalised float32 tensor."""
    return torch.tensor(pixels, device=device).float().div_(255).sub_(MEAN).div_(STD)


@cache
def split(name: str, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Return the normalised images and the labels of "train" or "t10k", read once."""
    with gzip.open(MNIST / f"{name}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return normalized(_pixels(name), device), torch.tensor(labels, device=device).long()


def lenet(spec: dict[str, Any]) -> nn.Sequential:
    """Return LeNet-5 with the weights of the start file."""
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(1, 6, 5, padding=2),
        "relu1": nn.ReLU(),
        "pool1": nn.MaxPool2d(2),
        "conv2": nn.Conv2d(6, 16, 5),
        "relu2": nn.ReLU(),
        "pool2": nn.MaxPool2d(2),
        "flatten": nn.Flatten(),
        "fc1": nn.Linear(400, 120),
        "relu3": nn.ReLU(),
        "fc2": nn.Linear(120, 84),
        "relu4": nn.ReLU(),
        "fc3": nn.Linear(84, 10),
    }
    model = nn.Sequential(OrderedDict(layers))
    model.load_state_dict({k: torch.tensor(v) for k, v in read_start(spec["start"])[0].items()})
    return model


# --- training -----------------------------------------------------------------------------------


def train(model: nn.Module, batch: int, orders: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Train step by step and yield each loss; ``orders`` has the order of each epoch."""
    images, labels = split("train")
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    for order in orders:
        for start in range(0, len(order), batch):
            picked = order[start : start + batch]
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images[picked]), labels[picked])
            loss.backward()
            optimizer.step()
            yield loss.detach()


def endless(count: int) -> Iterator[torch.Tensor]:
    """Yield a new order of ``count`` images for each epoch."""
    while True:
        yield torch.randperm(count)


def step(spec: dict[str, Any]) -> Job:
    """Training steps on all of MNIST."""

    def check() -> dict[str, Any]:
        order = torch.tensor(read_start(spec["start"])[1])
        steps = train(lenet(spec), spec["batch"], iter([order]))
        losses = [next(steps).item() for _ in range(3)]
        return {
            "losses": np.cumsum(losses) / (1, 2, 3)
        }  # gpucnn reports the mean of the epoch so far

    steps = train(lenet(spec), spec["batch"], endless(60_000))
    return Job(check, timed(lambda: next(steps)))


def whole(spec: dict[str, Any]) -> dict[str, float]:
    """Train an epoch, or ``steps`` of it, and evaluate, in a process started for it."""
    model, count = lenet(spec), spec["images"]
    order = torch.tensor(read_start(spec["start"])[1]) if spec["steps"] else torch.randperm(count)
    total, done = torch.zeros(()), 0
    for loss in islice(train(model, spec["batch"], iter([order])), spec["steps"]):
        total += loss
        done += 1
    return {"loss": float(total) / done, "accuracy": evaluated(model)[1]}


# --- inference ----------------------------------------------------------------------------------


@torch.inference_mode()
def evaluated(model: nn.Module) -> tuple[float, float]:
    """Return the loss and the accuracy on the test digits."""
    images, labels = split("t10k")
    loss, correct = torch.zeros(()), torch.zeros((), dtype=torch.long)
    for x, target in zip(
        images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True
    ):
        scores = model(x)
        loss += F.cross_entropy(scores, target, reduction="sum")
        correct += (scores.argmax(1) == target).sum()
    return float(loss) / len(labels), int(correct) / len(labels)


@torch.inference_mode()
def predicted(model: nn.Module, pixels: np.ndarray) -> torch.Tensor:
    """Return the probabilities of uint8 images, as gpucnn's ``predict`` does."""
    return F.softmax(model(normalized(pixels)), 1)


def inference(spec: dict[str, Any]) -> Job:
    """Evaluation on the test digits, or prediction of the first ``batch`` of them."""
    model = lenet(spec).eval()
    if spec["batch"] is None:
        return Job(
            lambda: dict(zip(("loss", "accuracy"), evaluated(model), strict=True)),
            timed(lambda: evaluated(model)),
        )
    pixels = _pixels("t10k")[: spec["batch"]]
    return Job(
        lambda: {"probabilities": predicted(model, pixels).numpy()},
        timed(lambda: predicted(model, pixels)),
    )


# --- operations ---------------------------------------------------------------------------------


def op(spec: dict[str, Any]) -> Job:
    """One call of an operation, or of its gradient by autograd."""
    case = cases.CASES[spec["case"]]

    def check() -> dict[str, Any]:
        function, changed = call(case, spec["direction"])
        result = function()
        arrays = by_position(tuple(changed) if result is None else result)
        return {name: x.detach().numpy() for name, x in arrays.items()}

    return Job(check, timed(call(case, spec["direction"])[0]))


def call(
    case: cases.Case, direction: str, number: int = 0, device: str = "cpu"
) -> tuple[Callable[[], Any], list[torch.Tensor]]:
    """Return the call of an operation on set ``number``, and the tensors that it may change."""
    return (_gradient if direction == "backward" else _forward)(case, number, device)


def _tensors(case: cases.Case, number: int, device: str) -> dict[str, torch.Tensor]:
    drawn = {name: torch.tensor(x, device=device) for name, x in case.draw(number).items()}
    doubles = ("totals", "norm")  # float64 in gpucnn as well
    return {
        name: x.float() if x.is_floating_point() and name not in doubles else x
        for name, x in drawn.items()
    }


def _forward(
    case: cases.Case, number: int, device: str
) -> tuple[Callable[[], Any], list[torch.Tensor]]:
    tensors = _tensors(case, number, device)
    if case.op in STEPS:
        return STEPS[case.op](**tensors, **case.options), list(tensors.values())
    function = partial(_function(case.op), **tensors, **case.options)
    return torch.no_grad()(function), list(tensors.values())


def _gradient(
    case: cases.Case, number: int, device: str
) -> tuple[Callable[[], Any], list[torch.Tensor]]:
    tensors = _tensors(case, number, device)
    differentiated = [name for name in ("input", "weight", "bias") if name in tensors]
    if not case.input_grad:
        differentiated.remove("input")
    for name in differentiated:
        tensors[name].requires_grad_()
    output = _function(case.op)(**tensors, **case.options)
    output = output[0] if isinstance(output, tuple) else output
    grad = None
    if "target" not in tensors:
        grad = torch.tensor(cases.gradient(case, output.shape), device=device).float()
    inputs = [tensors[name] for name in differentiated]
    return partial(torch.autograd.grad, output, inputs, grad, retain_graph=True), []


def _function(op: str) -> Callable[..., Any]:
    return OTHERS.get(op) or getattr(F, op)


def _batch_norm(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> Any:
    """Return the output, the mean and the inverse deviation of each channel."""
    return torch.native_batch_norm(input, weight, bias, None, None, True, 0.1, 1e-5)


def _augment_images(
    images: torch.Tensor,
    indices: torch.Tensor,
    scale: torch.Tensor,
    shift: torch.Tensor,
    step: torch.Tensor,
    augmentation: dict[str, float],
    key: int,
) -> torch.Tensor:
    """Return images that are rotated by random angles, with torchvision's two functions."""
    batch = images[indices].float()
    angles = torch.empty(len(batch)).uniform_(-1, 1) * math.radians(augmentation["rotate"])
    c, s, zero = angles.cos(), angles.sin(), torch.zeros(len(batch))
    theta = torch.stack([c, -s, zero, s, c, zero], 1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(batch.shape), align_corners=False)
    return F.grid_sample(batch, grid, align_corners=False).mul_(scale).add_(shift)


def _add_metrics(
    totals: torch.Tensor, loss: torch.Tensor, scores: torch.Tensor, target: torch.Tensor
) -> None:
    totals[0] += loss * len(target)
    totals[1] += (scores.argmax(1) == target).sum()


def _add_errors(
    totals: torch.Tensor, loss: torch.Tensor, outputs: torch.Tensor, target: torch.Tensor
) -> None:
    errors = outputs.double() - target
    totals[0] += loss * len(target)
    totals[1:] += torch.cat([(errors * errors).sum(0), errors.abs().sum(0)])


def _check_finite(
    failed_step: torch.Tensor, loss: torch.Tensor, grads: torch.Tensor, step: torch.Tensor
) -> None:
    if not failed_step and not (torch.isfinite(loss) and torch.isfinite(grads).all()):
        failed_step.copy_(step)


def _rnn(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return the states, by the operations of torch.nn.RNN on a CPU, given x_t w_ih^T + b_ih."""
    states = [torch.tanh(input[:, 0] + bias)]
    for x in input.unbind(1)[1:]:
        states.append(torch.tanh(x + F.linear(states[-1], weight, bias)))
    return torch.stack(states, 1)


def _gru(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return the states, by the operations of torch.nn.GRU on a CPU, given x_t w_ih^T + b_ih."""
    states = [input.new_zeros((len(input), weight.shape[1]))]
    for x in input.unbind(1):
        reset, update, new = x.chunk(3, 1)
        products = F.linear(states[-1], weight, bias).chunk(3, 1)
        reset, update = torch.sigmoid(reset + products[0]), torch.sigmoid(update + products[1])
        new = torch.tanh(new + reset * products[2])
        states.append((states[-1] - new) * update + new)
    return torch.stack(states[1:], 1)


def _clip_grad_norm(grads: torch.Tensor, norm: torch.Tensor, max_norm: float) -> None:
    parameter = nn.Parameter(grads)
    parameter.grad = grads
    norm.copy_(nn.utils.clip_grad_norm_([parameter], max_norm))


def _ema_step(average: torch.Tensor, param: torch.Tensor, rates: torch.Tensor) -> None:
    average.lerp_(param, rates[0])


OTHERS: dict[str, Callable[..., Any]] = {
    "rnn": _rnn,
    "gru": _gru,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "sum_pool2d": partial(F.avg_pool2d, divisor_override=1),
    "upsample_nearest2d": lambda input, output_size: F.interpolate(input, output_size),
    "half_squared_error": lambda input, target: F.mse_loss(input, target) / 2,
    "dropout": lambda input, p, key, step: F.dropout(input, p),
    "dropout2d": lambda input, p, key, step: F.dropout2d(input, p),
    "add": torch.add,
    "batch_norm": _batch_norm,
    "augment_images": _augment_images,
    "flatten": lambda input: input.flatten(1),
    "one_hot": lambda target, num_classes: F.one_hot(target, num_classes).float(),
    "gather_images": lambda images, indices, scale, shift: (
        images[indices].float().mul_(scale).add_(shift)
    ),
    "gather_labels": lambda labels, indices: labels[indices],
    "add_metrics": _add_metrics,
    "add_errors": _add_errors,
    "check_finite": _check_finite,
    "clip_grad_norm": _clip_grad_norm,
    "ema_step": _ema_step,
}
"""Operations that torch.nn.functional has under another name or not at all."""


def _sgd_step(
    param: torch.Tensor,
    grad: torch.Tensor,
    velocity: torch.Tensor,
    rates: torch.Tensor,
    momentum: float,
) -> Callable[[], Any]:
    parameter = nn.Parameter(param)
    parameter.grad = grad
    optimizer = torch.optim.SGD([parameter], lr=rates.item(), momentum=momentum, fused=True)
    optimizer.state[parameter]["momentum_buffer"] = velocity
    return optimizer.step


def _adam_step(
    param: torch.Tensor, grad: torch.Tensor, rates: torch.Tensor, **averages: torch.Tensor
) -> Callable[[], Any]:
    parameter = nn.Parameter(param)
    parameter.grad = grad
    # The step number and the learning rate, from the factors with the default betas.
    step = round(math.log(1 - float(rates[1]) ** 2) / math.log(0.999))
    lr = float(rates[0]) * (1 - 0.9**step)
    optimizer = torch.optim.Adam([parameter], lr=lr, fused=True)
    optimizer.state[parameter].update(averages, step=torch.tensor(float(step - 1)))
    return optimizer.step


STEPS: dict[str, Callable[..., Callable[[], Any]]] = {
    "sgd_step": _sgd_step,
    "adam_step": _adam_step,
}
"""The optimiser is made once; only its step is timed."""
