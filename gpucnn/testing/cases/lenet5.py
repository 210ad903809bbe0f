"""Cases: the gradients of a LeNet-5 in one operation, compared with its layers one by one.

The reference is the NumPy backend in float64, which the other cases compare with the loops.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends import Backend, get_backend
from gpucnn.backends.contract.fused import StepArrays
from gpucnn.nn.layers import Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU
from gpucnn.nn.losses import CrossEntropyLoss
from gpucnn.nn.plan import fuse_gradients
from gpucnn.nn.sequential import Sequential
from gpucnn.testing.case import Case
from gpucnn.testing.definition import Array, Arrays, Definition, Function
from gpucnn.testing.values import Values, normal, one_is, times

STEP = ("images", "indices", "targets", "scale", "shift", "totals", "failed_step", "step")
SIDE = 28


def parameters(channels1: int, channels2: int, features1: int, features2: int, classes: int) -> Any:
    """Return the shapes of the parameters of a LeNet-5 by name."""
    plane = ((SIDE // 2 - 4) // 2) ** 2
    weights = {
        "conv1": (channels1, 1, 5, 5),
        "conv2": (channels2, channels1, 5, 5),
        "fc1": (features1, channels2 * plane),
        "fc2": (features2, features1),
        "fc3": (classes, features2),
    }
    return {
        f"{layer}.{kind}": shape if kind == "weight" else shape[:1]
        for layer, shape in weights.items()
        for kind in ("weight", "bias")
    }


def network(backend: Backend, given: Arrays) -> Sequential:
    """Return the LeNet-5 that has the parameters in ``given``, on a backend."""
    outputs = [given[f"{name}.bias"].shape[0] for name in ("conv1", "conv2", "fc1", "fc2", "fc3")]
    first, second, *features = outputs
    layers: dict[str, Layer] = {
        "conv1": Conv2d(1, first, 5, padding=2), "relu1": ReLU(), "pool1": MaxPool2d(2),
        "conv2": Conv2d(first, second, 5), "relu2": ReLU(), "pool2": MaxPool2d(2),
        "flatten": Flatten(),
        "fc1": Linear(given["fc1.weight"].shape[1], features[0]), "relu3": ReLU(),
        "fc2": Linear(features[0], features[1]), "relu4": ReLU(),
        "fc3": Linear(features[1], features[2]),
    }  # fmt: skip
    model = Sequential(layers, (1, SIDE, SIDE)).to(backend)
    named = dict(model.named_parameters())
    model.load_state_dict({name: backend.to_numpy(given[name]) for name in named})
    for parameter in named.values():
        parameter.grad[...] = np.nan  # until it is computed
    return model


def gradients(backend: Backend, **given: Array) -> Arrays:
    """Return the gradients by name, ``totals`` and ``failed_step``; fused if the backend can."""
    model = network(backend, given)
    step = StepArrays(
        parameters=model.flat_parameters,
        grads=model.flat_grads,
        **{name: given[name] for name in STEP},
    )
    samples, loss = given["targets"].shape[0], CrossEntropyLoss()
    fused = fuse_gradients(model.layers, loss, backend, model.input_shape, samples)
    if fused is None:
        layer_by_layer(model, loss, step)
    else:
        fused.set_grads(step)
    grads = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {**grads, "totals": step.totals, "failed_step": step.failed_step}


def layer_by_layer(model: Sequential, loss: CrossEntropyLoss, step: StepArrays) -> None:
    """Set the gradients as ``FusedGradients.set_grads`` does, with an operation for each layer."""
    be = model.backend
    images = be.gather_images(step.images, step.indices, step.scale, step.shift)
    scores, saved = model.forward(images, training=True)
    model.backward(loss.backward(be, scores, step.targets), saved)
    value = loss.add_metrics(be, step.totals, scores, step.targets)
    be.check_finite(step.failed_step, value, model.flat_grads, step.step)


def expected(**given: Array) -> Arrays:
    """Return the results of the NumPy backend in float64."""
    return gradients(get_backend("numpy", "float64"), **given)


LENET5 = Definition(
    "lenet5_gradients",
    Function(
        "lenet5_gradients", gradients, expected, (*STEP, *parameters(*[1] * 5)), inexact=("totals",)
    ),
    is_plumbing=True,
)


def lenet5(
    name: str,
    samples: int,
    widths: tuple[int, int, int, int, int] = (6, 16, 120, 84, 10),
    bias: Values = normal,
    failed_step: int = 0,
    ties: bool = False,
) -> Case:
    """Return a case with random images, a third of whose 4x4 squares are black.

    With ``ties`` most windows have equal outputs with unequal neighbours: the first convolution
    copies pixels, which are 0 or 128, and the second adds an eighth of those around each.
    """

    def make(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        count = samples // 2 + 2
        images = rng.integers(0, 256, (count, 1, SIDE, SIDE), np.uint8)
        if ties:
            images //= 128
            images *= 128
        images[np.kron(rng.random((count, 1, 7, 7)) < 1 / 3, np.ones((4, 4), bool))] = 0
        arrays: dict[str, NDArray[Any]] = {
            "images": images,
            "indices": rng.integers(0, count, samples),
            "targets": rng.integers(0, widths[-1], samples),
            "scale": np.array([1 / 128], np.float32),
            "shift": np.array([-0.25], np.float32),
            "totals": np.array([10.0, 20.0]),
            "failed_step": np.array([failed_step]),
            "step": np.array([7]),
        }
        for parameter, shape in parameters(*widths).items():
            values = bias if parameter == "fc3.bias" else normal
            inputs = np.prod(shape[1:]) if len(shape) > 1 else 16
            arrays[parameter] = values(rng, *shape) / np.float32(np.sqrt(inputs))
        if ties:
            arrays["shift"][...] = arrays["conv1.bias"][...] = arrays["conv2.bias"][...] = 0
            for layer, others in (("conv1.weight", 0.0), ("conv2.weight", 0.125)):
                arrays[layer][...] = others
                arrays[layer][..., 2, 2] = 1
        return arrays

    return Case(LENET5.name, name, make, terms=samples * SIDE**2, definition=LENET5)


LENET5_STEPS = [
    lenet5("batch 1", 1),
    lenet5("5 samples", 5),
    lenet5("smallest, 9 samples", 9, (2, 4, 4, 4, 2)),
    lenet5("largest, 2 samples", 2, (6, 16, 128, 96, 32)),
    lenet5("smallest, 257 samples", 257, (2, 4, 4, 4, 1)),
    lenet5("4-12-36-44-7, 6 samples", 6, (4, 12, 36, 44, 7)),
    lenet5("ties", 6, (2, 4, 4, 4, 2), ties=True),
    lenet5("large scores", 3, (2, 4, 4, 4, 5), times(900)),
    lenet5("NaN in a bias", 2, (2, 4, 4, 4, 3), one_is(1, np.nan)),
    lenet5("an earlier step failed", 2, (2, 4, 4, 4, 3), one_is(1, np.nan), failed_step=3),
]
