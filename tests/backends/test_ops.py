"""Every row of the table: each backend against plain loops in float64."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import naive
import numpy as np
import pytest
from cases import CASES
from rows import (
    Case,
    array_arguments,
    backward,
    forward,
    normal,
    reference,
    saved_arguments,
    to_backend,
    to_numpy,
)
from tolerance import assert_close

from gpucnn.backends import Backend
from gpucnn.backends.contract.operations import operation, operations
from gpucnn.errors import ArrayError, ShapeError

DIFFERENTIABLE = [case for case in CASES if case.has_backward]

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_backward = pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)
every_out = pytest.mark.parametrize(
    "case",
    [case for case in DIFFERENTIABLE if "out" in operation(f"{case.op}_backward").parameters],
    ids=str,
)


def every_operation() -> set[str]:
    found = operations().values()
    return {op.name for op in found} | {op.backward.name for op in found if op.backward}


def test_every_public_method_is_an_operation_or_listed_here() -> None:
    """An operation outside the families would be checked, tested and timed by nobody."""
    methods = {name for name in dir(Backend) if not name.startswith("_")}
    methods = {name for name in methods if inspect.isfunction(getattr(Backend, name))}
    arrays = {"asarray", "to_numpy", "empty", "zeros", "synchronize", "limit_threads"}
    plans = {"fuse_layers", "fuse_gradients", "capture", "steps_per_launch"}
    assert methods == every_operation() | arrays | plans


def test_every_operation_of_the_contract_has_a_row() -> None:
    covered = {case.op for case in CASES}
    covered |= {f"{case.op}_backward" for case in DIFFERENTIABLE}
    assert every_operation() == covered


def test_every_operation_has_its_naive_loops_with_the_same_arguments() -> None:
    not_for_loops = {"self", "out", "input_grad"}
    for op in every_operation():
        wanted = operation(op).parameters
        have = inspect.signature(getattr(naive, op)).parameters
        assert list(have) == [name for name in wanted if name not in not_for_loops], op


def test_every_option_of_every_operation_is_tried() -> None:
    for op in {case.op for case in CASES}:
        rows = [case for case in CASES if case.op == op]
        for name, parameter in operation(op).parameters.items():
            if parameter.default in (inspect.Parameter.empty, None) and name != "divisor_override":
                continue
            tried = [case.options.get(name, parameter.default) for case in rows]
            assert any(value != parameter.default for value in tried), f"{op}: {name}"


def test_rows_have_names_of_their_own() -> None:
    names = [str(case) for case in CASES]
    assert len(names) == len(set(names))


def check(backend: Backend, case: Case, actual: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Compare what a backend returned with the loops: names, dtypes, shapes and numbers."""
    assert actual.keys() == wanted.keys()
    given = case.arrays()
    for name, value in to_numpy(backend, actual).items():
        is_real = wanted[name].dtype.kind == "f"
        in_place = name in given and given[name].dtype != np.float32
        dtype = backend.dtype if is_real and not in_place else wanted[name].dtype
        assert value.dtype == dtype, f"{name}: {value.dtype}"
        assert_close(value, wanted[name], length=case.length, what=name)


@every_case
def test_forward(case: Case, backend: Backend) -> None:
    results = forward(backend, case, to_backend(backend, case.arrays()))
    check(backend, case, results, reference(case).results)


@every_backward
def test_backward(case: Case, backend: Backend) -> None:
    grads = backward(backend, case, saved_arguments(backend, case))
    check(backend, case, grads, reference(case).grads)


@every_case
def test_arguments_are_left_alone(case: Case, backend: Backend) -> None:
    """What an operation only reads is bit for bit the same afterwards."""
    arrays = to_backend(backend, case.arrays())
    before = to_numpy(backend, arrays)
    forward(backend, case, arrays)
    after = to_numpy(backend, arrays)
    # An operation in place may change what the loops change.
    results = reference(case).results
    written = {
        k for k in results.keys() & before.keys() if not np.array_equal(results[k], before[k])
    }
    for name in before.keys() - written:
        assert before[name].tobytes() == after[name].tobytes(), name


@every_backward
def test_arguments_of_backward_are_left_alone(case: Case, backend: Backend) -> None:
    arguments = saved_arguments(backend, case)
    before = to_numpy(backend, array_arguments(arguments))
    backward(backend, case, arguments)
    for name, array in to_numpy(backend, array_arguments(arguments)).items():
        assert array.tobytes() == before[name].tobytes(), name


# --- memory layouts -----------------------------------------------------------------------------


def batch_innermost(backend: Backend, array: Any) -> Any:
    """The same numbers with the first axis running fastest in memory."""
    order = (*range(1, array.ndim), 0)
    held = np.ascontiguousarray(backend.to_numpy(array).transpose(order))
    # Views that every backend's arrays have.
    lines = backend.asarray(held, array.dtype).reshape((-1, array.shape[0]))
    return lines.T.reshape(array.shape)


def reversed_rows(backend: Backend, array: Any) -> Any:
    """The same numbers with every axis running backwards in memory."""
    back = (slice(None, None, -1),) * array.ndim
    return backend.asarray(np.ascontiguousarray(backend.to_numpy(array)[back]), array.dtype)[back]


def every_other(backend: Backend, array: Any) -> Any:
    """The same numbers with NaN, or 249 for integers, between them in memory."""
    host = backend.to_numpy(array)
    gaps = np.full(
        tuple(2 * size for size in host.shape), np.nan if host.dtype.kind == "f" else 249
    )
    gaps = gaps.astype(host.dtype)
    steps = (slice(None, None, 2),) * host.ndim
    gaps[steps] = host
    return backend.asarray(gaps, array.dtype)[steps]


LAYOUTS = [batch_innermost, reversed_rows, every_other]


@pytest.mark.parametrize("layout", LAYOUTS)
@every_case
def test_layout_of_arguments(case: Case, backend: Backend, layout: Any) -> None:
    """NumPy takes any; the others take one, and refuse rather than copy or misread the rest."""

    def laid_out(arguments: dict[str, Any]) -> dict[str, Any]:
        arrays = {k: v for k, v in array_arguments(arguments).items() if v.ndim}
        return arguments | {name: layout(backend, array) for name, array in arrays.items()}

    def refused(arguments: dict[str, Any], op: str, run: Callable[[], Any]) -> bool:
        given = array_arguments(arguments).values()
        if backend.name == "numpy" or all(array.flags.c_contiguous for array in given):
            return False
        with pytest.raises(ArrayError, match=rf"^{op}: \w+ must be C-contiguous"):
            run()
        return True

    arrays = laid_out(to_backend(backend, case.arrays()))
    if not refused(arrays, case.op, lambda: forward(backend, case, arrays)):
        check(backend, case, forward(backend, case, arrays), reference(case).results)
    if case.has_backward:
        arguments = laid_out(saved_arguments(backend, case))
        op = f"{case.op}_backward"
        if not refused(arguments, op, lambda: backward(backend, case, arguments)):
            grads = backward(backend, case, arguments)
            check(backend, case, grads, reference(case).grads)


# --- options of the contract --------------------------------------------------------------------


@every_out
def test_out_is_written_and_returned(case: Case, backend: Backend) -> None:
    arguments, wanted = saved_arguments(backend, case), reference(case).grads
    # What lay there before must not shine through.
    fill = {k: np.full(wanted[k].shape, np.nan, np.float32) for k in ("weight", "bias")}
    weight, bias = to_backend(backend, fill).values()
    grads = backward(backend, case, arguments, out=(weight, bias))
    assert grads["weight"] is weight
    assert grads["bias"] is bias
    check(backend, case, grads, wanted)


@every_out
def test_out_without_bias(case: Case, backend: Backend) -> None:
    arguments = saved_arguments(backend, case)
    weight = to_backend(backend, {"weight": case.arrays()["weight"]})["weight"]
    grads = backward(backend, case, arguments, out=(weight, None))
    assert grads["weight"] is weight
    assert grads.pop("bias") is None
    check(backend, case, grads, {k: reference(case).grads[k] for k in ("input", "weight")})


@every_out
def test_input_grad_can_be_left_out(case: Case, backend: Backend) -> None:
    grads = backward(backend, case, saved_arguments(backend, case), input_grad=False)
    assert grads.pop("input") is None
    check(backend, case, grads, {k: reference(case).grads[k] for k in ("weight", "bias")})


@pytest.mark.parametrize("case", [c for c in CASES if c.op == "max_pool2d"], ids=str)
def test_max_pool2d_without_indices(case: Case, backend: Backend) -> None:
    options = {**case.options, "return_indices": False}
    output = backend.max_pool2d(**to_backend(backend, case.arrays()), **options)
    check(backend, case, {"output": output}, {"output": reference(case).results["output"]})


@every_case
def test_a_result_is_not_an_argument(case: Case, backend: Backend) -> None:
    """Writing to a result, as in-place layers do, must not reach the input; flatten is a view."""
    arrays = to_backend(backend, case.arrays())
    before = to_numpy(backend, arrays)
    results = forward(backend, case, arrays)
    if case.op not in ("flatten", "all_finite") and results.keys() != arrays.keys():
        for value in results.values():
            value[...] = 77
        for name, array in to_numpy(backend, arrays).items():
            assert array.tobytes() == before[name].tobytes(), name


def test_scalar_losses_have_no_axes(backend: Backend) -> None:
    scores = to_backend(backend, {"scores": normal(np.random.default_rng(0), 3, 4)})["scores"]
    for op in ("mse_loss", "half_squared_error", "binary_cross_entropy_with_logits"):
        for reduction in ("mean", "sum"):
            assert getattr(backend, op)(scores, scores, reduction).shape == ()


LOSSES = {case.op: case for case in DIFFERENTIABLE if case.is_loss}


@pytest.mark.parametrize("case", LOSSES.values(), ids=str)
def test_a_numpy_number_as_grad_does_not_widen_the_gradient(case: Case, backend: Backend) -> None:
    """numpy.float64 is a float, but unlike a plain one it turns float32 arrays into float64."""
    arguments = saved_arguments(backend, case)
    grads = backward(backend, case, arguments | {"grad": np.float64(arguments["grad"])})
    check(backend, case, grads, reference(case).grads)


# A mask that multiplies spreads NaN: infinity times zero. A gradient that has overflowed must stay
# where it arose, or the element at fault cannot be told from its neighbours.


def test_an_infinite_gradient_stays_out_of_elements_that_relu_cut_off(backend: Backend) -> None:
    output = backend.relu(backend.asarray(np.float32([-1, 2, -3, 4])))
    grad = backend.asarray(np.float32([np.inf, np.inf, np.nan, 5]))
    grads = backend.to_numpy(backend.relu_backward(grad, output))
    np.testing.assert_array_equal(grads, np.float32([0, np.inf, 0, 5]))


def test_an_infinite_gradient_goes_to_the_greatest_element_alone(backend: Backend) -> None:
    x = np.float32([[1, 2, 8, 4], [4, 3, 5, 6]])[None, None]
    _, indices = backend.max_pool2d(backend.asarray(x), 2, return_indices=True)
    grad = backend.asarray(np.float32([np.inf, np.nan]).reshape(1, 1, 1, 2))
    grads = backend.to_numpy(backend.max_pool2d_backward(grad, indices, x.shape, 2))
    wanted = np.float32([[0, 0, np.nan, 0], [np.inf, 0, 0, 0]])[None, None]
    np.testing.assert_array_equal(grads, wanted)


@pytest.mark.parametrize("options", [{}, {"stride": 1, "padding": 1}], ids=["apart", "overlapping"])
def test_a_pooling_does_the_backward_of_the_relu_before_it(
    backend: Backend, options: dict[str, int]
) -> None:
    rng = np.random.default_rng(0)
    x = backend.asarray(rng.normal(size=(2, 3, 7, 6)) - 1)
    cut = backend.relu(x)
    output, indices = backend.max_pool2d(cut, 2, return_indices=True, **options)
    grad = backend.asarray(rng.normal(size=output.shape))
    given = (grad, indices, x.shape, 2)
    wanted = backend.relu_backward(backend.max_pool2d_backward(*given, **options), cut)
    found = backend.max_pool2d_backward(*given, **options, relu_output=output)
    np.testing.assert_array_equal(backend.to_numpy(found), backend.to_numpy(wanted))
    assert (backend.to_numpy(output) == 0).any(), "something must be cut off"
    with pytest.raises(ShapeError, match="max_pool2d_backward: relu_output must have shape"):
        backend.max_pool2d_backward(*given, **options, relu_output=x)
