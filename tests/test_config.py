"""Checks of arguments, descriptions of dataclasses, and the error for an unknown name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from gpucnn.config import build, check_flag, check_integer, check_number, describe, is_builtin
from gpucnn.errors import SettingError, unknown
from gpucnn.nn.layers import Conv2d, Layer, MaxPool2d, ReLU


@dataclass
class Custom(ReLU):
    """A layer that is not gpucnn's."""


Custom.__module__ = "gpucnn_extras.layers"


@pytest.mark.parametrize("value", [1, 7])
def test_integers_from_the_minimum_on_are_returned(value: int) -> None:
    assert check_integer("n", value, 1) == value


@pytest.mark.parametrize("value", [0, True, 2.0, "2", None])
def test_what_is_not_an_integer_from_the_minimum_on_is_refused(value: Any) -> None:
    with pytest.raises(SettingError) as error:
        check_integer("n", value, 1)
    assert str(error.value) == f"n must be an integer >= 1, got {value!r}"


def test_numbers_are_refused_at_the_upper_bound() -> None:
    assert check_number("p", 0, 0.0, 0.5) == 0
    for value in (0.5, -1e-9, float("nan"), False, "0", None):
        with pytest.raises(SettingError) as error:
            check_number("p", value, 0.0, 0.5)
        assert str(error.value) == f"p must be a finite number >= 0 and < 0.5, got {value!r}"
    with pytest.raises(SettingError, match="x must be a finite number >= 0, got inf"):
        check_number("x", float("inf"), 0.0)


def test_descriptions_hold_no_numbers_of_numpy() -> None:
    """JSON cannot store them."""
    pool = MaxPool2d(np.int64(3), padding=((np.int8(1), 0), np.int64(1)))  # type: ignore[arg-type]
    description = describe(pool)
    assert json.loads(json.dumps(description))["padding"] == [[1, 0], 1]
    rebuilt = build("layer", json.loads(json.dumps(description)), {"MaxPool2d": MaxPool2d})
    assert rebuilt.padding == ((1, 0), 1)
    assert rebuilt.output_shape((1, 6, 6)) == pool.output_shape((1, 6, 6))


def test_numbers_of_numpy_become_plain_numbers() -> None:
    for kind in (np.int8, np.uint16, np.int64):
        number = check_integer("n", kind(3), 1)
        assert (number, type(number)) == (3, int)
    for value, plain in ((np.float32(0.5), 0.5), (np.float64(2), 2.0), (np.uint8(1), 1)):
        found = check_number("x", value, 0.0)
        assert (found, type(found)) == (plain, type(plain))
    for value in (np.True_, np.float64(3), np.str_("3"), np.array([3, 4])):
        with pytest.raises(SettingError, match="n must be an integer >= 1, got"):
            check_integer("n", value, 1)
    for value in (np.False_, np.float32("nan"), np.complex64(1), 10**400, np.array(["1"])):
        with pytest.raises(SettingError, match="x must be a finite number >= 0, got"):
            check_number("x", value, 0.0)


def test_flags_are_true_or_false() -> None:
    assert (check_flag("f", np.True_), check_flag("f", False)) == (True, False)
    for value in (1, "no", None, np.int64(1)):
        with pytest.raises(SettingError, match="f must be True or False, got"):
            check_flag("f", value)


def test_a_description_builds_the_same_layer() -> None:
    conv = Conv2d(1, 6, (5, 3), padding=2)
    lists = {key: list(v) if isinstance(v, tuple) else v for key, v in describe(conv).items()}
    assert describe(build("layer", lists, {"Conv2d": Conv2d})) == describe(conv)
    with pytest.raises(SettingError, match="unknown layer 'Conv3d': did you mean"):
        build("layer", {"type": "Conv3d"}, {"Conv2d": Conv2d})
    with pytest.raises(SettingError, match=r"layer ReLU: .* unexpected keyword argument 'slope'"):
        build("layer", {"type": "ReLU", "slope": 1}, {"ReLU": ReLU})


class Plain(Layer):
    """Without arguments, so that its class is all there is to describe."""


class Undecorated(Layer):
    def __init__(self, size: int) -> None:
        self.size = size


def test_what_is_described_has_no_arguments_or_is_a_dataclass() -> None:
    assert describe(Plain()) == {"type": "Plain"}
    with pytest.raises(
        SettingError, match=r"^Undecorated must be a dataclass, .*: write @dataclass"
    ):
        describe(Undecorated(3))


def test_classes_of_other_packages_are_not_builtin() -> None:
    assert is_builtin(ReLU())
    assert not is_builtin(Custom())


def test_the_closest_name_is_suggested_else_all_are_listed() -> None:
    known = ("SGD", "Adam", "AdamW")
    assert str(unknown("optimizer", "sdg", known)) == "unknown optimizer 'sdg': did you mean 'SGD'?"
    wanted = "unknown optimizer 'xyz': expected one of Adam, AdamW, SGD"
    assert str(unknown("optimizer", "xyz", known)) == wanted
