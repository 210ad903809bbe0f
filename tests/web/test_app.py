"""The application in this process: what the page asks for, and what it gets."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import pytest
from asking import ask
from images import seven
from serving import scaled, untrained
from starlette.types import ASGIApp

from gpucnn.models import lenet5
from gpucnn.nn.targets import Targets
from gpucnn.web.app import make_app
from gpucnn.web.decoders import Decoders
from gpucnn.web.hosts import host_check


@pytest.fixture(scope="module")
def app(decoders: Decoders) -> ASGIApp:
    return make_app([untrained()], host_check("localhost"), decoders)


def test_models_are_described(app: ASGIApp) -> None:
    (model,) = ask(app, "/api/models").json
    assert model["parameters"] == 61_706
    assert model["input_shape"] == [1, 28, 28]
    assert model["classes"] == list("0123456789")
    assert model["layers"][0]["shape"] == [6, 28, 28]


def test_a_drawn_digit_gets_probabilities_and_feature_maps(app: ASGIApp) -> None:
    (result,) = ask(app, "/api/predict", seven()).json["results"]
    assert result["status"] == "digit"
    assert np.isclose(sum(result["probabilities"]), 1)
    assert result["label"] == np.argmax(result["probabilities"])
    assert len(base64.b64decode(result["input"]["data"])) == 28 * 28
    for layer in result["layers"]:
        assert len(base64.b64decode(layer["data"])) == np.prod(layer["shown"])


def test_a_network_for_regression_answers_numbers_in_their_units(decoders: Decoders) -> None:
    served = untrained()
    model = scaled(lenet5(classes=2))
    model.output, model.targets = "none", Targets(("x", "y"), (100.0, -5.0), (10.0, 0.1))
    app = make_app([replace(served, model=model)], host_check("localhost"), decoders)
    (described,) = ask(app, "/api/models").json
    assert (described["is_regression"], described["classes"]) == (True, ["x", "y"])
    (result,) = ask(app, "/api/predict", seven()).json["results"]
    assert (result["probabilities"], result["label"]) == ([], None)
    x, y = result["numbers"]
    assert 50 < x < 150
    assert -6 < y < -4


def test_the_page_may_name_models_in_its_address(app: ASGIApp) -> None:
    answer = ask(app, "/?models=1,2")
    assert answer.status == 200
    assert b"<html" in answer.body


def test_names_and_figures_of_any_kind_are_valid_json(decoders: Decoders) -> None:
    served = replace(untrained(), title="\udcff", origin="\udcff/x", test_accuracy=float("nan"))
    served.model.classes = ("\ud800", *"123456789")
    (model,) = ask(make_app([served], host_check("localhost"), decoders), "/api/models").json
    assert (model["title"], model["origin"], model["test_accuracy"]) == (
        "\\udcff",
        "\\udcff/x",
        None,
    )
    assert model["classes"][0] == "\\ud800"
