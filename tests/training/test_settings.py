"""Settings: their range, and fit's keywords, which are their fields."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from runs import start, train
from small import small_data, small_model

import gpucnn
from gpucnn import training
from gpucnn.errors import SettingError
from gpucnn.nn import losses
from gpucnn.training.settings import Overrides, Settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be an integer >= 1, got 0"),
        ({"epochs": -3}, "epochs must be an integer >= 1"),
        ({"epochs": 1.5}, "epochs must be an integer >= 1"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1, got 0"),
        ({"batch_size": -1}, "batch_size must be an integer >= 1"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"workers": 0}, "workers must be an integer >= 1"),
        ({"validation": -1}, "validation must be an integer >= 0"),
        ({"early_stopping": 1}, "set validation"),
        ({"keep_best": True}, "set validation"),
        ({"early_stopping": 0, "validation": 5}, "early_stopping must be an integer >= 1"),
        ({"keep_best": "no", "validation": 5}, "keep_best must be True or False, got 'no'"),
        ({"ema": 1.0}, "ema must be a finite number >= 0 and < 1, got 1.0"),
        ({"ema": "0.9"}, "ema must be a finite number"),
        ({"clip_grad_norm": 0}, "clip_grad_norm must be above 0, or None for no limit; got 0"),
        ({"clip_grad_norm": -1.0}, "clip_grad_norm must be a finite number >= 0, got -1"),
        ({"clip_grad_norm": float("nan")}, "clip_grad_norm must be a finite number"),
        ({"epochs": True}, "epochs must be an integer >= 1, got True"),
        ({"validation": None}, "validation must be an integer >= 0, got None"),
        ({"validation": 70}, "70"),
        ({"checkpoint_every": 0}, "checkpoint_every must be an integer >= 1"),
        ({"backend": "nunpy"}, "did you mean 'numpy'"),
        ({"epoch": 3}, "unknown setting 'epoch': did you mean 'epochs'"),
        ({"optimizer": "sgd"}, r"an Optimizer, for example optim\.Adam\(\); got 'sgd'"),
        ({"loss": losses.MSELoss}, r"a Loss, for example nn\.CrossEntropyLoss\(\); got <class"),
        ({"schedule": "cosine"}, r"a Schedule, for example optim\.Cosine.*; got 'cosine'"),
    ],
)
def test_bad_settings_are_refused_before_the_first_event(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        start(small_model(), **options)


def test_keywords_are_the_fields_of_settings() -> None:
    """And no signature has a default of its own for them."""
    hints = get_type_hints(Settings)
    assert get_type_hints(Overrides) == {f.name: hints[f.name] for f in fields(Settings)}
    for function in (gpucnn.fit, training.events):
        parameters = inspect.signature(function).parameters
        assert not parameters.keys() & hints.keys()
        for name in hints:
            assert f"``{name}``" in str(gpucnn.fit.__doc__)


def test_keywords_change_settings() -> None:
    settings = Settings(epochs=1, batch_size=7, seed=3)
    history = gpucnn.fit(small_model(), small_data(), settings=settings, batch_size=35)
    assert history.started.settings == Settings(epochs=1, batch_size=35, seed=3).as_dict()
    by_settings, by_keywords = (
        train(small_model(), settings=Settings(epochs=2, batch_size=16, seed=9))[0],
        train(small_model(), seed=9)[0],
    )
    np.testing.assert_array_equal(by_settings.flat_parameters, by_keywords.flat_parameters)


def test_settings_of_numpy_are_those_of_python(tmp_path: Path) -> None:
    """The run, its checkpoint and what it reports are the same."""
    plain = {"epochs": 2, "batch_size": 16, "seed": 3, "validation": 6, "early_stopping": 2}
    numpys = {name: np.int64(value) for name, value in plain.items()}
    assert Settings(**plain).as_dict() == Settings(**numpys).as_dict()
    files = []
    for name, options in (("plain", plain), ("numpy", numpys)):
        files.append(tmp_path / name)
        integer = type(options["seed"])
        every = {"checkpoint": files[-1], "checkpoint_every": integer(2)}
        gpucnn.fit(small_model(), small_data(), keep_best=np.True_, **every, **options)
    assert files[0].read_bytes() == files[1].read_bytes()
