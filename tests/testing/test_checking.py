"""The cases of ``gpucnn check``: correct kernels pass, and what is wrong is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from available import BACKENDS, backend_or_skip
from planted.kernels import KERNEL_FAULTS, KernelFault
from planted.kernels_run import first_failure

import gpucnn
from gpucnn.backends.cuda import loader, sources
from gpucnn.errors import SettingError
from gpucnn.testing import running
from gpucnn.testing.case import Case
from gpucnn.testing.cases import ALL_CASES
from gpucnn.testing.checking import ORDERS, check, get_backends, run, select, variations
from gpucnn.testing.comparison import Comparison
from gpucnn.testing.definition import Function
from gpucnn.testing.running import Outcome, Variation, run_case

OPS = sorted({case.op for case in ALL_CASES})


def named(op: str, name: str) -> Case:
    (case,) = (case for case in select([op]) if case.name == name)
    return case


# --- correct kernels ----------------------------------------------------------------------------


@pytest.mark.parametrize("op", OPS)
def test_correct_kernels_pass(op: str) -> None:
    """Each case in one of its variations, in turn; ``gpucnn check`` runs them all."""
    backend_or_skip("emulated")
    for backend in get_backends("emulated"):
        for number, case in enumerate(select([op])):
            if backend.precision == "tf32" and not case.tested.is_product:
                continue
            ways = variations(case, backend, checked=True)
            for outcome in run_case(backend, case, ways[number % len(ways)]):
                assert not outcome.failure, (outcome.failure, outcome.line)
                assert outcome.kernels or op in ("flatten", "rows")


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "numpy"])
def test_correct_kernels_write_between_the_guards(name: str) -> None:
    backend = backend_or_skip(name)
    outcomes = list(check(backend, ["softmax", "begin_step"], checked=False))
    assert [outcome.line for outcome in outcomes if outcome.failure] == []
    assert len(outcomes) > 50


def test_every_kernel_is_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Launched, but not computed."""
    backend_or_skip("emulated")
    names: set[str] = set()

    def noted(kernels: loader.Kernels, name: str, *rest: Any) -> None:
        names.add(name)

    monkeypatch.setattr(loader.Kernels, "launch", noted)
    monkeypatch.setattr(loader.Kernels, "launch_each", noted)
    monkeypatch.setattr(running, "compare", lambda *_: Comparison(0.0, 0.0))
    for backend in get_backends("emulated"):
        for case in select():
            ways = {way.variant: way for way in variations(case, backend, checked=True)}
            for way in ways.values():
                run_case(backend, case, way)
    assert names == set(sources.signatures(sources.kernel_folder()))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rounding_errors_of_numpy_are_a_quarter_of_the_tolerance(dtype: str) -> None:
    for outcome in check(gpucnn.get_backend("numpy", dtype)):
        assert outcome.comparison.error < 0.25, outcome.line


# --- wrong results ------------------------------------------------------------------------------


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str, Any], Any]], None]:
    """A function that makes ``run_case`` take other results: change(name, array) on the host."""

    def plant(change: Callable[[str, Any], Any]) -> None:
        for direction in ("forward", "backward"):
            compute = getattr(running, direction)

            def wrong(backend: Any, *arguments: Any, compute: Any = compute) -> Any:
                results = compute(backend, *arguments)
                return {name: change(name, value) for name, value in results.items()}

            monkeypatch.setattr(running, direction, wrong)

    return plant


def test_a_thousandth_in_one_element_is_found(changed: Any) -> None:
    """In each operation, for an element of median magnitude."""

    def off(name: str, value: Any) -> Any:
        if getattr(value, "dtype", None) != np.float32:
            return value
        flat = value.reshape(-1).copy()
        magnitudes = np.abs(flat[np.isfinite(flat) & (flat != 0)])
        if magnitudes.size:
            middle = np.sort(magnitudes)[magnitudes.size // 2]
            flat[np.flatnonzero(np.abs(flat) == middle)[0]] *= np.float32(1.001)
        return flat.reshape(value.shape)

    changed(off)
    found: dict[str, bool] = {}
    for outcome in check(gpucnn.get_backend("numpy")):
        found[outcome.operation] = found.get(outcome.operation, False) or bool(outcome.failure)
    exact = {"begin_step", "gather_labels", "all_finite", "check_finite", "add_metrics"}
    assert {op for op, seen in found.items() if not seen} <= exact


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda name, y: y.astype(np.float64), "output has dtype float64, expected float32"),
        (lambda name, y: y[:-1], r"output has shape \(2,\), expected \(3,\)"),
    ],
)
def test_a_wrong_shape_or_dtype_is_found(changed: Any, change: Any, message: str) -> None:
    changed(change)
    with pytest.raises(AssertionError, match=rf"^linear \[one axis\]: {message}$"):
        run("linear", "one axis", "numpy")


def test_a_failure_names_the_first_wrong_element(changed: Any) -> None:
    def off(name: str, value: Any) -> Any:
        if value.shape == (3, 9):
            value[1, 2:4] = 5
        return value

    changed(off)
    first, _ = run_case(gpucnn.get_backend("numpy"), named("leaky_relu", "negative_slope 0.25"))
    found = first.difference
    assert found is not None
    assert (found.result, found.index, found.got, found.wrong, found.size) == (
        "output", (1, 2), 5, 2, 27,
    )  # fmt: skip
    assert f"output[1, 2] is 5, expected {found.expected:.9g} ± " in first.failure
    assert first.failure.endswith("; 2 of 27 elements are wrong")


def test_the_line_of_a_failure_runs_its_case_again(changed: Any) -> None:
    changed(lambda name, value: value * 2)
    case = named("relu", "feature map")
    outcome, _ = run_case(gpucnn.get_backend("numpy", "float64"), case)
    assert outcome.line == (
        "from gpucnn.testing import run; "
        "run('relu', 'feature map', backend='numpy', dtype='float64')"
    )
    with pytest.raises(
        AssertionError, match=r"^relu \[feature map\]: output\[.*\] is .*, expected"
    ):
        exec(outcome.line)


def test_the_line_has_order_variant_and_precision() -> None:
    backend_or_skip("emulated")
    (backend,) = get_backends("emulated", precision="tf32")
    case = named("linear", "1 feature")
    outcome = run_case(backend, case, Variation("random", 3, "large"))[0]
    assert outcome.line.endswith(
        "run('linear', '1 feature', backend='emulated', order='random', seed=3, variant='large', "
        "precision='tf32')"
    )
    exec(outcome.line)


# --- wrong kernels ------------------------------------------------------------------------------

FOUND_IN_CHECK_MODE = [
    "all units of a thread have the same random number",
    "relu without a bounds check",
    "leaky relu has a slope of -7",
    "the maximum starts at 0",
    "the counter changes while it is read",
    "LeNet-5's gradients are those of the last warp",
]
FOUND_BY_GUARDS = ["the last element is not written", "only the first block of elements is written"]


def fault(name: str) -> KernelFault:
    backend_or_skip("emulated")
    (found,) = (fault for fault in KERNEL_FAULTS if fault.name == name)
    return found


@pytest.mark.parametrize("name", FOUND_IN_CHECK_MODE)
def test_planted_faults_are_found(name: str, tmp_path: Path) -> None:
    outcome = first_failure(fault(name), tmp_path)
    assert outcome is not None
    assert outcome.kernels


@pytest.mark.parametrize("name", FOUND_BY_GUARDS)
def test_planted_faults_are_found_without_check_mode(name: str, tmp_path: Path) -> None:
    outcome = first_failure(fault(name), tmp_path, checked=False)
    assert outcome is not None
    assert "is nan, expected" in outcome.failure


def test_a_write_past_the_end_is_found_without_check_mode(tmp_path: Path) -> None:
    writes = KernelFault(
        "", "tanh.cu", "output[i] = tanh(input[i]);",
        "output[i] = tanh(input[i]); if (i == n - 1) output[n + 1] = 3;", ("tanh",),
    )  # fmt: skip
    backend_or_skip("emulated")
    outcome = first_failure(writes, tmp_path, checked=False)
    assert outcome is not None
    assert outcome.failure == (
        "a kernel wrote 2 elements after the end of a float32 array of shape (255,); "
        "1 elements were written there"
    )


def test_results_without_a_name_are_refused() -> None:
    """They would not be compared."""

    def halves(input: Any) -> tuple[Any, Any]:
        return input / 2, input / 2

    function = Function("halves", lambda backend, input: halves(input), halves, ("input",))
    message = "halves returns 2 results, but only output are named"
    for backend in (None, gpucnn.get_backend("numpy")):
        with pytest.raises(SettingError, match=message):
            function.run(backend, {"input": np.ones(3)})


def test_a_changed_argument_is_found(tmp_path: Path) -> None:
    changes = KernelFault(
        "", "tanh.cu", "output[i] = tanh(input[i]);",
        "output[i] = tanh(input[i]); ((real*)input)[i] = 0;", ("tanh",),
    )  # fmt: skip
    backend_or_skip("emulated")
    outcome = first_failure(changes, tmp_path, checked=False)
    assert outcome is not None
    assert outcome.failure == "the argument input was changed"


def test_texts_of_planted_faults_are_in_the_kernels() -> None:
    """So that a change of a kernel that makes a fault impossible is noticed here."""
    for planted in KERNEL_FAULTS:
        text = (sources.kernel_folder() / planted.file).read_text()
        assert text.count(planted.old) == 1, planted.name
    names = [planted.name for planted in KERNEL_FAULTS]
    assert len(names) == len(set(names)) >= 60


# --- what is run --------------------------------------------------------------------------------


def test_names_and_patterns_select_cases() -> None:
    assert {case.op for case in select(["relu", "*pool2d"])} == {
        "relu", "max_pool2d", "avg_pool2d", "sum_pool2d", "lp_pool2d",
        "adaptive_avg_pool2d", "adaptive_max_pool2d",
    }  # fmt: skip
    assert all("stride" in case.name for case in select(["conv2d-*stride*"]))
    assert [str(case) for case in select(["conv2d-batch 1"])] == ["conv2d-batch 1"]
    assert select() == ALL_CASES
    with pytest.raises(SettingError, match=r"^unknown operation 'max_pol2d': did you mean 'max_p"):
        select(["relu", "max_pol2d"])
    with pytest.raises(SettingError, match=r"^unknown case of relu 'feature': did you mean"):
        run("relu", "feature", "numpy")


def test_check_mode_runs_in_every_order_and_products_in_every_tile() -> None:
    backend_or_skip("emulated")
    backend, tf32 = get_backends("emulated")
    case = named("conv2d", "stride 2")
    found = variations(case, backend, checked=True)
    assert [way.order for way in found if way.variant == "auto"] == list(ORDERS)
    kinds = {way.variant for way in found}
    assert {"auto", "naive", "middle", "large"} < kinds
    assert len(kinds & {"small", "narrow"}) == 1
    assert {way.variant for way in variations(case, tf32, checked=True)} == {"small", "large"}
    assert variations(case, gpucnn.get_backend("numpy"), checked=False) == [Variation()]
    (large,) = variations(named("tanh", "70,000 elements"), backend, checked=True)
    assert large.order in ORDERS


def test_checking_ends_when_the_device_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    class CUDARuntimeError(RuntimeError):
        pass

    def compute(*_: Any) -> Iterator[Outcome]:
        raise CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access")

    monkeypatch.setattr(running, "forward", compute)
    (outcome,) = check(gpucnn.get_backend("numpy"), ["relu"])
    assert outcome.lost
    assert outcome.failure == "cudaErrorIllegalAddress: an illegal memory access"
