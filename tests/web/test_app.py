"""The application in this process: what the page asks for, and what it gets."""

from __future__ import annotations

import base64
import io
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest
from asking import ask
from PIL import Image, ImageDraw
from serving import serving, untrained
from starlette.types import ASGIApp

from gpucnn.web.app import make_app
from gpucnn.web.decoders import Decoders


def seven() -> bytes:
    """A PNG file with a drawn seven."""
    image = Image.new("L", (280, 280), 255)
    ImageDraw.Draw(image).line([(90, 60), (190, 60), (120, 220)], fill=0, width=22)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def app() -> Iterator[ASGIApp]:
    served = [untrained()]
    with Decoders([each.way for each in served], count=1) as decoders:
        yield make_app(served, lambda name: name == "localhost", decoders)


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


def test_the_page_is_served_on_a_socket() -> None:
    with serving([untrained()]) as url, urllib.request.urlopen(f"{url}/?models=1") as answer:
        assert answer.headers["Content-Type"].startswith("text/html")
        assert b"<html" in answer.read()
