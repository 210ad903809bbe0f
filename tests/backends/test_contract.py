"""Arguments that the contract refuses, with which messages, and the conversions of arrays.

The arguments of one case of each operation are valid; the tests replace one of them at a time. The
checks are the same code for all backends, which must not override a public method (tested below),
so those of settings run on NumPy only, and those of arrays once on each backend.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from available import backend_or_skip

from gpucnn.backends import BACKENDS, Backend, get_backend
from gpucnn.backends.contract.operations import FAMILIES
from gpucnn.backends.cuda import CudaBackend
from gpucnn.backends.numpy import NumpyBackend
from gpucnn.errors import ArrayError, DataError, OutOfMemoryError, SettingError, ShapeError
from gpucnn.testing import naive
from gpucnn.testing.case import (
    Case,
    array_arguments,
    reference,
    saved_arguments,
    to_backend,
    widened,
)
from gpucnn.testing.cases import CASES
from gpucnn.testing.cases.activations import ELEMENTWISE
from gpucnn.testing.comparison import assert_close


@dataclass(frozen=True, eq=False)
class Call:
    """A valid call of an operation, forward or backward."""

    op: str
    case: Case

    def __str__(self) -> str:
        return self.op

    def arguments(self, backend: Backend) -> dict[str, Any]:
        if self.op != self.case.op:
            return saved_arguments(backend, self.case)
        return to_backend(backend, self.case.arrays()) | self.case.options

    def __call__(self, backend: Backend, **replaced: Any) -> Any:
        return getattr(backend, self.op)(**self.arguments(backend) | replaced)


def calls() -> Iterator[Call]:
    """Yield a call of each operation, from the first case with the most arrays."""
    for op in dict.fromkeys(case.op for case in CASES):
        case = max((c for c in CASES if c.op == op), key=lambda c: len(c.arrays()))
        yield Call(op, case)
        if case.has_backward:
            yield Call(f"{op}_backward", case)


def parameters(call: Call) -> list[str]:
    return list(inspect.signature(getattr(Backend, call.op)).parameters)


CALLS = list(calls())
every_call = pytest.mark.parametrize("call", CALLS, ids=str)


def calls_with(*names: str) -> pytest.MarkDecorator:
    """The calls that have a parameter of one of these names, each with that name."""
    found = [(call, name) for call in CALLS for name in names if name in parameters(call)]
    return pytest.mark.parametrize(
        ("call", "name"), found, ids=[f"{call}-{name}" for call, name in found]
    )


@pytest.fixture(scope="session")
def numpy32() -> Backend:
    return get_backend("numpy")


# --- arrays -------------------------------------------------------------------------------------


@every_call
def test_invalid_arrays_are_refused(call: Call, backend32: Backend) -> None:
    """Lists, other dtypes and empty axes, for each array argument."""
    backend = backend32
    arguments = call.arguments(backend)
    call(backend)

    def refuses(error: type[Exception], message: str, **replaced: Any) -> None:
        with pytest.raises(error, match=f"^{call}: {message}"):
            getattr(backend, call.op)(**arguments | replaced)

    for name, array in array_arguments(arguments).items():
        message = rf"{name} must be a .*; use backend\.asarray$"
        refuses(ArrayError, message, **{name: backend.to_numpy(array).tolist()})
        for other in {"float32", "float64", "int64", "int32", "uint8"} - {str(array.dtype)}:
            converted = backend.asarray(backend.to_numpy(array).astype(other), other)
            refuses(ArrayError, f"{name} must be {array.dtype}, got {other}$", **{name: converted})
        for axis in range(array.ndim):
            empty = array[(slice(None),) * axis + (slice(0),)]
            shape = re.escape(str(tuple(empty.shape)))
            refuses(ShapeError, rf"{name} must have shape .*, got {shape}$", **{name: empty})


def refused_or_correct(call: Call, backend: Backend, replaced: dict[str, Any]) -> bool:
    """Return whether the operation refused; if it did not, its results must be correct.

    An element-wise operation takes any shape, and a kernel may have any size, so another shape is
    invalid only if it does not match the other arguments.
    """
    arguments = call.arguments(backend) | replaced
    given = {k: backend.to_numpy(v) for k, v in array_arguments(arguments).items()}
    refusal = None
    try:
        results = getattr(backend, call.op)(**arguments)
    except (ShapeError, SettingError) as error:
        refusal = str(error)
    if refusal is not None:
        names = "|".join(parameters(call))
        assert re.search(rf"^{call}: .*\b({names})\b", refusal), refusal
        return True
    loops = arguments | widened(given)
    wanted = getattr(naive, call.op)(**loops)
    if results is None:
        results, wanted = arguments[next(iter(given))], loops[next(iter(given))]
    pairs = zip(results, wanted, strict=True) if isinstance(wanted, tuple) else [(results, wanted)]
    for actual, reference_ in pairs:
        host = np.asarray(actual) if isinstance(actual, bool) else backend.to_numpy(actual)
        terms = max((array.size for array in given.values()), default=1)
        assert_close(host, np.asarray(reference_), terms=terms, what=call.op)
    return False


@every_call
def test_other_shapes_are_refused_or_computed(call: Call, backend32: Backend) -> None:
    """An axis more, an axis less, and an element more along each axis."""
    backend = backend32
    for name, array in array_arguments(call.arguments(backend)).items():
        refused_or_correct(call, backend, {name: array[None]})
        if array.ndim:
            refused_or_correct(call, backend, {name: array[0, ...]})
        for axis in range(array.ndim):
            widths = [(0, int(axis == other)) for other in range(array.ndim)]
            longer = np.pad(backend.to_numpy(array), widths, mode="edge")
            refused_or_correct(call, backend, {name: backend.asarray(longer, array.dtype)})


def test_most_operations_refuse_another_axis(numpy32: Backend) -> None:
    """The test above would pass if an operation accepted everything."""
    refused = set()
    for call in CALLS:
        arrays = array_arguments(call.arguments(numpy32))
        if all(refused_or_correct(call, numpy32, {name: a[None]}) for name, a in arrays.items()):
            refused.add(call.op)
    any_shape = {*ELEMENTWISE, "softmax", "flatten", "linear", "read_channels", "all_finite"}
    any_shape |= {"dropout", "dropout_backward", "bernoulli", "layer_norm"}
    any_shape |= {call.op for call in CALLS if "pos_weight" in parameters(call)}  # is broadcast
    assert {call.op for call in CALLS} - refused <= any_shape


def test_arrays_without_axes(backend32: Backend) -> None:
    one = backend32.asarray(np.float32(3))
    for op in ELEMENTWISE:
        assert getattr(backend32, op)(one).shape == ()
    with pytest.raises(ShapeError, match=r"^flatten: input must have shape"):
        backend32.flatten(one)


@calls_with("input_shape")
def test_invalid_input_shapes(call: Call, name: str, numpy32: Backend) -> None:
    shape = call.arguments(numpy32)[name]
    wrong: list[tuple[int, ...]] = [(), (0, *shape[1:]), (*shape[:-1], 0), (*shape[:-1], -3)]
    wrong += [] if call.op == "flatten_backward" else [shape[1:], (*shape, 1)]
    for replaced in wrong:
        with pytest.raises(ShapeError, match=f"^{call}: {name} must be .* positive sizes, got"):
            call(numpy32, **{name: replaced})
    # The gradient of the last step has no axis of steps.
    for axis in (0, 2) if call.op == "last_step_backward" else (0, 1):
        longer = tuple(size + 5 * (axis == at) for at, size in enumerate(shape))
        with pytest.raises(ShapeError, match=f"^{call}: grad must have shape"):
            call(numpy32, **{name: longer})


@calls_with("out")
def test_invalid_out(call: Call, name: str, backend32: Backend) -> None:
    backend, grads = backend32, reference(call.case).grads
    weight, bias = (backend.empty(grads[which].shape) for which in ("weight", "bias"))
    wrong: list[tuple[type[Exception], str, Any]] = [
        (ArrayError, r"out\[0\] must be a", ([1.0], bias)),
        (ArrayError, r"out\[0\] must be float32", (backend.empty(weight.shape, "float64"), bias)),
        (ShapeError, r"out\[0\] must have shape", (backend.empty((2, *weight.shape)), bias)),
        (ArrayError, r"out\[1\] must be float32", (weight, backend.empty(bias.shape, "int64"))),
        (ShapeError, r"out\[1\] must have shape", (weight, backend.empty((bias.shape[0] + 1,)))),
    ]
    for error, message, out in wrong:
        with pytest.raises(error, match=f"^{call}: {message}"):
            call(backend, **{name: out})


# --- settings -----------------------------------------------------------------------------------

NOT_PAIRS: list[Any] = [-1, 2.5, "x", (1, 2, 3), (), (-1,), (2.5,), (1, -1), (1, 2.0), None]


@calls_with("stride", "dilation", "kernel_size", "padding", "output_padding")
def test_invalid_windows(call: Call, name: str, numpy32: Backend) -> None:
    values = list(NOT_PAIRS)
    if name in ("stride", "dilation", "kernel_size"):
        values += [0, (1, 0)]
    if name == "stride" and "kernel_size" in parameters(call):
        values.remove(None)  # the default of a pooling: the kernel size
    if name == "padding":
        values += [((0, 0, 0), 0), ((0, -1), 0), (((0, 0), 0), 0), ("same", 0), ((), 0)]
    for value in values:
        with pytest.raises(SettingError, match=rf"\b{name} must be"):
            call(numpy32, **{name: value})


def test_one_integer_in_a_sequence_counts_for_both_axes(numpy32: Backend) -> None:
    """As in PyTorch."""
    be, rng = numpy32, np.random.default_rng(0)
    x, w = be.asarray(rng.normal(size=(2, 3, 9, 8))), be.asarray(rng.normal(size=(3, 3, 3, 3)))

    def outputs(one: Any, two: Any) -> list[Any]:
        return [
            be.conv2d(x, w, stride=two, padding=one, dilation=two),
            be.conv_transpose2d(x, w, stride=two, padding=one, output_padding=one, dilation=two),
            be.max_pool2d(x, two, stride=one, padding=one, dilation=two),
            be.avg_pool2d(x, two, padding=one),
        ]

    for one, two in (((1,), (2,)), ([1], [2]), ((np.int64(1),), (np.int8(2),))):
        for actual, wanted in zip(outputs(one, two), outputs(1, 2), strict=True):
            np.testing.assert_array_equal(actual, wanted)


@calls_with("groups")
def test_invalid_groups(call: Call, name: str, numpy32: Backend) -> None:
    """7 does not divide the number of channels of the case."""
    for value in (0, -1, 2.5, "x", (1, 1), None, 7):
        with pytest.raises(SettingError, match=rf"^{call}: {name} "):
            call(numpy32, **{name: value})


def test_groups_must_be_an_integer(numpy32: Backend) -> None:
    """2.5 divides 5."""
    input, weight = numpy32.zeros((1, 5, 3, 3)), numpy32.zeros((5, 2, 1, 1))
    with pytest.raises(SettingError, match="groups"):
        numpy32.conv2d(input, weight, groups=2.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("stride", [2, (1, 2), (2, 1)])
def test_same_padding_needs_a_stride_of_one(stride: Any, numpy32: Backend) -> None:
    input, weight = numpy32.zeros((1, 1, 4, 4)), numpy32.zeros((1, 1, 3, 3))
    with pytest.raises(SettingError, match='padding "same" needs a stride of 1'):
        numpy32.conv2d(input, weight, stride=stride, padding="same")
    with pytest.raises(SettingError, match='padding "same" needs a stride of 1'):
        numpy32.conv2d_backward(input, input, weight, stride=stride, padding="same")


@calls_with("kernel_size")
def test_padding_larger_than_half_of_the_kernel(call: Call, name: str, numpy32: Backend) -> None:
    if "padding" not in parameters(call):
        return  # Lp pooling has none
    for padding in (2, (0, 2), (2, 1)):
        with pytest.raises(SettingError, match="is more than half of the kernel"):
            call(numpy32, **{name: 3, "padding": padding})


@calls_with("kernel_size")
def test_windows_that_do_not_fit(call: Call, name: str, numpy32: Backend) -> None:
    with pytest.raises(ShapeError, match="a window that spans 50 does not fit"):
        call(numpy32, **{name: 50})


def test_kernels_that_do_not_fit(numpy32: Backend) -> None:
    zeros = numpy32.zeros
    with pytest.raises(ShapeError, match="a kernel that spans 7 does not fit"):
        numpy32.conv2d(zeros((1, 1, 6, 9)), zeros((1, 1, 4, 2)), dilation=2)
    with pytest.raises(ShapeError, match="leaves no output"):
        numpy32.conv_transpose2d(zeros((1, 1, 1, 1)), zeros((1, 1, 2, 2)), None, 1, 1)
    with pytest.raises(ShapeError, match="output_padding 2 must be less than the stride"):
        numpy32.conv_transpose2d(
            zeros((1, 1, 3, 3)), zeros((1, 1, 2, 2)), stride=2, output_padding=2
        )


def test_windows_of_padding_only(numpy32: Backend) -> None:
    """Dilated kernel elements can lie on both sides of a small input."""
    with pytest.raises(ShapeError, match="covers only padding of the input"):
        numpy32.max_pool2d(numpy32.zeros((1, 1, 1, 1)), 2, 1, 1, 2)


REFUSED: list[tuple[str, list[Any]]] = [
    ("norm_type", [3, 0, -1, 1.5, "2"]),
    ("reduction", ["avg", "", None, 1]),
    ("divisor_override", [0, 2.5, "2", np.int64(0)]),
    ("dim", [9, -9, 1.5, "x"]),
    ("ignore_index", [1.5, "x", None, True]),
    ("label_smoothing", [-0.1, 1.1, "x", None, np.nan]),
]


@pytest.mark.parametrize(("setting", "values"), REFUSED, ids=lambda value: str(value))
def test_other_invalid_settings(setting: str, values: list[Any], numpy32: Backend) -> None:
    found = [call for call in CALLS if setting in parameters(call)]
    assert found
    for call in found:
        for value in values:
            with pytest.raises(SettingError, match=rf"\b{setting}\b"):
                call(numpy32, **{setting: value})


def test_integers_of_numpy_are_integers(numpy32: Backend) -> None:
    x = numpy32.asarray(np.arange(24.0).reshape(1, 2, 3, 4))
    for axis in (1, -1):
        np.testing.assert_array_equal(
            numpy32.softmax(x, np.int64(axis)),  # type: ignore[arg-type]
            numpy32.softmax(x, axis),
        )
    np.testing.assert_array_equal(
        numpy32.avg_pool2d(x, 2, divisor_override=np.int8(3)),  # type: ignore[arg-type]
        numpy32.avg_pool2d(x, 2, divisor_override=3),
    )


@pytest.mark.parametrize("dim", [2, -3])
def test_the_first_axes_that_do_not_exist(dim: int, numpy32: Backend) -> None:
    scores = numpy32.zeros((2, 3))
    with pytest.raises(SettingError, match=f"^softmax: dim {dim} is not an axis of a 2-dim"):
        numpy32.softmax(scores, dim)
    with pytest.raises(SettingError, match=f"^softmax_backward: dim {dim} is not an axis"):
        numpy32.softmax_backward(scores, scores, dim)


@pytest.mark.parametrize(
    "shape", [(4,), (1, 5), (3, 4), (2, 3, 1), (4, 1), (1, 2, 3, 4), (3, 1, 2)]
)
def test_pos_weights_that_do_not_fit(shape: tuple[int, ...], numpy32: Backend) -> None:
    """(3, 1, 2) is not supported: the axes that it has are not adjacent."""
    scores, weight = numpy32.zeros((4, 3, 2) if len(shape) < 4 else (2, 3, 4)), numpy32.zeros(shape)
    for op in ("binary_cross_entropy_with_logits", "binary_cross_entropy_with_logits_backward"):
        with pytest.raises(ShapeError, match=rf"^{op}: pos_weight must have the shape of adjacent"):
            getattr(numpy32, op)(scores, scores, pos_weight=weight)


def test_scores_without_classes(numpy32: Backend) -> None:
    target = numpy32.asarray([1])
    with pytest.raises(ShapeError, match=r"^cross_entropy: input must have shape \(N, C\) or"):
        numpy32.cross_entropy(numpy32.zeros((4,)), target)


# --- labels and orders --------------------------------------------------------------------------


@pytest.mark.parametrize("label", [-1, 4, 100])
def test_labels_outside_the_classes(label: int, backend: Backend) -> None:
    scores, target = backend.zeros((3, 4)), backend.asarray([0, 3, label])
    loss, totals = backend.zeros(()), backend.zeros((2,), "float64")
    calls: dict[str, Callable[[], Any]] = {
        "cross_entropy": lambda: backend.cross_entropy(scores, target),
        "cross_entropy_backward": lambda: backend.cross_entropy_backward(scores, target),
        "one_hot": lambda: backend.one_hot(target, 4),
        "add_metrics": lambda: backend.add_metrics(totals, loss, scores, target),
    }
    if backend.name != "numpy":
        # A check would wait for the device; instead the loss becomes NaN, which stops training.
        for op in ("cross_entropy", "cross_entropy_backward", "one_hot"):
            values = np.atleast_1d(backend.to_numpy(calls[op]()))
            is_nan = [False, False, True] if values.ndim == 2 else [True]
            np.testing.assert_array_equal(np.isnan(values.reshape(len(is_nan), -1)).any(1), is_nan)
        calls["add_metrics"]()
        correct = float(backend.to_numpy(totals)[1])
        assert correct == 1  # the first of equal scores is the predicted class: label 0 is correct
        return
    for op, call in calls.items():
        message = rf"^{op}: target\[2\] is {label}, outside the 4 classes$"
        with pytest.raises(DataError, match=message):
            call()


def test_labels_outside_the_classes_of_maps(backend: Backend) -> None:
    scores, target = backend.zeros((2, 4, 3)), np.zeros((2, 3), np.int64)
    target[1, 2], target[0, 1] = 7, -100
    given = backend.asarray(target)
    if backend.name == "numpy":
        with pytest.raises(DataError, match=r"target\[1, 2\] is 7, outside the 4 classes$"):
            backend.cross_entropy(scores, given)
    else:
        losses = backend.to_numpy(backend.cross_entropy(scores, given, "none"))
        wanted = np.full((2, 3), np.log(4.0))
        wanted[1, 2], wanted[0, 1] = np.nan, 0
        np.testing.assert_allclose(losses, wanted, rtol=1e-6)


@pytest.mark.parametrize("classes", [4, 70])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.5}], ids=["plain", "smoothed"])
def test_a_mean_over_no_target_is_nan_and_its_gradient_0(
    classes: int, options: dict[str, float], backend: Backend
) -> None:
    """So in PyTorch if all targets are ignored; there, weights of 0 make the gradient NaN too."""
    scores = backend.asarray(np.random.default_rng(0).normal(size=(3, classes)))
    weight = np.ones(classes)
    weight[2] = 0
    cases: list[tuple[list[int], dict[str, Any]]] = [
        ([1, 1, 1], {"ignore_index": 1}),
        ([-100] * 3, {}),
        ([2, 2, 2], {"weight": backend.asarray(weight)}),
    ]
    for labels, more in cases:
        target, given = backend.asarray(labels), {**more, **options}
        assert np.isnan(backend.to_numpy(backend.cross_entropy(scores, target, **given)))
        grads = backend.to_numpy(backend.cross_entropy_backward(scores, target, **given))
        np.testing.assert_array_equal(grads, 0)
        if "weight" not in more:
            assert backend.to_numpy(backend.cross_entropy(scores, target, "sum", **given)) == 0


@pytest.mark.parametrize(("batch", "count"), [(-1, 4), (2, 4), (3, 1)])
def test_steps_beyond_the_order_or_the_table(batch: int, count: int, backend: Backend) -> None:
    if backend.name != "numpy":
        pytest.skip("a check would wait for the device: tests/backends/cuda/test_loader.py")
    counter, order, labels = (backend.asarray(np.arange(n)) for n in (2, 9, 9))
    table, rates = backend.zeros((3, 1)), backend.zeros((1,))
    indices, target = (backend.zeros((count,), np.int64) for _ in range(2))
    counter[...] = batch
    with pytest.raises(ShapeError, match=rf"^begin_step: counter\[0\] is {batch}, but "):
        backend.begin_step(counter, order, labels, table, indices, target, rates, 4)


@pytest.mark.parametrize("index", [-1, 3, 100])
def test_indices_outside_the_images(index: int, backend: Backend) -> None:
    if backend.name != "numpy":
        pytest.skip("a check would wait for the device: tests/backends/cuda/test_loader.py")
    indices, one = backend.asarray([2, index]), backend.asarray([1.0])
    images, labels = backend.zeros((3, 1, 2, 2), np.uint8), backend.asarray([4, 5, 6])
    for op, call in {
        "gather_images": lambda: backend.gather_images(images, indices, one, one),
        "gather_labels": lambda: backend.gather_labels(labels, indices),
    }.items():
        with pytest.raises(DataError, match=rf"^{op}: indices\[1\] is {index}, outside the 3 "):
            call()


# --- backends -----------------------------------------------------------------------------------


def test_backends_are_got_by_name(backend_name: str) -> None:
    for dtype in ("float32", "float64", np.float64):
        backend = get_backend(backend_name, dtype)
        assert backend.name == backend_name
        assert backend.dtype == np.dtype(dtype)
        assert repr(backend) == f"<{backend_name} backend, {np.dtype(dtype)}>"
        assert get_backend(backend) is backend
    assert get_backend(backend_name).dtype == np.float32
    assert get_backend().name in BACKENDS


@pytest.mark.parametrize("name", ["nump", "Numpy", "numpy "])
def test_the_error_of_a_misspelt_backend_suggests_a_name(name: str) -> None:
    message = f"^unknown backend {name!r}: did you mean 'numpy'\\?$"
    with pytest.raises(SettingError, match=message):
        get_backend(name)


def test_the_error_of_an_unknown_backend_lists_the_known_ones() -> None:
    with pytest.raises(SettingError, match=r"^unknown backend 'zzz': expected one of .*\bnumpy\b"):
        get_backend("zzz")


@pytest.mark.parametrize("dtype", ["float16", "int64", "complex64", "object", "nonsense", ">f4"])
def test_other_precisions_are_refused(dtype: str, backend_name: str) -> None:
    with pytest.raises(SettingError, match=f"^dtype must be float32 or float64, got '{dtype}'$"):
        get_backend(backend_name, dtype)


def test_a_backend_that_lacks_a_method_cannot_be_instantiated(backend64: Backend) -> None:
    for method in Backend.__abstractmethods__:
        lacking = type("Lacking", (type(backend64),), {method: getattr(Backend, method)})
        with pytest.raises(TypeError, match=rf"abstract method '?{method}\b"):
            lacking()


def test_every_operation_has_an_abstract_method_of_its_own() -> None:
    """Element-wise activations share one, which gets their name."""
    activations = ("relu", "leaky_relu", "elu", "gelu", "sigmoid", "silu", "softplus", "tanh")
    shared = {
        **dict.fromkeys(activations, "_activation"),
        **dict.fromkeys((f"{name}_backward" for name in activations), "_activation_backward"),
        "dropout_backward": "_dropout",
        "dropout2d_backward": "_dropout2d",
        "flatten": "_reshape",
        "flatten_backward": "_reshape",
        "layer_norm": "_group_norm",
        "layer_norm_backward": "_group_norm_backward",
        "sum_pool2d": "_avg_pool2d",
        "sum_pool2d_backward": "_avg_pool2d_backward",
    }
    names = {call.op for call in CALLS}
    wanted = {shared.get(name, f"_{name}") for name in names}
    assert wanted <= Backend.__abstractmethods__


@pytest.mark.parametrize("kind", [NumpyBackend, CudaBackend])
def test_no_two_families_of_a_backend_define_the_same_method(kind: type[Backend]) -> None:
    """One of them would silently replace the other."""
    owners: dict[str, list[str]] = {}
    for family in inspect.getmro(kind):
        if family.__module__.startswith(f"{kind.__module__}."):
            for method, value in vars(family).items():
                if inspect.isfunction(value) and not method.startswith("__"):
                    owners.setdefault(method, []).append(family.__name__)
    assert len(owners) > 50
    assert {method: found for method, found in owners.items() if len(found) > 1} == {}


def shape_of(function: Any) -> list[tuple[str, Any, Any]]:
    found = inspect.signature(function).parameters.values()
    return [(parameter.name, parameter.kind, parameter.default) for parameter in found]


@pytest.mark.parametrize("name", sorted(set(BACKENDS) - {"auto"}))
def test_signatures_are_those_of_the_contract(name: str) -> None:
    """On every backend that is available."""
    kind = type(backend_or_skip(name))
    for method in Backend.__abstractmethods__:
        assert shape_of(getattr(kind, method)) == shape_of(getattr(Backend, method)), method
    # A backend that overrode a public method of the contract would lose its checks.
    for family in FAMILIES:
        for method in {name for name in vars(family) if not name.startswith("_")}:
            assert getattr(kind, method) is getattr(Backend, method), method


# --- conversions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [1.5, [1, 2.5], [[1.0], [2.0]], np.float16([1, 2]), np.float32([[1]]), np.float64([1, 2])],
    ids=repr,
)
def test_floating_point_becomes_the_dtype_of_the_backend(data: Any, backend: Backend) -> None:
    array = backend.asarray(data)
    assert array.dtype == backend.dtype
    host = backend.to_numpy(array)
    assert host.dtype == backend.dtype
    np.testing.assert_array_equal(host, np.asarray(data, backend.dtype), strict=True)


@pytest.mark.parametrize(
    "data",
    [
        3,
        [1, -2],
        True,
        np.uint8([255, 0]),
        np.int8([-128]),
        np.int32([[7]]),
        np.uint32([2**32 - 1]),
    ],
    ids=repr,
)
def test_integers_become_int64(data: Any, backend: Backend) -> None:
    array = backend.asarray(data)
    np.testing.assert_array_equal(
        backend.to_numpy(array), np.asarray(data).astype(np.int64), strict=True
    )


def test_bytes_stay_bytes_on_request(backend: Backend) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(
        backend.to_numpy(backend.asarray(pixels, "uint8")), pixels, strict=True
    )
    assert backend.asarray(pixels, backend.dtype).dtype == backend.dtype


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        ([1.5], "int64"),
        (np.float64([3]), "uint8"),
        (np.int64([-1]), "uint8"),
        (np.int64([300]), "uint8"),
        (np.uint64([2**63]), None),
        (np.int64([2**40]), "int32"),
    ],
    ids=repr,
)
def test_no_conversion_loses_numbers(data: Any, dtype: Any, backend: Backend) -> None:
    with pytest.raises(ArrayError, match="without loss"):
        backend.asarray(data, dtype)


@pytest.mark.parametrize(
    "data",
    ["1", ["a", "b"], b"1", None, [None], {}, {1}, 1j, np.complex64([1]),
     [[1], [1, 2]], np.array(["2020-01-01"], "datetime64[D]")],
    ids=repr,
)  # fmt: skip
def test_data_that_are_not_real_numbers(data: Any, backend: Backend) -> None:
    with pytest.raises(ArrayError, match="asarray"):
        backend.asarray(data)


@pytest.mark.parametrize("dtype", ["complex64", "object", "str", "nonsense"])
def test_dtypes_that_are_not_real_numbers(dtype: str, backend: Backend) -> None:
    with pytest.raises(ArrayError, match="asarray"):
        backend.asarray([1.0, 2.0], dtype)


def test_a_large_array_is_there_when_it_is_read(backend32: Backend) -> None:
    """Also in memory that earlier work was the last to use, and may not have finished with."""
    for first in range(3):
        host = np.arange(first, first + 2**19, dtype=np.float32)
        array = backend32.asarray(host)
        np.testing.assert_array_equal(backend32.to_numpy(backend32.relu(array)), host)
        backend32.relu(array)


def test_to_numpy_is_a_contiguous_copy(backend: Backend) -> None:
    host = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    array = backend.asarray(host)
    for view in (
        array,
        array.T,
        array[::-1, ::2],
        array[:, :, 1:2],
        array[1, 1, 1],
    ):
        first, second = backend.to_numpy(view), backend.to_numpy(view)
        assert type(first) is np.ndarray
        assert first.flags.c_contiguous
        assert first.flags.writeable
        assert not np.shares_memory(first, second)
        first[...] = -1
        np.testing.assert_array_equal(backend.to_numpy(view), second)


@pytest.mark.parametrize("shape", [(), (3,), [2, 3], (2, 3, 4, 5)], ids=repr)
def test_new_arrays(shape: Any, backend: Backend) -> None:
    for dtype in (None, "float64", "int64", "uint8"):
        wanted = backend.dtype if dtype is None else np.dtype(dtype)
        empty, zeros = backend.empty(shape, dtype), backend.zeros(shape, dtype)
        assert tuple(empty.shape) == tuple(zeros.shape) == tuple(shape)
        assert empty.dtype == zeros.dtype == wanted
        assert not backend.to_numpy(zeros).any()
    backend.synchronize()


@pytest.mark.cuda
def test_out_of_memory_names_what_is_free() -> None:
    """Which is less than the whole memory."""
    backend: Any = backend_or_skip("cuda")
    import cupy

    kept = backend.empty((2**21,))  # 8 MiB
    with pytest.raises(OutOfMemoryError, match="MiB free") as caught:
        backend.empty((2**44,))
    found = re.findall(r"requested, ([\d,]+) MiB free", str(caught.value))
    total = cupy.cuda.runtime.memGetInfo()[1] / 2**20
    assert int(found[0].replace(",", "")) <= total - kept.nbytes / 2**20
