"""LeNet-5's training step in four launches: the general path's gradients, or no step at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from available import BACKENDS, backend_or_skip
from numpy.typing import NDArray

import gpucnn
from gpucnn.backends import Backend
from gpucnn.backends.contract import FusedGradients, StepArrays
from gpucnn.backends.cuda import lenet5
from gpucnn.backends.cuda.lenet5 import LeNet5, LeNet5Sizes, lenet5_sizes
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
from gpucnn.nn.losses import CrossEntropyLoss
from gpucnn.nn.plan import fuse_gradients, layer_specs
from gpucnn.nn.sequential import Sequential
from gpucnn.training.step import loss_and_grads

OTHERS = [name for name in BACKENDS if name != "numpy"]
LENET = LeNet5Sizes(1, 28, 28, channels1=6, channels2=16, features1=120, features2=84, classes=10)
LEAST = replace(LENET, channels1=2, channels2=4, features1=4, features2=4, classes=2)
ONE = replace(LEAST, classes=1)
MOST = replace(LENET, channels1=6, channels2=16, features1=128, features2=96, classes=32)
BETWEEN = replace(LENET, channels1=4, channels2=12, features1=36, features2=44, classes=7)
NAMES = ["conv_forward", "fc_4", "backward", "finish"]
STEP = 7

Results = dict[str, NDArray[Any]]


def label(value: Any) -> str:
    """The name of a parameter: a function's own, a LeNet-5's widths."""
    if isinstance(value, LeNet5Sizes):
        value = (value.channels1, value.channels2, value.features1, value.features2, value.classes)
        return "-".join(map(str, value))
    return getattr(value, "__name__", str(value))


@pytest.fixture(params=OTHERS)
def name(request: pytest.FixtureRequest) -> str:
    backend_or_skip(request.param)
    return str(request.param)


@pytest.fixture
def be(name: str) -> Backend:
    return gpucnn.get_backend(name, "float64")


@pytest.fixture
def emulator() -> Any:
    backend_or_skip("emulated")
    from gpucnn import emulator

    return emulator


def lenet_of(sizes: LeNet5Sizes, seed: int = 0, **others: Layer) -> Sequential:
    """A LeNet-5 of other widths; ``others`` take the places of layers."""
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


def sizes_of(model: Sequential) -> LeNet5Sizes | None:
    specs = layer_specs(model.layers.values(), model.input_shape)
    return None if specs is None else lenet5_sizes(specs)


def fused_by(be: Backend, sizes: LeNet5Sizes, samples: int) -> FusedGradients | None:
    model = lenet_of(sizes)
    return fuse_gradients(model.layers, CrossEntropyLoss(), be, model.input_shape, samples)


def noise(rng: np.random.Generator, count: int) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (count, 1, 28, 28), np.uint8)


def strokes(rng: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Mostly black, as digits are: whole windows are equal."""
    pixels = noise(rng, count)
    pixels[np.kron(rng.random((count, 1, 7, 7)) < 0.7, np.ones((4, 4), bool))] = 0
    return pixels


def flat(rng: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Pictures of one shade: nearly all windows are of four equal outputs, many above zero."""
    return np.broadcast_to(rng.integers(0, 256, (count, 1, 1, 1), np.uint8), (count, 1, 28, 28))


@dataclass(frozen=True)
class Batch:
    """A model and a batch for it, as they lie on a backend."""

    be: Backend
    model: Sequential
    images: Any
    indices: Any
    targets: Any
    scale: Any
    shift: Any
    totals: Any
    failed: Any
    grads: Any

    @staticmethod
    def of(
        be: Backend,
        sizes: LeNet5Sizes,
        count: int,
        pictures: Callable[[np.random.Generator, int], NDArray[np.uint8]] = noise,
    ) -> Batch:
        rng = np.random.default_rng(count)
        model = lenet_of(sizes, seed=count).to(be)
        images = pictures(np.random.default_rng(0), count // 2 + 2)
        grads = be.zeros((model.size,))
        grads[...] = np.nan  # what is not written is seen
        return Batch(
            be,
            model,
            be.asarray(images, np.uint8),
            be.asarray(rng.integers(0, len(images), count)),
            be.asarray(rng.integers(0, sizes.classes, count)),
            be.asarray([1 / 128]),
            be.asarray([-0.25]),
            be.asarray([10.0, 20.0], np.float64),
            be.zeros((1,), np.int64),
            grads,
        )

    @property
    def step(self) -> LeNet5:
        shape = self.model.input_shape
        step = fuse_gradients(
            self.model.layers, CrossEntropyLoss(), self.be, shape, self.targets.size
        )
        assert isinstance(step, LeNet5)
        return step

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "indices": self.indices,
            "targets": self.targets,
            "scale": self.scale,
            "shift": self.shift,
            "parameters": self.model.flat_parameters,
            "grads": self.grads,
            "totals": self.totals,
            "failed_step": self.failed,
            "step": self.be.asarray([STEP]),
        }

    def weights(self, parameter: str) -> NDArray[Any]:
        return self.be.to_numpy(dict(self.model.named_parameters())[parameter].data)

    def put(self, parameter: str, values: Any) -> None:
        state = self.model.state_dict()
        state[parameter][...] = values
        self.model.load_state_dict(state)

    def fused(self, step: LeNet5 | None = None) -> Results:
        (step or self.step).set_grads(StepArrays(**self.arguments))
        return self.results(self.grads)

    def general(self) -> Results:
        """What the operations one by one give, on the same backend."""
        be = self.be
        x = be.gather_images(self.images, self.indices, self.scale, self.shift)
        totals, failed = be.asarray([10.0, 20.0], np.float64), be.zeros((1,), np.int64)
        with np.errstate(all="ignore"):
            loss, _ = loss_and_grads(self.model, x, self.targets, totals=totals)
        be.check_finite(failed, loss, self.model.flat_grads, be.asarray([STEP]))
        return replace(self, totals=totals, failed=failed).results(self.model.flat_grads)

    def results(self, grads: Any) -> Results:
        """The gradients by name, and the totals."""
        host, start, results = self.be.to_numpy(grads), 0, {}
        for key, parameter in self.model.named_parameters():
            results[key] = host[start : start + parameter.size]
            start += parameter.size
        others = {"totals": self.totals, "failed_step": self.failed}
        return results | {key: self.be.to_numpy(array) for key, array in others.items()}


def assert_same(found: Results, wanted: Results) -> None:
    """Within the rounding of sums; float32 leaves room for a near tie that falls otherwise."""
    unit = 1e-4 if found["conv1.weight"].dtype == np.float32 else 2e-14
    for key, value in wanted.items():
        bound = unit * np.abs(value).max()
        np.testing.assert_allclose(found[key], value, rtol=0, atol=bound, err_msg=key)


# --- the general path's gradients ---------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("sizes", "count", "pictures"),
    [
        (LENET, 1, noise),
        (LENET, 2, strokes),
        (LENET, 7, noise),
        (LENET, 64, strokes),
        (LENET, 131, noise),
        (LENET, 9, flat),
        (LEAST, 1, noise),
        (LEAST, 9, strokes),
        (ONE, 3, noise),
        (MOST, 5, noise),
        (MOST, 33, strokes),
        (BETWEEN, 6, noise),
        (BETWEEN, 129, flat),
    ],
    ids=label,
)
def test_gradients_are_those_of_the_operations(
    sizes: LeNet5Sizes, count: int, pictures: Any, dtype: str, name: str
) -> None:
    batch = Batch.of(gpucnn.get_backend(name, dtype), sizes, count, pictures)
    found, wanted = batch.fused(), batch.general()
    assert_same(found, wanted)
    assert found["failed_step"] == 0
    assert np.any(found["conv1.weight"]) or sizes is ONE


@pytest.mark.parametrize(("sizes", "count"), [(LENET, 257), (LEAST, 300)], ids=label)
def test_large_batches(sizes: LeNet5Sizes, count: int, be: Backend) -> None:
    batch = Batch.of(be, sizes, count, strokes)
    assert batch.step.samples_per_block == 8
    assert_same(batch.fused(), batch.general())


@pytest.mark.parametrize("count", [3, 40])
def test_gradients_are_those_of_numpy(count: int, be: Backend) -> None:
    batch = Batch.of(be, LENET, count, strokes)
    here = Batch.of(gpucnn.get_backend("numpy", "float64"), LENET, count, strokes)
    assert_same(batch.fused(), here.general())


def test_the_number_of_samples_a_block_changes_nothing(
    be: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batch.of(be, BETWEEN, 13)
    with monkeypatch.context() as patch:
        patch.setattr(lenet5, "LARGE_BATCH", 1)
        step = batch.step
    assert step.samples_per_block == 8
    wanted = batch.fused()
    batch.totals[...] = be.asarray([10.0, 20.0], np.float64)
    assert_same(batch.fused(step), wanted)


def test_units_that_are_dead(be: Backend) -> None:
    """Of every layer some; at last all of a layer, behind which no gradient comes through."""
    batch = Batch.of(be, LENET, 5)
    for key, size in (("conv1", 6), ("conv2", 16), ("fc1", 120), ("fc2", 84)):
        batch.put(f"{key}.bias", np.where(np.arange(size) % 3 == 1, -50, 0.05))
    assert_same(batch.fused(), batch.general())
    for key, before in (("fc2", "fc1.weight"), ("conv2", "conv1.weight")):
        batch.put(f"{key}.bias", -50)
        batch.totals[...] = be.asarray([10.0, 20.0], np.float64)
        found = batch.fused()
        assert_same(found, batch.general())
        assert not found[before].any()


def one_tap(*shape: int) -> NDArray[Any]:
    """Filters that pass on what lies under their middle."""
    weight = np.zeros((*shape, 5, 5))
    weight[..., 2, 2] = 1
    return weight


@pytest.mark.parametrize("others", [0, 0.125])
def test_ties_go_to_the_first_element(others: float, be: Backend) -> None:
    """Where equal outputs have unequal surroundings; a window of zeros passes no gradient.

    conv1 passes on pixels; with ``others``, gradients reach its zeros from conv2's other taps.
    """
    batch = Batch.of(be, LEAST, 6)
    batch.images[...] = be.asarray(be.to_numpy(batch.images) // 128 * 128, np.uint8)
    batch.shift[...] = 0
    for key, shape in (("conv1", (2, 1)), ("conv2", (4, 2))):
        batch.put(f"{key}.weight", one_tap(*shape))
        batch.put(f"{key}.bias", 0)
    batch.put("conv2.weight", np.maximum(one_tap(4, 2), others))
    batch.images[0, :, :, 7:] = 0
    assert_same(batch.fused(), batch.general())


def test_a_nan_wins_wherever_it_is_in_a_window(be: Backend) -> None:
    """All else is minus infinity, which a ReLU would make a zero like any other."""
    batch = Batch.of(be, LEAST, 2)
    batch.shift[...] = 0
    batch.put("conv1.weight", np.where(one_tap(2, 1) > 0, -np.inf, 0))
    for place in range(4):
        pixels = np.full(batch.images.shape, 255, np.uint8)
        pixels[:, :, place // 2 :: 2, place % 2 :: 2] = 0  # whose product is NaN
        batch.images[...] = be.asarray(pixels, np.uint8)
        batch.totals[...] = batch.failed[...] = 0
        found = batch.fused()
        assert found["failed_step"] == STEP
        assert np.isnan(found["totals"][0])


# --- loss and metrics ---------------------------------------------------------------------------


def test_totals_add_up(be: Backend) -> None:
    batch = Batch.of(be, LENET, 11)
    first = batch.fused()["totals"] - [10, 20]
    second = batch.fused()["totals"] - [10, 20]
    np.testing.assert_allclose(second, 2 * first, rtol=1e-12)
    assert first[0] > 0


def test_of_equal_scores_the_first_counts(be: Backend) -> None:
    batch = Batch.of(be, BETWEEN, 9)
    batch.put("fc3.weight", 0)
    for best, bias in ((0, np.zeros(7)), (2, np.array([-9, -1, 5, -5, 5, 0, 5.0]))):
        batch.put("fc3.bias", bias)
        batch.totals[...] = 0
        right = np.count_nonzero(be.to_numpy(batch.targets) == best)
        assert batch.fused()["totals"][1] == right


def test_scores_far_apart_overflow_nothing(be: Backend) -> None:
    batch = Batch.of(be, LENET, 4)
    batch.put("fc3.bias", np.arange(10) * 400 - 2000)
    found = batch.fused()
    assert_same(found, batch.general())
    assert found["failed_step"] == 0


# --- what is not finite -------------------------------------------------------------------------

PARAMETERS = [name for name, _ in lenet_of(LEAST).named_parameters()]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("parameter", PARAMETERS)
def test_weights_that_are_not_finite(parameter: str, value: float, be: Backend) -> None:
    """A weight of minus infinity can end in a ReLU: then nothing is wrong, on either path."""
    batch = Batch.of(be, BETWEEN, 5)
    weights = batch.weights(parameter)
    weights.reshape(-1)[weights.size // 3] = value
    batch.put(parameter, weights)
    with np.errstate(all="ignore"):
        found, wanted = batch.fused(), batch.general()
    assert found["failed_step"] == wanted["failed_step"]
    if value != -np.inf:
        assert found["failed_step"] == STEP
    if np.isnan(value):
        assert np.isnan(found["totals"][0])


def test_the_first_step_that_failed_stays(be: Backend) -> None:
    batch = Batch.of(be, LEAST, 3)
    batch.failed[...] = 5
    batch.put("fc3.bias", np.nan)
    assert batch.fused()["failed_step"] == 5


SMALL, LARGE = 1e-30, 1e30
ALONE: dict[str, dict[str, Any]] = {
    "loss": {"fc3.bias": [3e38, -3e38]},
    "fc2.weight": {"fc1.bias": 1e15, "fc2.weight": 0, "fc2.bias": SMALL, "fc3.weight": LARGE},
    "conv2.weight": {
        "conv1.bias": 1e15, "conv2.weight": 0, "conv2.bias": SMALL, "fc1.weight": LARGE,
    },
}  # fmt: skip


@pytest.mark.parametrize("infinite", ALONE)
def test_one_thing_alone_overflows(infinite: str, name: str) -> None:
    """The loss, or what follows from numbers that do it no harm: each is looked at."""
    batch = Batch.of(gpucnn.get_backend(name, "float32"), LEAST, 3)
    batch.targets[...] = 1
    for key, value in ALONE[infinite].items():
        signs = np.resize([1.0, -1.0], (2, 1)) if key == "fc3.weight" else 1.0
        batch.put(key, np.asarray(value) * signs)
    found, wanted = batch.fused(), batch.general()
    assert found["failed_step"] == wanted["failed_step"] == STEP
    strange = [key for key, values in found.items() if not np.isfinite(values).all()]
    assert strange == ["totals" if infinite == "loss" else infinite]


@pytest.mark.parametrize("target", [-1, 7, 2**40, -(2**63)])
def test_targets_outside_the_classes(target: int, be: Backend) -> None:
    batch = Batch.of(be, BETWEEN, 6)
    batch.targets[...] = be.asarray(np.array([0, 1, 2, 3, target, 4]))
    found = batch.fused()
    assert found["failed_step"] == STEP
    assert found["totals"][1] == batch.general()["totals"][1]
    assert np.isnan(found["totals"][0])


@pytest.mark.parametrize("index", [-1, 5, 2**40])
def test_indices_outside_the_images(index: int, be: Backend) -> None:
    batch = Batch.of(be, BETWEEN, 6)
    batch.indices[...] = be.asarray(np.array([0, 1, 2, 3, index, 4]))
    found = batch.fused()
    assert found["failed_step"] == STEP
    assert np.isnan(found["totals"][0])
    assert found["totals"][1] <= 20 + 5  # a row of NaN is never right


# --- how it runs --------------------------------------------------------------------------------


@pytest.fixture(params=[("reverse", 0), ("random", 1)], ids=str)
def checked(request: pytest.FixtureRequest, emulator: Any) -> Iterator[None]:
    order, seed = request.param
    with emulator.checking(order=order, seed=seed):
        yield


@pytest.mark.usefixtures("checked")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("sizes", "count"), [(LENET, 1), (LENET, 5), (LEAST, 6), (MOST, 2), (BETWEEN, 9)], ids=label
)
@pytest.mark.parametrize("large", [False, True])
def test_kernels_are_free_of_faults(
    sizes: LeNet5Sizes, count: int, large: bool, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No access out of bounds, no race, no uninitialised read; large: as for large batches."""
    if large:
        monkeypatch.setattr(lenet5, "LARGE_BATCH", 0)
        monkeypatch.setattr(lenet5, "MAX_PARTS", 2)
    batch = Batch.of(gpucnn.get_backend("emulated", dtype), sizes, count, strokes)
    found = batch.fused()
    here = Batch.of(gpucnn.get_backend("numpy", dtype), sizes, count, strokes)
    assert_same(found, here.general())


@pytest.mark.usefixtures("checked")
def test_bad_labels_and_indices_read_nothing() -> None:
    batch = Batch.of(gpucnn.get_backend("emulated"), BETWEEN, 6)
    batch.indices[...] = batch.be.asarray(np.array([0, 1, -1, 3, 2**40, 5]))
    batch.targets[...] = batch.be.asarray(np.array([0, 2**40, 2, -3, 32, 7]))
    assert batch.fused()["failed_step"] == STEP


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_in_any_order(dtype: str, emulator: Any) -> None:
    batch = Batch.of(gpucnn.get_backend("emulated", dtype), LENET, 5, strokes)
    step = batch.step

    def bits() -> list[bytes]:
        batch.totals[...] = 0
        return [value.tobytes() for value in batch.fused(step).values()]

    assert bits() == bits()
    seen = []
    for order, seed in (("forward", 0), ("reverse", 0), ("random", 1), ("random", 2)):
        with emulator.checking(order=order, seed=seed):
            seen.append(bits())
    assert all(one == seen[0] for one in seen)


def test_a_step_is_four_launches(be: Backend, launched: list[str]) -> None:
    batch = Batch.of(be, LENET, 3)
    step = batch.step
    launched.clear()
    step.set_grads(StepArrays(**batch.arguments))
    assert launched == [f"lenet5_{name}" for name in NAMES]


def test_a_recorded_step_goes_with_what_lies_in_memory(be: Backend) -> None:
    """It allocates nothing: a graph's replays work on the arrays that were there at first."""
    batch, wanted = Batch.of(be, BETWEEN, 6), Batch.of(be, BETWEEN, 6, strokes)
    step, arguments = batch.step, batch.arguments
    step.set_grads(StepArrays(**arguments))  # what is compiled at the first launch is not recorded
    stream = be._xp.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        step.set_grads(StepArrays(**arguments))
        graph = stream.end_capture()
    batch.totals[...] = be.asarray([10.0, 20.0], np.float64)
    batch.images[...] = wanted.images
    be.synchronize()
    with stream:
        graph.launch()
        stream.synchronize()
    assert_same(batch.results(batch.grads), wanted.general())


# --- what is refused ----------------------------------------------------------------------------


def test_parameters_that_do_not_begin_at_a_pack(be: Backend) -> None:
    batch = Batch.of(be, LEAST, 3)
    moved = be.zeros((batch.model.size + 1,))[1:]
    with pytest.raises(ArrayError, match="parameters must start at a multiple of 16 bytes"):
        batch.step.set_grads(StepArrays(**batch.arguments | {"parameters": moved}))


def test_arguments_that_do_not_fit(be: Backend) -> None:
    batch = Batch.of(be, LEAST, 3)
    step = batch.step
    for key, array in batch.arguments.items():
        wrong = array[:, :, 1:] if key == "images" else be.zeros((array.size + 1,), array.dtype)
        with pytest.raises((ShapeError, ArrayError), match=rf"^LeNet5\.set_grads: {key} must"):
            step.set_grads(StepArrays(**batch.arguments | {key: wrong}))
        other = be.asarray(np.ones(array.shape, np.int32), "int32")
        with pytest.raises(ArrayError, match=rf"^LeNet5\.set_grads: {key} must be {array.dtype}"):
            step.set_grads(StepArrays(**batch.arguments | {key: other}))


@pytest.mark.parametrize(
    "change",
    [
        {"channels": 3},
        {"height": 32, "width": 32},
        {"channels1": 8},
        {"channels1": 5},
        {"channels2": 20},
        {"channels2": 14},
        {"features1": 132},
        {"features1": 118},
        {"features2": 100},
        {"features2": 85},
        {"classes": 33},
    ],
    ids=str,
)
def test_sizes_outside_the_limits(change: dict[str, int], be: Backend) -> None:
    sizes = replace(LENET, **change)
    assert sizes_of(lenet_of(sizes)) == sizes
    fault = sizes.unsupported()
    assert fault is not None
    assert fused_by(be, sizes, 8) is None
    with pytest.raises(ShapeError, match="LeNet5: "):
        LeNet5(be, sizes, 8)  # type: ignore[arg-type]


def test_sizes_within_the_limits(be: Backend) -> None:
    for sizes in (LENET, ONE, MOST, BETWEEN):
        assert sizes.unsupported() is None
        assert sizes.parameters == lenet_of(sizes).size
        assert fused_by(be, sizes, 1) is not None
        assert fused_by(gpucnn.get_backend("numpy"), sizes, 1) is None
    assert LENET.parameters == 61_706
    with pytest.raises(ShapeError, match="the batch must have at least 1 sample, got 0"):
        LeNet5(be, LENET, 0)  # type: ignore[arg-type]


class Doubled(Conv2d):
    """A convolution that is not quite one."""


@pytest.mark.parametrize(
    "others",
    [
        {"conv1": Conv2d(1, 6, 5, padding=2, bias=False)},
        {"conv1": Doubled(1, 6, 5, padding=2)},
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
def test_nearly_a_lenet(others: dict[str, Layer]) -> None:
    model = lenet_of(LENET, **others)
    assert sizes_of(model) is None


def test_other_ways_to_say_the_same() -> None:
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
    # At other sizes it does change something.
    odd = replace(LENET, height=26, width=26)
    last = Linear(16 * 5 * 5, 120)
    model = lenet_of(odd, pool2=MaxPool2d(2, ceil_mode=True), fc1=last)
    assert sizes_of(model) is None
