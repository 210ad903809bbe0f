"""Every case of the table: each backend compared with the naive loops in float64."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from available import BACKENDS, DTYPES, backend_or_skip, cases_for

from gpucnn.backends import Backend
from gpucnn.backends.contract.operations import operation, operations
from gpucnn.errors import ArrayError, ShapeError
from gpucnn.testing import naive
from gpucnn.testing.case import (
    Case,
    array_arguments,
    assert_results,
    backward,
    forward,
    reference,
    saved_arguments,
    to_backend,
    to_numpy,
)
from gpucnn.testing.cases import CASES
from gpucnn.testing.values import normal

DIFFERENTIABLE = [case for case in CASES if case.has_backward]
LARGEST = {case.op: case for case in sorted(CASES, key=lambda c: (len(c.arrays()), len(c.options)))}
"""A case of each operation, with the most arrays and options."""

KINDS = [(name, dtype) for name in BACKENDS for dtype in DTYPES[name]]


def computed(cases: list[Case]) -> pytest.MarkDecorator:
    """Each backend computes all cases in float32, and those of ``cases_for`` in float64."""
    parameters = [
        (kind, case)
        for kind in KINDS
        for case in (cases if kind[1] == "float32" else cases_for(kind[0], cases))
    ]
    return pytest.mark.parametrize(("backend", "case"), parameters, ids=str, indirect=["backend"])


every_case = computed(CASES)
every_backward = computed(DIFFERENTIABLE)
every_operation = pytest.mark.parametrize("case", LARGEST.values(), ids=str)
every_out = pytest.mark.parametrize(
    "case",
    [case for case in DIFFERENTIABLE if "out" in operation(f"{case.op}_backward").parameters],
    ids=str,
)


@pytest.fixture(scope="session", params=KINDS, ids=str)
def backend(request: pytest.FixtureRequest) -> Backend:
    """The dtypes in which the table is computed on each backend.

    The emulator computes the rest in its check mode (test_consistency.py).
    """
    name, dtype = request.param
    return backend_or_skip(name, dtype)


def names_of_operations() -> set[str]:
    found = operations().values()
    return {op.name for op in found} | {op.backward.name for op in found if op.backward}


# --- the table ----------------------------------------------------------------------------------


def test_every_public_method_is_an_operation_or_listed_here() -> None:
    """An operation outside the families would not be checked, tested or timed."""
    methods = {name for name in dir(Backend) if not name.startswith("_")}
    methods = {name for name in methods if inspect.isfunction(getattr(Backend, name))}
    arrays = {"asarray", "to_numpy", "empty", "empty_maps", "zeros", "constant", "synchronize"}
    timing = {"limit_threads", "device_name", "elapsed"}
    plans = {"fuse_layers", "fuse_gradients", "capture", "steps_per_launch"}
    custom = {"load_kernels", "mark_unwritten", "find_unwritten"}
    files = {"ring", "has_room"}
    assert methods == names_of_operations() | arrays | timing | plans | custom | files


def test_every_operation_has_a_case() -> None:
    covered = {case.op for case in CASES}
    covered |= {f"{case.op}_backward" for case in DIFFERENTIABLE}
    assert names_of_operations() == covered


def test_every_operation_has_naive_loops_with_the_same_parameters() -> None:
    not_for_loops = {"self", "out", "samples", "input_grad"}  # samples: where they are written
    for op in names_of_operations():
        wanted = operation(op).parameters
        have = inspect.signature(getattr(naive, op)).parameters
        assert list(have) == [name for name in wanted if name not in not_for_loops], op


def test_every_option_of_every_operation_is_used() -> None:
    for op in {case.op for case in CASES}:
        cases = [case for case in CASES if case.op == op]
        for name, parameter in operation(op).parameters.items():
            if parameter.default in (inspect.Parameter.empty, None) and name != "divisor_override":
                continue
            used = [case.options.get(name, parameter.default) for case in cases]
            assert any(value != parameter.default for value in used), f"{op}: {name}"


def test_names_of_cases_are_unique() -> None:
    names = [str(case) for case in CASES]
    assert len(names) == len(set(names))


# --- results ------------------------------------------------------------------------------------


def unchanged(backend: Backend, arrays: dict[str, Any], before: dict[str, Any]) -> bool:
    """Return whether arrays have the same bits as ``before``."""
    after = to_numpy(backend, arrays)
    return all(after[name].tobytes() == array.tobytes() for name, array in before.items())


@every_case
def test_forward(case: Case, backend: Backend) -> None:
    """Results are correct, arguments are unchanged, and results share no memory with them."""
    arrays = to_backend(backend, case.arrays())
    before = to_numpy(backend, arrays)
    results, wanted = forward(backend, case, arrays), reference(case).results
    assert_results(backend, case, results, wanted)
    # Of the arguments of an operation in place, those may change that the loops change.
    read = {k: v for k, v in before.items() if k not in wanted or np.array_equal(wanted[k], v)}
    assert unchanged(backend, arrays, read), case.describe()
    may_share = case.op in ("flatten", "rows", "read_channels", "all_finite")
    if not may_share:
        for name in results.keys() - arrays.keys():
            results[name][...] = 77  # as an in-place layer would
        assert unchanged(backend, arrays, read), case.describe()


@every_backward
def test_backward(case: Case, backend: Backend) -> None:
    """Gradients are correct, and arguments are unchanged."""
    arguments = saved_arguments(backend, case)
    arrays = array_arguments(arguments)
    before = to_numpy(backend, arrays)
    assert_results(backend, case, backward(backend, case, arguments), reference(case).grads)
    assert unchanged(backend, arrays, before), case.describe()


@every_out
def test_backward_with_out(case: Case, backend32: Backend) -> None:
    """``out`` is written and returned; the bias may be missing, and so may the input gradient."""
    backend = backend32
    arguments, wanted = saved_arguments(backend, case), reference(case).grads
    optional = "input_grad" in operation(f"{case.op}_backward").parameters
    for with_bias in (True, False):
        # The previous contents must not matter.
        fill = {k: np.full(wanted[k].shape, np.nan, np.float32) for k in ("weight", "bias")}
        weight, bias = to_backend(backend, fill).values()
        out = (weight, bias if with_bias else None)
        more = {"input_grad": not with_bias} if optional else {}
        grads = backward(backend, case, arguments, out=out, **more)
        assert grads["weight"] is out[0]
        assert grads["bias"] is out[1]
        missing = {"bias"} if not with_bias else {"input"} if optional else set()
        assert all(grads.pop(name) is None for name in missing)
        assert_results(backend, case, grads, {k: v for k, v in wanted.items() if k not in missing})


@pytest.mark.parametrize("case", [c for c in CASES if c.op == "max_pool2d"], ids=str)
def test_max_pool2d_without_indices(case: Case, backend32: Backend) -> None:
    options = {**case.options, "return_indices": False}
    output = backend32.max_pool2d(**to_backend(backend32, case.arrays()), **options)
    assert_results(
        backend32, case, {"output": output}, {"output": reference(case).results["output"]}
    )


# --- memory order -------------------------------------------------------------------------------


def batch_innermost(backend: Backend, array: Any) -> Any:
    """Return the same numbers with the first axis innermost in memory."""
    order = (*range(1, array.ndim), 0)
    held = np.ascontiguousarray(backend.to_numpy(array).transpose(order))
    # Views that every backend's arrays have.
    rows = backend.asarray(held, array.dtype).reshape((-1, array.shape[0]))
    return rows.T.reshape(array.shape)


def reversed_axes(backend: Backend, array: Any) -> Any:
    """Return the same numbers with negative strides."""
    back = (slice(None, None, -1),) * array.ndim
    return backend.asarray(np.ascontiguousarray(backend.to_numpy(array)[back]), array.dtype)[back]


def every_other(backend: Backend, array: Any) -> Any:
    """Return the same numbers with NaN, or 249 for integers, between them in memory."""
    host = backend.to_numpy(array)
    gaps = np.full(
        tuple(2 * size for size in host.shape), np.nan if host.dtype.kind == "f" else 249
    )
    gaps = gaps.astype(host.dtype)
    steps = (slice(None, None, 2),) * host.ndim
    gaps[steps] = host
    return backend.asarray(gaps, array.dtype)[steps]


@pytest.mark.parametrize("layout", [batch_innermost, reversed_axes, every_other])
@every_operation
def test_memory_order_of_arguments(case: Case, backend32: Backend, layout: Any) -> None:
    """NumPy accepts any strides; other backends require C-contiguous arrays."""
    backend = backend32

    def in_layout(arguments: dict[str, Any]) -> dict[str, Any]:
        arrays = {k: v for k, v in array_arguments(arguments).items() if v.ndim}
        return arguments | {name: layout(backend, array) for name, array in arrays.items()}

    def refused(arguments: dict[str, Any], op: str, run: Callable[[], Any]) -> bool:
        given = array_arguments(arguments).values()
        if backend.name == "numpy" or all(array.flags.c_contiguous for array in given):
            return False
        with pytest.raises(ArrayError, match=rf"^{op}: \w+ must be C-contiguous"):
            run()
        return True

    arrays = in_layout(to_backend(backend, case.arrays()))
    if not refused(arrays, case.op, lambda: forward(backend, case, arrays)):
        assert_results(backend, case, forward(backend, case, arrays), reference(case).results)
    if case.has_backward:
        arguments = in_layout(saved_arguments(backend, case))
        op = f"{case.op}_backward"
        if not refused(arguments, op, lambda: backward(backend, case, arguments)):
            grads = backward(backend, case, arguments)
            assert_results(backend, case, grads, reference(case).grads)


# --- further properties -------------------------------------------------------------------------


def test_scalar_losses_have_no_axes(backend: Backend) -> None:
    scores = to_backend(backend, {"scores": normal(np.random.default_rng(0), 3, 4)})["scores"]
    for op in ("mse_loss", "half_squared_error", "binary_cross_entropy_with_logits"):
        for reduction in ("mean", "sum"):
            assert getattr(backend, op)(scores, scores, reduction).shape == ()


@pytest.mark.parametrize(
    "case", {case.op: case for case in DIFFERENTIABLE if case.is_loss}.values(), ids=str
)
def test_a_numpy_number_as_grad_does_not_change_the_dtype(case: Case, backend: Backend) -> None:
    """numpy.float64 is a float, but a float32 array times a numpy.float64 is float64."""
    arguments = saved_arguments(backend, case)
    grads = backward(backend, case, arguments | {"grad": np.float64(arguments["grad"])})
    assert_results(backend, case, grads, reference(case).grads)


# Multiplying by a mask would spread NaN, since infinity times zero is NaN. An overflowed gradient
# must stay where it is, so that the element that caused it can be found.


def test_an_infinite_gradient_does_not_pass_a_closed_relu(backend: Backend) -> None:
    output = backend.relu(backend.asarray(np.float32([-1, 2, -3, 4])))
    grad = backend.asarray(np.float32([np.inf, np.inf, np.nan, 5]))
    grads = backend.to_numpy(backend.relu_backward(grad, output))
    np.testing.assert_array_equal(grads, np.float32([0, np.inf, 0, 5]))


def test_an_infinite_gradient_goes_to_the_maximum_only(backend: Backend) -> None:
    x = np.float32([[1, 2, 8, 4], [4, 3, 5, 6]])[None, None]
    _, indices = backend.max_pool2d(backend.asarray(x), 2, return_indices=True)
    grad = backend.asarray(np.float32([np.inf, np.nan]).reshape(1, 1, 1, 2))
    grads = backend.to_numpy(backend.max_pool2d_backward(grad, indices, x.shape, 2))
    wanted = np.float32([[0, 0, np.nan, 0], [np.inf, 0, 0, 0]])[None, None]
    np.testing.assert_array_equal(grads, wanted)


@pytest.mark.parametrize("options", [{}, {"stride": 1, "padding": 1}], ids=["apart", "overlapping"])
def test_max_pool2d_backward_includes_that_of_relu(
    backend: Backend, options: dict[str, int]
) -> None:
    rng = np.random.default_rng(0)
    x = backend.asarray(rng.normal(size=(2, 3, 7, 6)) - 1)
    rectified = backend.relu(x)
    output, indices = backend.max_pool2d(rectified, 2, return_indices=True, **options)
    grad = backend.asarray(rng.normal(size=output.shape))
    given = (grad, indices, x.shape, 2)
    wanted = backend.relu_backward(backend.max_pool2d_backward(*given, **options), rectified)
    found = backend.max_pool2d_backward(*given, **options, relu_output=output)
    np.testing.assert_array_equal(backend.to_numpy(found), backend.to_numpy(wanted))
    assert (backend.to_numpy(output) == 0).any(), "no element has been set to zero"
    with pytest.raises(ShapeError, match="max_pool2d_backward: relu_output must have shape"):
        backend.max_pool2d_backward(*given, **options, relu_output=x)
