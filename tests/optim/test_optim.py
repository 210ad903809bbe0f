"""Optimisers and schedules against their definitions, written out for one parameter."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gpucnn.backends import Backend, get_backend
from gpucnn.config import build, describe
from gpucnn.errors import SettingError
from gpucnn.models import mlp
from gpucnn.optim import OPTIMIZERS, SGD, Adam, AdamW, Optimizer
from gpucnn.optim.schedules import (
    SCHEDULES,
    ConstantLR,
    CosineAnnealingLR,
    OneCycleLR,
    Schedule,
    StepLR,
)

GRADS = [0.5, -1.25, 2.0, 0.0, -0.75]


def trajectory(optimizer: Optimizer, lr: float) -> list[float]:
    be = get_backend("numpy", "float64")
    param, values = be.asarray([1.5]), []
    optimizer.reset(be, 1)
    for step, grad in enumerate(GRADS, start=1):
        rates = be.asarray(optimizer.rates(step, lr))
        optimizer.step(be, param, be.asarray([grad]), rates)
        values.append(float(param[0]))
    return values


def test_sgd_by_hand() -> None:
    p, v, wanted = 1.5, 0.0, []
    for g in GRADS:
        v = 0.9 * v + (g + 0.01 * p)
        p -= 0.1 * v
        wanted.append(p)
    assert trajectory(SGD(momentum=0.9, weight_decay=0.01), 0.1) == pytest.approx(wanted, rel=1e-14)


def test_nesterov_by_hand() -> None:
    p, v, wanted = 1.5, 0.0, []
    for g in GRADS:
        v = 0.8 * v + g
        p -= 0.1 * (g + 0.8 * v)
        wanted.append(p)
    assert trajectory(SGD(momentum=0.8, nesterov=True), 0.1) == pytest.approx(wanted, rel=1e-14)


@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_by_hand(decoupled: bool) -> None:
    p, m, s, wanted = 1.5, 0.0, 0.0, []
    for t, g in enumerate(GRADS, start=1):
        if decoupled:
            p -= 0.1 * 0.02 * p
        else:
            g += 0.02 * p
        m, s = 0.8 * m + 0.2 * g, 0.95 * s + 0.05 * g * g
        p -= 0.1 * (m / (1 - 0.8**t)) / (math.sqrt(s / (1 - 0.95**t)) + 1e-3)
        wanted.append(p)
    kind = AdamW if decoupled else Adam
    optimizer = kind(betas=(0.8, 0.95), eps=1e-3, weight_decay=0.02)
    assert trajectory(optimizer, 0.1) == pytest.approx(wanted, rel=1e-13)


def test_adam_with_both_kinds_of_weight_decay(backend64: Backend) -> None:
    """No optimiser uses both, but the operation accepts them; both are of the old parameter."""
    p, g, m, s = 1.5, 0.5, 0.25, 0.75
    arrays = [backend64.asarray([value]) for value in (p, g, m, s)]
    rates = backend64.asarray([0.1, 0.8, 0.9])
    backend64.adam_step(*arrays, rates, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.02)
    g += 0.02 * p
    m, s = 0.8 * m + 0.2 * g, 0.95 * s + 0.05 * g * g
    p = 0.9 * p - 0.1 * m / (math.sqrt(s) / 0.8 + 1e-3)
    found = [float(backend64.to_numpy(array)[0]) for array in arrays]
    assert found == pytest.approx([p, 0.5, m, s], rel=1e-13)


def test_defaults_are_pytorchs() -> None:
    assert describe(SGD()) == {
        "type": "SGD", "lr": 1e-3, "momentum": 0.0, "weight_decay": 0.0, "nesterov": False,
    }  # fmt: skip
    assert describe(AdamW()) == {
        "type": "AdamW", "lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2,
    }  # fmt: skip
    assert describe(Adam()) == {**describe(AdamW()), "type": "Adam", "weight_decay": 0.0}


@pytest.mark.parametrize("optimizer", [SGD(lr=0.1, momentum=0.9), Adam(lr=0.1), AdamW(lr=0.1)])
def test_update_counts_its_steps(optimizer: Optimizer) -> None:
    be = get_backend("numpy", "float64")
    model = SimpleNamespace(backend=be, flat_parameters=be.asarray([1.5]), flat_grads=None)
    values = []
    for grad in GRADS:
        model.flat_grads = be.asarray([grad])
        optimizer.update(model)
        values.append(float(model.flat_parameters[0]))
    assert values == trajectory(optimizer, 0.1)


def test_reset_sets_the_state_to_zeros() -> None:
    optimizer = SGD(momentum=0.9)
    assert trajectory(optimizer, 0.1) == trajectory(optimizer, 0.1)
    adam = Adam()
    assert trajectory(adam, 0.1) == trajectory(adam, 0.1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e-3, True])
@pytest.mark.parametrize("kind", OPTIMIZERS.values())
def test_a_bad_rate_is_refused(kind: type[Optimizer], value: float) -> None:
    with pytest.raises(SettingError, match="lr must be a finite number >= 0"):
        kind(lr=value)


@pytest.mark.parametrize("values", [{"eps": -1e-9}, {"betas": (-0.1, 0.9)}, {"weight_decay": -1.0}])
def test_adam_refuses_negative_settings(values: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=f"Adam: {next(iter(values))} must be a finite number"):
        Adam(**values)


@pytest.mark.parametrize("eps", [1e-45, 1e-40, 1.17e-38])
def test_adam_refuses_an_eps_that_is_zero_on_a_gpu_in_float32(eps: float) -> None:
    with pytest.raises(SettingError) as caught:
        AdamW(eps=eps).update(mlp(seed=0))
    assert str(caught.value) == (
        f"AdamW: eps must be at least 1.2e-38 in float32, got {eps:g}: "
        "use the default, 1e-8, or float64"
    )


@pytest.mark.parametrize(("dtype", "eps"), [("float32", 1.2e-38), ("float64", 1e-300)])
def test_adam_takes_a_small_eps_that_is_not_zero(dtype: str, eps: float, backend_name: str) -> None:
    model = mlp(seed=0).to(get_backend(backend_name, dtype))
    before = model.backend.to_numpy(model.flat_parameters).copy()
    Adam(eps=eps).update(model)  # with gradients of zero
    np.testing.assert_array_equal(model.backend.to_numpy(model.flat_parameters), before)


@pytest.mark.parametrize("betas", [(0.9,), (0.9, 0.99, 0.999), 0.9, np.ones((3, 2)), np.ones(())])
def test_adam_needs_two_betas(betas: Any) -> None:
    with pytest.raises(SettingError, match="Adam: betas must be two numbers, got"):
        Adam(betas=betas)


def test_betas_and_eps_of_numpy_are_stored_as_pythons() -> None:
    betas: Any = np.array([0.5, 0.75])
    eps: Any = np.float32(0.125)
    expected = json.dumps(describe(Adam(betas=(0.5, 0.75), eps=0.125)))
    for given in (betas, betas.tolist(), tuple(betas)):
        assert json.dumps(describe(Adam(betas=given, eps=eps))) == expected


@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, 1.0), (0.9, float("nan"))])
def test_adam_refuses_a_beta_of_one(betas: tuple[float, float]) -> None:
    with pytest.raises(SettingError, match="AdamW: betas must be a finite number >= 0 and < 1"):
        AdamW(betas=betas)
    Adam(betas=(0.0, 0.0))


def test_sgd_refuses_negative_settings() -> None:
    with pytest.raises(SettingError, match="SGD: momentum must be a finite number >= 0, got -1"):
        SGD(momentum=-1)
    with pytest.raises(SettingError, match="SGD: weight_decay"):
        SGD(weight_decay=-1e-9)


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(SettingError, match="SGD: nesterov=True needs a momentum above 0"):
        SGD(nesterov=True)
    with pytest.raises(SettingError, match="SGD: nesterov must be True or False, got 'no'"):
        SGD(momentum=0.9, nesterov="no")  # type: ignore[arg-type]


def test_constant_and_warmup() -> None:
    assert [ConstantLR().factor(t / 10) for t in range(10)] == [1.0] * 10
    warm = ConstantLR(warmup=0.2)
    assert warm.factor(0.0) == pytest.approx(0.1)
    assert warm.factor(0.1) == pytest.approx(0.55)
    assert warm.factor(0.2) == warm.factor(0.9) == 1.0


def test_cosine() -> None:
    cosine = CosineAnnealingLR()
    factors = [cosine.factor(t) for t in (0, 0.25, 0.5, 0.75, 1)]
    assert factors == pytest.approx([1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0])
    warm = CosineAnnealingLR(warmup=0.2)
    assert [warm.factor(t) for t in (0.2, 0.6, 1.0)] == pytest.approx([1, 0.5, 0])


def test_step() -> None:
    step = StepLR(every=1 / 3, gamma=0.1)
    factors = [step.factor(k / 9) for k in range(9)]
    assert factors == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01])


@pytest.mark.parametrize("parts", [3, 5, 7, 10])
@pytest.mark.parametrize("warmup", [0.0, 0.1])
def test_no_step_is_late_by_rounding(parts: int, warmup: float) -> None:
    """0.6 / 0.2 is less than 3, and so are many others."""
    step = StepLR(every=1 / parts, gamma=0.5, warmup=warmup)
    factors = [step.factor(warmup + k / parts * (1 - warmup)) for k in range(parts)]
    assert factors == [0.5**k for k in range(parts)]
    just_before = [step.factor(warmup + (k - 1e-6) / parts * (1 - warmup)) for k in range(1, parts)]
    assert just_before == factors[:-1]


def test_one_cycle() -> None:
    cycle = OneCycleLR()
    assert cycle.factor(0) == pytest.approx(1 / 25)
    assert cycle.factor(0.3) == pytest.approx(1)
    assert cycle.factor(1) == pytest.approx(1 / 25e4)
    rising = [cycle.factor(0.3 * k / 20) for k in range(21)]
    falling = [cycle.factor(0.3 + 0.7 * k / 20) for k in range(21)]
    assert np.all(np.diff(rising) > 0)
    assert np.all(np.diff(falling) < 0)


def test_one_cycle_without_a_rise() -> None:
    cycle = OneCycleLR(pct_start=0)
    assert cycle.factor(0) == 1
    assert cycle.factor(0.5) == pytest.approx((1 + 1 / 25e4) / 2)
    assert cycle.factor(1) == pytest.approx(1 / 25e4)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (StepLR, {"every": 0.0}),
        (StepLR, {"gamma": -0.1}),
        (OneCycleLR, {"pct_start": 1.0}),
        (OneCycleLR, {"pct_start": -0.1}),
        (OneCycleLR, {"div_factor": 0.9}),
        (OneCycleLR, {"final_div_factor": 0.9}),
    ],
)
def test_schedules_refuse_bad_settings(kind: type[Schedule], values: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=f"{kind.__name__}: {next(iter(values))} must be"):
        kind(**values)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_schedules_are_between_0_and_1_and_can_be_described(schedule: Schedule) -> None:
    factors = [schedule.factor(k / 100) for k in range(101)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert max(factors) == pytest.approx(1)
    kinds = {type(schedule).__name__: type(schedule)}
    assert build("schedule", describe(schedule), kinds) == schedule


def test_schedules_of_the_command_line_are_the_documented_ones() -> None:
    cosine, constant = CosineAnnealingLR(warmup=0.2), ConstantLR(warmup=0.2)
    assert (SCHEDULES["warmup-cosine"], SCHEDULES["warmup"]) == (cosine, constant)
    assert (SCHEDULES["cosine"], SCHEDULES["constant"]) == (CosineAnnealingLR(), ConstantLR())
    assert (SCHEDULES["step"], SCHEDULES["one-cycle"]) == (StepLR(), OneCycleLR())


@pytest.mark.parametrize("warmup", [-0.1, 1.0, float("nan")])
def test_a_bad_warmup_is_refused(warmup: float) -> None:
    with pytest.raises(SettingError, match="warmup"):
        ConstantLR(warmup=warmup)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_decaying_momentum_does_not_become_denormal(dtype: str) -> None:
    be = get_backend("numpy", dtype)
    param, none = be.zeros((3,)), be.zeros((3,))
    velocity, exp_avg = (be.asarray([1.0, -1.0, 1e-9]) for _ in range(2))
    least = 1000 * np.finfo(dtype).smallest_normal  # room for a product with a small rate
    rate, rates = be.asarray([0.1]), be.asarray([0.1, 1.0, 1.0])
    for _ in range(8000):
        be.sgd_step(param, none, velocity, rate, momentum=0.9)
        be.adam_step(param, none, exp_avg, be.asarray([1.0, 1.0, 1.0]), rates)
        for state in (velocity, exp_avg):
            assert np.all((state == 0) | (np.abs(state) > least))
    assert np.all(np.abs(velocity) < 1e-30)
    assert np.all(np.abs(exp_avg) < 1e-30)
