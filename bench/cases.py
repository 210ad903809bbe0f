"""The operations that ``ops`` and ``gpu_ops`` time: sizes, inputs, and how each is called.

A call has the same name and arguments on every side, because the contract's are PyTorch's. Sizes
are those of LeNet-5 at batch 64, and of 3x3 convolutions in larger networks.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from gpucnn.backends.contract.operations import Operation

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """An operation, the shapes of its arrays, and its other arguments.

    ``input_grad`` is whether the backward computes the gradient of the input; ``work`` is about
    the number of iterations of plain loops.
    """

    op: str
    arrays: Mapping[str, Shape]
    options: Mapping[str, Any] = field(default_factory=dict)
    input_grad: bool = True
    work: int = 10**9

    @property
    def directions(self) -> tuple[str, ...]:
        """The passes that the operation has: "forward" and perhaps "backward"."""
        return ("forward", "backward") if _operation(self).backward else ("forward",)

    def draw(self, number: int = 0) -> dict[str, np.ndarray]:
        """Return the arrays of set ``number``, equal at every call: float64, int64 or uint8."""
        rng = np.random.default_rng(zlib.crc32(repr(self).encode()) + number)
        return {name: self._draw(rng, name, shape) for name, shape in self.arrays.items()}

    def _draw(self, rng: np.random.Generator, name: str, shape: Shape) -> np.ndarray:
        if name in ("target", "labels") and len(shape) == 1:
            return rng.integers(0, 10, shape)
        if name == "images":
            return rng.integers(0, 256, shape, np.uint8)
        if name == "indices":
            return rng.integers(0, 10_000, shape)
        if name in ("step", "failed_step"):
            return np.full(shape, int(name == "step"))
        if name == "totals":
            return np.zeros(shape)
        if name == "rates":
            return np.array(_RATES[shape[0]])
        if self.op == "binary_cross_entropy" or name in ("target", "exp_avg_sq"):
            return rng.uniform(0.05, 0.95, shape)
        scale = 1 / math.sqrt(math.prod(shape[1:])) if name == "weight" else 1.0
        return scale * rng.standard_normal(shape)


def call(
    lib: Any, case: Case, arrays: dict[str, Any], direction: str
) -> tuple[Callable[[], Any], list[Any]]:
    """Return the call of ``lib`` (a backend, or the loops), and the arrays that it may change.

    An operation that returns None has changed some of them in place.
    """
    forward = partial(getattr(lib, case.op), **arrays, **_options(case))
    if direction == "forward":
        return forward, list(arrays.values())
    backward = getattr(lib, f"{case.op}_backward")
    return partial(backward, **_backward_arguments(lib, case, arrays)), []


def _options(case: Case) -> dict[str, Any]:
    """Return the options of a case as gpucnn takes them, which is imported here as below."""
    options = dict(case.options)
    if "augmentation" in options:
        from gpucnn.backends.contract import Augmentation

        options["augmentation"] = Augmentation(**options["augmentation"])
    return options


def gradient(case: Case, shape: Shape) -> np.ndarray:
    """Return the gradient of the output, the argument of a backward pass."""
    return np.random.default_rng(zlib.crc32(case.op.encode())).standard_normal(shape)


def poison(dtype: Any) -> float:
    """Return a value that no result of an operation has, for arrays of this type."""
    return float("nan") if np.dtype(dtype).kind == "f" else -1


def _operation(case: Case) -> Operation:
    """Return the contract's operation; imported here, to keep gpucnn out of PyTorch's processes."""
    from gpucnn.backends.contract.operations import operations

    return operations()[case.op]


def _backward_arguments(lib: Any, case: Case, arrays: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the operation's backward, by the names of its parameters."""
    op = _operation(case)
    assert op.backward is not None
    known = {**arrays, **case.options}
    if not case.input_grad:  # the loops have no such argument
        known["input_grad"] = False
    if not op.is_loss:  # whose gradient is 1 by default
        options = case.options | dict.fromkeys(op.options_of_results, True)
        known |= op.name_results(getattr(lib, case.op)(**arrays, **options), arrays)
        known["grad"] = _like(lib, known["output"], gradient(case, known["output"].shape))
        known["input_shape"] = arrays["input"].shape
    return {name: known[name] for name in op.backward.parameters if name in known}


def _like(lib: Any, output: Any, values: np.ndarray) -> Any:
    """Return ``values`` as an array of the type and memory layout of ``output``."""
    if not isinstance(output, np.ndarray):
        return lib.asarray(values)
    result = np.empty_like(output)
    result[...] = values
    return result


def _conv(n: int, c: int, side: int, o: int, k: int, op: str = "conv2d", **options: Any) -> Case:
    transposed = op == "conv_transpose2d"
    input_grad = options.pop("input_grad", True)
    weight = (c, o, k, k) if transposed else (o, c, k, k)
    arrays = {"input": (n, c, side, side), "weight": weight, "bias": (o,)}
    return Case(op, arrays, options, input_grad)


def _linear(n: int, f: int, o: int) -> Case:
    return Case("linear", {"input": (n, f), "weight": (o, f), "bias": (o,)}, work=n * f * o)


def _recurrent(op: str, n: int, steps: int, hidden: int) -> Case:
    rows = {"rnn": 1, "gru": 3}[op] * hidden
    arrays = {"input": (n, steps, rows), "weight": (rows, hidden), "bias": (rows,)}
    return Case(op, arrays, work=n * steps * rows * hidden)


def _map(op: str, shape: Shape, **options: Any) -> Case:
    return Case(op, {"input": shape}, options, work=math.prod(shape))


def _dropout(op: str, shape: Shape) -> Case:
    """A mask that is drawn, but so that nothing is dropped: all sides have the same results."""
    arrays, options = {"input": shape, "step": (1,)}, {"p": 1e-12, "key": 1}
    return Case(op, arrays, options, work=50 * math.prod(shape))


def _batch_norm(n: int, c: int, side: int) -> Case:
    arrays = {"input": (n, c, side, side), "weight": (c,), "bias": (c,)}
    return Case("batch_norm", arrays, work=n * c * side * side)


def _loss(op: str) -> Case:
    return Case(op, {"input": (64, 10), "target": (64, 10)}, work=640)


CONV1, CONV2, FLAT = (64, 6, 28, 28), (64, 16, 10, 10), (64, 400)
_PARAMETERS = (61_706,)
# The learning rate of SGD; the factors of Adam's tenth step at a learning rate of 0.001.
_RATES = {1: (0.01,), 3: (0.001 / (1 - 0.9**10), (1 - 0.999**10) ** 0.5, 1.0)}


def _sgd() -> Case:
    arrays = {**dict.fromkeys(("param", "grad", "velocity"), _PARAMETERS), "rates": (1,)}
    return Case("sgd_step", arrays, {"momentum": 0.9}, work=_PARAMETERS[0])


CASES: dict[str, Case] = {
    "conv2d conv1 5x5 1->6": _conv(64, 1, 28, 6, 5, padding=2, input_grad=False),
    "conv2d conv2 5x5 6->16": _conv(64, 6, 14, 16, 5),
    "conv2d 64x64 3x3 3->16": _conv(16, 3, 64, 16, 3, padding=1),
    "conv2d 56x56 3x3 64->64": _conv(16, 64, 56, 64, 3, padding=1),
    "conv_transpose2d 5x5 16->6": _conv(64, 16, 10, 6, 5, "conv_transpose2d"),
    "relu 6x28x28": _map("relu", CONV1),
    "sigmoid 6x28x28": _map("sigmoid", CONV1),
    "tanh 6x28x28": _map("tanh", CONV1),
    "gelu 6x28x28": _map("gelu", CONV1),
    "silu 6x28x28": _map("silu", CONV1),
    "max_pool2d 6x28x28": _map("max_pool2d", CONV1, kernel_size=2),
    "max_pool2d 16x10x10": _map("max_pool2d", CONV2, kernel_size=2),
    "avg_pool2d 6x28x28": _map("avg_pool2d", CONV1, kernel_size=2),
    "sum_pool2d 6x28x28": _map("sum_pool2d", CONV1, kernel_size=2),
    "lp_pool2d 6x28x28": _map("lp_pool2d", CONV1, kernel_size=2, norm_type=2),
    "adaptive_avg_pool2d 64x7x7": _map("adaptive_avg_pool2d", (64, 64, 7, 7), output_size=1),
    "upsample_nearest2d 16x10x10": _map("upsample_nearest2d", CONV2, output_size=(20, 20)),
    "flatten 16x5x5": _map("flatten", (64, 16, 5, 5)),
    "linear fc1 400->120": _linear(64, 400, 120),
    "linear fc2 120->84": _linear(64, 120, 84),
    "linear fc3 84->10": _linear(64, 84, 10),
    "rnn 28 steps of 128, batch 128": _recurrent("rnn", 128, 28, 128),
    "gru 28 steps of 128, batch 128": _recurrent("gru", 128, 28, 128),
    "add 16x28x28": Case(
        "add", {"input": (64, 16, 28, 28), "other": (64, 16, 28, 28)}, work=64 * 16 * 28 * 28
    ),
    "batch_norm 16x28x28": _batch_norm(64, 16, 28),
    "batch_norm 32x28x28, batch 128": _batch_norm(128, 32, 28),
    "batch_norm 64x7x7": _batch_norm(64, 64, 7),
    "relu 120": _map("relu", (64, 120)),
    "dropout 120": _dropout("dropout", (64, 120)),
    "dropout 1024": _dropout("dropout", (64, 1024)),
    "dropout2d 16x10x10": _dropout("dropout2d", CONV2),
    "softmax 10": _map("softmax", (64, 10), dim=1),
    "cross_entropy 10": Case("cross_entropy", {"input": (64, 10), "target": (64,)}, work=640),
    "mse_loss 10": _loss("mse_loss"),
    "half_squared_error 10": _loss("half_squared_error"),
    "binary_cross_entropy 10": _loss("binary_cross_entropy"),
    "binary_cross_entropy_with_logits 10": _loss("binary_cross_entropy_with_logits"),
    "one_hot 10": Case("one_hot", {"target": (64,)}, {"num_classes": 10}, work=640),
    "gather_images 64 of 10,000": Case(
        "gather_images",
        {"images": (10_000, 1, 28, 28), "indices": (64,), "scale": (1,), "shift": (1,)},
        work=50_176,
    ),
    # An angle that is drawn, but that changes nothing: all sides have the same images.
    "augment_images 64 of 10,000": Case(
        "augment_images",
        {
            "images": (10_000, 1, 28, 28),
            "indices": (64,),
            "scale": (1,),
            "shift": (1,),
            "step": (1,),
        },
        {"augmentation": {"rotate": 1e-9}, "key": 1},
    ),
    "gather_labels 64 of 10,000": Case(
        "gather_labels",
        {"labels": (10_000,), "indices": (64,)},
        work=64,
    ),
    "add_metrics 10": Case(
        "add_metrics",
        {"totals": (2,), "loss": (), "scores": (64, 10), "target": (64,)},
        work=640,
    ),
    "add_errors 2": Case(
        "add_errors",
        {"totals": (5,), "loss": (), "outputs": (64, 2), "target": (64, 2)},
        work=128,
    ),
    "check_finite 61,706": Case(
        "check_finite",
        {"failed_step": (1,), "loss": (), "grads": _PARAMETERS, "step": (1,)},
        work=61_706,
    ),
    "clip_grad_norm 61,706": Case(
        "clip_grad_norm", {"grads": _PARAMETERS, "norm": (1,)}, {"max_norm": 1.0}, work=61_706
    ),
    "sgd_step 61,706": _sgd(),
    "adam_step 61,706": Case(
        "adam_step",
        {
            **dict.fromkeys(("param", "grad", "exp_avg", "exp_avg_sq"), _PARAMETERS),
            "rates": (3,),
        },
        work=61_706,
    ),
    "ema_step 61,706": Case(
        "ema_step",
        {"average": _PARAMETERS, "param": _PARAMETERS, "rates": (1,)},
        work=61_706,
    ),
}


# --- on a GPU -----------------------------------------------------------------------------------


def _lenet(n: int) -> dict[str, Case]:
    """Return LeNet-5's operations on a batch of ``n``."""
    cases = {
        "conv2d 28x28 5x5 1->6": _conv(n, 1, 28, 6, 5, padding=2, input_grad=False),
        "conv2d 14x14 5x5 6->16": _conv(n, 6, 14, 16, 5),
        "max_pool2d 6x28x28": _map("max_pool2d", (n, 6, 28, 28), kernel_size=2),
        "max_pool2d 16x10x10": _map("max_pool2d", (n, 16, 10, 10), kernel_size=2),
        "linear 400->120": _linear(n, 400, 120),
        "linear 120->84": _linear(n, 120, 84),
        "linear 84->10": _linear(n, 84, 10),
        "cross_entropy 10": Case("cross_entropy", {"input": (n, 10), "target": (n,)}),
    }
    return {f"{name}, batch {n}": case for name, case in cases.items()}


def gpu_cases(tiny: bool = False) -> dict[str, Case]:
    """Return the cases of ``gpu_ops``, the most important first; or a few of tiny sizes."""
    large = {
        "conv2d 56x56 3x3 64->64, batch 32": _conv(32, 64, 56, 64, 3, padding=1),
        "conv2d 14x14 3x3 256->256, batch 32": _conv(32, 256, 14, 256, 3, padding=1),
    }
    update = {"sgd_step 61,706 parameters": _sgd()}
    if tiny:
        small = _conv(2, 4, 6, 4, 3, padding=1)
        return {"conv2d 6x6 3x3 4->4, batch 2": small, **_lenet(2), **update}
    return {**large, **_lenet(64), **_lenet(512), **update}


def amount(case: Case, direction: str) -> tuple[int, int]:
    """Return the floating-point operations, and the least bytes of float32 and int64 to move.

    Every input is read once, and every output is written once.
    """
    size = {name: math.prod(shape) for name, shape in case.arrays.items()}
    if case.op == "sgd_step":
        return 4 * size["param"], 4 * 5 * size["param"]
    if case.op == "cross_entropy":  # forward returns a scalar, backward an array like the input
        outputs = size["input"] if direction == "backward" else 1
        return 0, 4 * (size["input"] + outputs) + 8 * size["target"]
    if case.op == "max_pool2d":  # backward reads an index for each gradient
        output = size["input"] // case.options["kernel_size"] ** 2
        return 0, 4 * (size["input"] + output) + (8 * output if direction == "backward" else 0)
    weight, (n, _, *plane) = case.arrays["weight"], case.arrays["input"]
    padding = 2 * case.options.get("padding", 0)
    positions = math.prod(x + padding - k + 1 for x, k in zip(plane, weight[2:], strict=True))
    output = n * weight[0] * positions
    flops = 2 * output * math.prod(weight[1:])
    elements = size["input"] + size["weight"] + size["bias"] + output
    if direction == "backward" and case.input_grad:  # which also reads the weight
        return 2 * flops, 4 * (elements + size["input"] + size["weight"])
    return flops, 4 * elements


ALL = {**CASES, **gpu_cases(), **gpu_cases(tiny=True)}
