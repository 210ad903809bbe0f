"""The fused gradients of LeNet-5: what the layers one by one give, in four launches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from available import BACKENDS, backend_or_skip
from numpy.typing import NDArray

import gpucnn
from gpucnn.backends import Backend
from gpucnn.backends.contract import FusedGradients, StepArrays
from gpucnn.backends.cuda import lenet5
from gpucnn.backends.cuda.lenet5 import LeNet5, LeNet5Sizes, header, lenet5_sizes
from gpucnn.errors import ArrayError, ShapeError
from gpucnn.nn.layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Tanh,
)
from gpucnn.nn.losses import CrossEntropyLoss, MSELoss
from gpucnn.nn.plan import fuse_gradients, layer_specs
from gpucnn.nn.sequential import Sequential
from gpucnn.testing import naive
from gpucnn.testing.comparison import assert_close
from gpucnn.training.step import LayerGradients

LENET = LeNet5Sizes(1, 28, 28, channels1=6, channels2=16, features1=120, features2=84, classes=10)
SMALLEST = replace(LENET, channels1=2, channels2=4, features1=4, features2=4, classes=2)
ONE_CLASS = replace(SMALLEST, classes=1)
LARGEST = replace(LENET, channels1=6, channels2=16, features1=128, features2=96, classes=32)
MIDDLE = replace(LENET, channels1=4, channels2=12, features1=36, features2=44, classes=7)
STEP = 7

Images = NDArray[np.uint8]
Results = dict[str, NDArray[Any]]


def label(value: Any) -> str:
    """Return the name of a parameter: a function's own, or the widths of a LeNet-5."""
    if isinstance(value, LeNet5Sizes):
        value = (value.channels1, value.channels2, value.features1, value.features2, value.classes)
        return "-".join(map(str, value))
    return getattr(value, "__name__", str(value))


@pytest.fixture(params=[name for name in BACKENDS if name != "numpy"])
def name(request: pytest.FixtureRequest) -> str:
    backend_or_skip(request.param)
    return str(request.param)


@pytest.fixture
def be(name: str) -> Any:
    return gpucnn.get_backend(name, "float64")


@pytest.fixture
def emulator() -> Any:
    backend_or_skip("emulated")
    from gpucnn import emulator

    return emulator


# --- models and batches -------------------------------------------------------------------------


def lenet_of(sizes: LeNet5Sizes, seed: int = 0, **others: Layer) -> Sequential:
    """Return a LeNet-5 of these sizes; ``others`` replace layers by name, or are added."""
    height, width = ((size // 2 - 4) // 2 for size in (sizes.height, sizes.width))
    layers: dict[str, Layer] = {
        "conv1": Conv2d(sizes.channels, sizes.channels1, 5, padding=2),
        "relu1": ReLU(),
        "pool1": MaxPool2d(2),
        "conv2": Conv2d(sizes.channels1, sizes.channels2, 5),
        "relu2": ReLU(),
        "pool2": MaxPool2d(2),
        "flatten": Flatten(),
        "fc1": Linear(sizes.channels2 * height * width, sizes.features1),
        "relu3": ReLU(),
        "fc2": Linear(sizes.features1, sizes.features2),
        "relu4": ReLU(),
        "fc3": Linear(sizes.features2, sizes.classes),
    }
    shape = (sizes.channels, sizes.height, sizes.width)
    return Sequential(layers | others, shape, seed=seed)


def noise(rng: np.random.Generator, count: int) -> Images:
    return rng.integers(0, 256, (count, 1, 28, 28), np.uint8)


def strokes(rng: np.random.Generator, count: int) -> Images:
    """Return images that are mostly black, as digits are: all outputs of many windows are equal."""
    pixels = noise(rng, count)
    pixels[np.kron(rng.random((count, 1, 7, 7)) < 0.7, np.ones((4, 4), bool))] = 0
    return pixels


def uniform(rng: np.random.Generator, count: int) -> Images:
    """Return images of one grey each: nearly all windows have four equal outputs, many positive."""
    grey = rng.integers(0, 256, (count, 1, 1, 1), np.uint8)
    return np.broadcast_to(grey, (count, 1, 28, 28)).copy()


class Batch:
    """A LeNet-5 and a batch of ``count`` samples for it, in host memory, where tests change it."""

    def __init__(
        self,
        sizes: LeNet5Sizes,
        count: int,
        make_images: Callable[[np.random.Generator, int], Images] = noise,
    ) -> None:
        rng = np.random.default_rng(count)
        self.sizes = sizes
        self.weights = lenet_of(sizes, seed=count).state_dict()
        self.images = make_images(np.random.default_rng(0), count // 2 + 2)
        self.indices = rng.integers(0, len(self.images), count)
        self.targets = rng.integers(0, sizes.classes, count)
        self.scale, self.shift, self.failed_step = 1 / 128, -0.25, 0

    def on(self, be: Backend) -> tuple[Sequential, StepArrays]:
        """Return the model and the arrays of the batch on a backend; gradients are still NaN."""
        model = lenet_of(self.sizes).to(be)
        model.load_state_dict(self.weights)
        for parameter in model.parameters():
            parameter.grad[...] = np.nan
        return model, StepArrays(
            images=be.asarray(self.images, np.uint8),
            indices=be.asarray(self.indices),
            targets=be.asarray(self.targets),
            scale=be.asarray([self.scale], be.dtype),
            shift=be.asarray([self.shift], be.dtype),
            parameters=model.flat_parameters,
            grads=model.flat_grads,
            totals=be.asarray([10.0, 20.0], np.float64),
            failed_step=be.asarray([self.failed_step]),
            step=be.asarray([STEP]),
        )

    def fused(self, be: Backend) -> Results:
        """Return what the kernels give."""
        model, arrays = self.on(be)
        fused_by(be, self.sizes, len(self.targets)).set_grads(arrays)
        grads = model.with_padding(model.without_padding(arrays.grads))
        found, wanted = be.to_numpy(arrays.grads), be.to_numpy(grads)
        np.testing.assert_array_equal(found, wanted)  # padding is zero
        return results(model, arrays)

    def layered(self, be: Backend | None = None, dtype: str = "float64") -> Results:
        """Return what the layers one by one give, by default in NumPy."""
        model, arrays = self.on(be or gpucnn.get_backend("numpy", dtype))
        with np.errstate(all="ignore"):
            LayerGradients(model, CrossEntropyLoss(), 0).set_grads(arrays)
        return results(model, arrays)


def fused_by(be: Backend, sizes: LeNet5Sizes, samples: int) -> FusedGradients:
    model = lenet_of(sizes)
    fused = fuse_gradients(model.layers, CrossEntropyLoss(), be, model.input_shape, samples)
    assert isinstance(fused, LeNet5)
    return fused


def results(model: Sequential, arrays: StepArrays) -> Results:
    """Return the gradients by name, ``totals`` and ``failed_step``."""
    host = model.backend.to_numpy
    found = {name: host(parameter.grad) for name, parameter in model.named_parameters()}
    return found | {"totals": host(arrays.totals), "failed_step": host(arrays.failed_step)}


def assert_same(found: Results, expected: Results) -> None:
    """Compare within the rounding of sums; in float32, a near tie may go to another element."""
    assert found.keys() == expected.keys()
    unit = 1e-4 if found["conv1.weight"].dtype == np.float32 else 2e-14
    for name, value in expected.items():
        bound = unit * np.abs(value).max()
        np.testing.assert_allclose(found[name], value, rtol=0, atol=bound, err_msg=name)


# --- gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "count", "images", "dtype"),
    [
        (LENET, 1, noise, "float64"),
        (LENET, 7, strokes, "float32"),
        (LENET, 131, noise, "float64"),  # some parts have two samples
        (LENET, 257, strokes, "float64"),  # four samples for each block of lenet5_fc
        (SMALLEST, 9, strokes, "float64"),
        (ONE_CLASS, 3, noise, "float64"),
        (LARGEST, 5, noise, "float32"),
        (LARGEST, 33, strokes, "float64"),
        (MIDDLE, 6, noise, "float64"),
        (MIDDLE, 9, uniform, "float32"),
    ],
    ids=label,
)
def test_gradients_are_those_of_the_layers(
    sizes: LeNet5Sizes, count: int, images: Any, dtype: str, name: str
) -> None:
    batch = Batch(sizes, count, images)
    found = batch.fused(gpucnn.get_backend(name, dtype))
    assert_same(found, batch.layered(dtype=dtype))
    assert found["failed_step"] == 0
    assert np.any(found["conv1.weight"]) or sizes is ONE_CLASS


def test_dead_units_pass_no_gradient(be: Backend) -> None:
    """A third of every layer is dead; then all of a layer, so that nothing before it learns."""
    batch = Batch(LENET, 5)
    for layer, size in (("conv1", 6), ("conv2", 16), ("fc1", 120), ("fc2", 84)):
        batch.weights[f"{layer}.bias"][...] = np.where(np.arange(size) % 3 == 1, -50, 0.05)
    assert_same(batch.fused(be), batch.layered())
    for layer, before in (("fc2", "fc1.weight"), ("conv2", "conv1.weight")):
        batch.weights[f"{layer}.bias"][...] = -50
        found = batch.fused(be)
        assert_same(found, batch.layered())
        assert not found[before].any()


def identity(*shape: int) -> NDArray[Any]:
    """Return filters whose output is the input at their centre."""
    weight = np.zeros((*shape, 5, 5))
    weight[..., 2, 2] = 1
    return weight


@pytest.mark.parametrize("others", [0, 0.125])
def test_ties_go_to_the_first_element(others: float, be: Backend) -> None:
    """Equal outputs have unequal neighbours here; a window of zeros passes no gradient.

    conv1 copies pixels. With ``others``, conv2's other weights pass gradients to conv1's zeros.
    """
    batch = Batch(SMALLEST, 6)
    batch.images = batch.images // 128 * 128
    batch.images[0, :, :, 7:] = 0
    batch.shift = 0
    batch.weights["conv1.weight"][...] = identity(2, 1)
    batch.weights["conv2.weight"][...] = np.maximum(identity(4, 2), others)
    for layer in ("conv1", "conv2"):
        batch.weights[f"{layer}.bias"][...] = 0
    assert_same(batch.fused(be), batch.layered())


def test_a_nan_is_the_maximum_at_each_position_of_a_window(be: Backend) -> None:
    """The other outputs are minus infinity, which alone ReLU makes zero."""
    batch = Batch(SMALLEST, 2)
    batch.shift = 0
    batch.weights["conv1.weight"][...] = np.where(identity(2, 1) > 0, -np.inf, 0)
    for position in range(4):
        batch.images[...] = 255
        batch.images[:, :, position // 2 :: 2, position % 2 :: 2] = 0  # 0 times infinity is NaN
        found = batch.fused(be)
        assert found["failed_step"] == STEP
        assert np.isnan(found["totals"][0])


# --- loss and metrics ---------------------------------------------------------------------------


def test_totals_add_up(be: Backend) -> None:
    _, arrays = Batch(LENET, 11).on(be)
    fused, totals = fused_by(be, LENET, 11), [np.array([10, 20])]
    for _ in range(2):
        fused.set_grads(arrays)
        totals.append(be.to_numpy(arrays.totals))
    first, second = np.diff(totals, axis=0)
    np.testing.assert_allclose(second, first, rtol=1e-12)
    assert first[0] > 0


@pytest.mark.parametrize(
    ("bias", "best"),
    [([0] * 7, 0), ([-9, -1, 5, -5, 5, 0, 5], 2), ([5, np.nan, 0, 0, 0, 0, 0], None)],
    ids=["all equal", "three equal", "NaN"],
)
def test_the_first_of_the_greatest_scores_counts(
    bias: list[float], best: int | None, be: Backend
) -> None:
    """Of a sample that has a NaN score, none counts."""
    batch = Batch(MIDDLE, 9)
    batch.targets = np.arange(9) % 7
    batch.weights["fc3.weight"][...] = 0
    batch.weights["fc3.bias"][...] = bias
    correct = 0 if best is None else np.count_nonzero(batch.targets == best)
    assert batch.fused(be)["totals"][1] - 20 == correct


def test_scores_far_apart_do_not_overflow(be: Backend) -> None:
    batch = Batch(LENET, 4)
    batch.weights["fc3.bias"][...] = np.arange(10) * 400 - 2000
    found = batch.fused(be)
    assert_same(found, batch.layered())
    assert found["failed_step"] == 0


def test_certain_classes_and_large_scores(name: str) -> None:
    """Scores are the last bias alone; every sample's loss must be correct to its own size."""
    rows = [(20, 11), (1e4, 1e4 - 9), (1e8, 1e8), (1e8, 1e8 - 8), (-1e3, -1e3 - 20), (3, 1e4)]
    for dtype in ("float32", "float64"):
        be = gpucnn.get_backend(name, dtype)
        for scores in rows:
            batch = Batch(SMALLEST, 3)
            batch.weights = {key: np.zeros_like(value) for key, value in batch.weights.items()}
            batch.weights["fc3.bias"] = np.array(scores, np.float32)
            for target in (0, 1):
                batch.targets[...] = target
                model, arrays = batch.on(be)
                arrays.totals[...] = 0
                fused_by(be, SMALLEST, 3).set_grads(arrays)
                found = results(model, arrays)
                exact, targets = np.tile(np.float64(scores), (3, 1)), batch.targets
                grad = naive.cross_entropy_backward(exact, targets).sum(0)
                what = f"{be!r}, target {target} of {scores}"
                assert_close(found["fc3.bias"], grad, terms=3, what=what)
                loss = found["totals"][0].astype(dtype)
                wanted = naive.cross_entropy(exact, targets, "sum")
                assert_close(loss, wanted, terms=3, what=what)


# --- NaN and infinity ---------------------------------------------------------------------------

PARAMETERS = [name for name, _ in lenet_of(SMALLEST).named_parameters()]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_weight_of_nan_or_infinity_fails_the_step(
    parameter: str, value: float, be: Backend
) -> None:
    """Minus infinity need not: ReLU can make it zero."""
    batch = Batch(MIDDLE, 5)
    weights = batch.weights[parameter].reshape(-1)
    weights[weights.size // 3] = value
    found = batch.fused(be)
    assert found["failed_step"] == batch.layered()["failed_step"]
    if value != -np.inf:
        assert found["failed_step"] == STEP
    if np.isnan(value):
        assert np.isnan(found["totals"][0])


def test_the_first_failed_step_is_kept(be: Backend) -> None:
    batch = Batch(SMALLEST, 3)
    batch.failed_step = 5
    batch.weights["fc3.bias"][...] = np.nan
    assert batch.fused(be)["failed_step"] == 5


TINY, HUGE = 1e-30, 1e30
OVERFLOWS: dict[str, dict[str, Any]] = {
    "totals": {"fc3.bias": [3e38, -3e38]},
    "fc2.weight": {  # its first row; a thread checks elements of several rows
        "fc1.bias": 1e15, "fc2.weight": 0, "fc2.bias": TINY,
        "fc3.weight": [[HUGE] + 15 * [0], [-HUGE] + 15 * [0]],
    },
    "conv2.weight": {
        "conv1.bias": 1e15, "conv2.weight": 0, "conv2.bias": TINY, "fc1.weight": HUGE,
    },
}  # fmt: skip


@pytest.mark.parametrize("infinite", OVERFLOWS)
def test_one_overflow_fails_the_step(infinite: str, name: str) -> None:
    """The loss alone, or the gradient of one layer alone: each is checked."""
    batch = Batch(replace(SMALLEST, features2=16), 3)
    batch.targets[...] = 1
    for parameter, value in OVERFLOWS[infinite].items():
        batch.weights[parameter][...] = value
    found = batch.fused(gpucnn.get_backend(name, "float32"))
    assert found["failed_step"] == batch.layered(dtype="float32")["failed_step"] == STEP
    assert [key for key, values in found.items() if not np.isfinite(values).all()] == [infinite]


@pytest.mark.parametrize("target", [-1, 7, 2**40])
def test_a_target_outside_the_classes_fails_the_step(target: int, be: Backend) -> None:
    batch = Batch(MIDDLE, 6)
    batch.targets[4] = target
    found = batch.fused(be)
    assert found["failed_step"] == STEP
    assert found["totals"][1] == batch.layered(be)["totals"][1]
    assert np.isnan(found["totals"][0])


@pytest.mark.parametrize("index", [-1, 5, 2**40])
def test_an_index_outside_the_images_fails_the_step(index: int, be: Backend) -> None:
    batch = Batch(MIDDLE, 6)
    batch.indices[4] = index
    found = batch.fused(be)
    assert found["failed_step"] == STEP
    assert found["totals"][1] == batch.layered(be)["totals"][1]
    assert np.isnan(found["totals"][0])


# --- launches -----------------------------------------------------------------------------------


@pytest.fixture
def checking(request: pytest.FixtureRequest, emulator: Any) -> Iterator[None]:
    with emulator.checking(order=request.param, seed=1):
        yield


@pytest.mark.parametrize(
    ("checking", "dtype"), [("reverse", "float32"), ("random", "float64")], indirect=["checking"]
)
@pytest.mark.parametrize(
    ("sizes", "count"), [(LENET, 5), (SMALLEST, 6), (LARGEST, 2), (MIDDLE, 9)], ids=label
)
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.usefixtures("checking")
def test_kernels_access_memory_correctly(
    sizes: LeNet5Sizes, count: int, large: bool, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bounds, without a race, and nothing uninitialised; ``large``: as large batches do."""
    if large:
        monkeypatch.setattr(lenet5, "LARGE_BATCH", 0)
        monkeypatch.setattr(lenet5, "MAX_PARTS", 2)
    batch = Batch(sizes, count, strokes)
    assert_same(batch.fused(gpucnn.get_backend("emulated", dtype)), batch.layered(dtype=dtype))


@pytest.mark.parametrize("checking", ["reverse"], indirect=True)
@pytest.mark.usefixtures("checking")
def test_wrong_targets_and_indices_read_nothing() -> None:
    batch = Batch(MIDDLE, 6)
    batch.indices = np.array([0, 1, -1, 3, 2**40, 5])
    batch.targets = np.array([0, 2**40, 2, -3, 32, 7])
    assert batch.fused(gpucnn.get_backend("emulated"))["failed_step"] == STEP


def test_the_order_of_threads_changes_no_bit(emulator: Any) -> None:
    be, batch, seen = gpucnn.get_backend("emulated"), Batch(MIDDLE, 9, strokes), []
    for order, seed in (("forward", 0), ("reverse", 0), ("random", 1), ("random", 2)):
        with emulator.checking(order=order, seed=seed):
            seen.append([value.tobytes() for value in batch.fused(be).values()])
    assert all(bits == seen[0] for bits in seen)


def test_a_step_is_four_launches_and_can_be_captured(be: Any, launched: list[str]) -> None:
    """It allocates nothing, so a replay reads what the same arrays hold then."""
    first, second = Batch(MIDDLE, 6), Batch(MIDDLE, 6, strokes)
    model, arrays = first.on(be)
    step = fused_by(be, MIDDLE, 6)
    launched.clear()
    step.set_grads(arrays)  # compiles the kernels, which a capture must not
    assert launched == ["lenet5_conv_forward", "lenet5_fc_2", "lenet5_backward", "lenet5_finish"]
    stream = be._xp.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        step.set_grads(arrays)
        graph = stream.end_capture()
    arrays.totals[...] = be.asarray([10.0, 20.0], np.float64)
    arrays.images[...] = be.asarray(second.images, np.uint8)
    be.synchronize()
    with stream:
        graph.launch()
        stream.synchronize()
    assert_same(results(model, arrays), second.layered())


# --- arguments ----------------------------------------------------------------------------------


def test_parameters_must_be_aligned(be: Backend) -> None:
    model, arrays = Batch(SMALLEST, 3).on(be)
    shifted = be.zeros((model.flat_size + 1,))[1:]
    with pytest.raises(ArrayError, match="parameters must start at a multiple of 16 bytes"):
        fused_by(be, SMALLEST, 3).set_grads(replace(arrays, parameters=shifted))


def test_other_shapes_and_types_are_refused(be: Backend) -> None:
    _, arrays = Batch(SMALLEST, 3).on(be)
    fused = fused_by(be, SMALLEST, 3)
    given = {name: array for name, array in vars(arrays).items() if array is not None}
    for name, array in given.items():
        wrong = array[:, :, 1:] if name == "images" else be.zeros((array.size + 1,), array.dtype)
        with pytest.raises((ShapeError, ArrayError), match=rf"^LeNet5\.set_grads: {name} must"):
            fused.set_grads(replace(arrays, **{name: wrong}))
        other = be.asarray(np.ones(array.shape, np.int32), "int32")
        with pytest.raises(ArrayError, match=rf"^LeNet5\.set_grads: {name} must be {array.dtype}"):
            fused.set_grads(replace(arrays, **{name: other}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"channels": 3}, r"images must be \(1, 28, 28\), got \(3, 28, 28\)"),
        ({"height": 32, "width": 32}, r"images must be \(1, 28, 28\), got \(1, 32, 32\)"),
        ({"channels1": 8}, "channels1 must be a multiple of 2 up to 6, got 8"),
        ({"channels1": 5}, "channels1 must be a multiple of 2"),
        ({"channels2": 20}, "channels2 must be a multiple of 4 up to 16"),
        ({"channels2": 14}, "channels2"),
        ({"features1": 132}, "features1 must be a multiple of 4 up to 128"),
        ({"features1": 118}, "features1"),
        ({"features2": 100}, "features2 must be a multiple of 4 up to 96"),
        ({"features2": 85}, "features2"),
        ({"classes": 33}, "classes must be a multiple of 1 up to 32"),
    ],
    ids=str,
)
def test_sizes_outside_the_limits(change: dict[str, int], reason: str, be: Any) -> None:
    sizes = replace(LENET, **change)
    model = lenet_of(sizes)
    assert sizes_of(model) == sizes
    assert fuse_gradients(model.layers, CrossEntropyLoss(), be, model.input_shape, 8) is None
    with pytest.raises(ShapeError, match=f"^LeNet5: {reason}"):
        LeNet5(be, sizes, 8)


def test_the_limits_are_supported(be: Any) -> None:
    largest = {name[4:].lower(): n for name, n in header().items() if name.startswith("MAX_")}
    assert replace(LENET, **largest) == LARGEST
    for sizes in (LENET, ONE_CLASS, LARGEST, MIDDLE):
        assert sizes.unsupported() is None
    with pytest.raises(ShapeError, match="the batch must have at least 1 sample, got 0"):
        LeNet5(be, LENET, 0)


@pytest.mark.parametrize("sizes", [LENET, MIDDLE], ids=label)
def test_offsets_are_those_of_the_flat_parameters(sizes: LeNet5Sizes) -> None:
    model, offsets = lenet_of(sizes), {}
    model.flat_parameters[...] = np.arange(model.flat_size)
    for name, parameter in model.named_parameters():
        offsets[name.replace(".", "_")] = int(parameter.data.flat[0])
    assert sizes.offsets == offsets
    assert sizes.flat_size == model.flat_size


# --- which networks are a LeNet-5 ---------------------------------------------------------------


def sizes_of(model: Sequential) -> LeNet5Sizes | None:
    specs = layer_specs(model.layers.values(), model.input_shape)
    return None if specs is None else lenet5_sizes(specs)


class CustomConv(Conv2d):
    """A subclass, which may compute anything."""


@pytest.mark.parametrize(
    "others",
    [
        {"conv1": Conv2d(1, 6, 5, padding=2, bias=False)},
        {"conv1": CustomConv(1, 6, 5, padding=2)},
        {"conv1": Conv2d(1, 6, 3, padding=1)},
        {"conv1": Conv2d(1, 6, 5, padding=2, stride=2), "fc1": Linear(16, 120)},
        {"conv1": Conv2d(1, 6, 5, padding=4, dilation=2)},
        {"conv2": Conv2d(6, 16, 5, bias=False)},
        {"conv2": Conv2d(6, 16, 5, padding=2), "fc1": Linear(784, 120)},
        {"conv2": Conv2d(6, 16, 5, stride=2), "fc1": Linear(64, 120)},
        {"conv2": Conv2d(6, 16, 5, groups=2)},
        {"pool1": AvgPool2d(2)},
        {"pool2": AvgPool2d(2)},
        {"pool1": MaxPool2d(2, padding=1), "fc1": Linear(400, 120)},
        {"pool2": MaxPool2d(3), "fc1": Linear(144, 120)},
        {"pool2": MaxPool2d(2, stride=1), "fc1": Linear(16 * 81, 120)},
        {"relu1": Tanh()},
        {"relu4": Tanh()},
        {"fc1": Linear(400, 120, bias=False)},
        {"fc3": Linear(84, 10, bias=False)},
        {"more": ReLU()},
        {"relu3": Dropout(0.5)},
    ],
    ids=str,
)
def test_other_networks(others: dict[str, Layer]) -> None:
    assert sizes_of(lenet_of(LENET, **others)) is None


def test_equivalent_layers() -> None:
    same: dict[str, Layer] = {
        "conv1": Conv2d(1, 6, (5, 5), stride=(1, 1), padding="same"),
        "conv2": Conv2d(6, 16, 5, padding="valid"),
        "pool1": MaxPool2d((2, 2), stride=2, ceil_mode=True),  # which changes nothing here
    }
    model = lenet_of(LENET, **same)
    assert sizes_of(model) == LENET
    assert sizes_of(gpucnn.models.lenet5()) == LENET
    assert sizes_of(gpucnn.models.lenet5_1998()) is None
    assert sizes_of(Sequential(dict(list(model.layers.items())[:-1]), (1, 28, 28))) is None
    # With other images ceil_mode does change the outputs.
    odd = replace(LENET, height=26, width=26)
    model = lenet_of(odd, pool2=MaxPool2d(2, ceil_mode=True), fc1=Linear(16 * 5 * 5, 120))
    assert sizes_of(model) is None


def test_other_backends_and_losses(be: Any) -> None:
    model, loss = lenet_of(LENET), CrossEntropyLoss()
    assert fuse_gradients(model.layers, MSELoss(), be, model.input_shape, 8) is None
    numpy = gpucnn.get_backend("numpy")
    assert fuse_gradients(model.layers, loss, numpy, model.input_shape, 8) is None
    be.fuses = False
    assert fuse_gradients(model.layers, loss, be, model.input_shape, 8) is None
