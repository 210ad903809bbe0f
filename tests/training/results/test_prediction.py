"""``predict_file``: the same for paths, bytes, files and pixels, and as the command predicts."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small import small_data, small_model

import gpucnn
from gpucnn.cli.main import run
from gpucnn.data.images.inputs import as_digit
from gpucnn.errors import DataError, DivergedError, SettingError

image = pytest.importorskip("PIL.Image")

PIXELS = small_data().test.images[0, 0]


def plain_model() -> gpucnn.Sequential:
    model = small_model()
    model.normalization, model.preparation = ((0.5,), (0.3,)), "plain"
    return model


def digit_model() -> gpucnn.Sequential:
    model = gpucnn.models.mlp(seed=1)
    model.normalization, model.preparation = ((0.1,), (0.3,)), "digit"
    return model


@pytest.fixture(scope="module")
def drawn() -> NDArray[np.uint8]:
    """A digit of MNIST, dark on light and larger."""
    digit = gpucnn.data.mnist().test.images[0, 0]
    return 255 - np.kron(digit, np.ones((3, 3), np.uint8))


def saved(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def test_paths_bytes_files_and_pixels_are_read(tmp_path: Path) -> None:
    model, content = plain_model(), saved(PIXELS)
    path = tmp_path / "one.dat"
    path.write_bytes(content)
    wanted = model.predict(PIXELS[None])[0]
    with path.open("rb") as stream:
        for source in (path, str(path), content, io.BytesIO(content), stream, PIXELS):
            found = gpucnn.predict_file(model, source)
            assert found.status == "image"
            assert found.reason == ""
            np.testing.assert_array_equal(found.input, PIXELS[None])
            np.testing.assert_array_equal(found.probabilities, wanted)
            assert found.label == wanted.argmax()
            assert found.name == str(found.label)
        assert not stream.closed


def test_a_digit_has_the_mean_of_five_positions(drawn: NDArray[np.uint8]) -> None:
    model = digit_model()
    found = gpucnn.predict_file(model, drawn)
    prepared = as_digit(drawn)
    moves = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))  # the edge of a prepared digit is empty
    variants = [np.roll(prepared, move, (0, 1)) for move in moves]
    wanted = np.mean([model.predict(variant[None])[0] for variant in variants], 0)
    assert found.status == "digit"
    np.testing.assert_array_equal(found.input, prepared[None])
    np.testing.assert_allclose(found.probabilities, wanted, 1e-5)


def test_the_most_probable_classes_have_names() -> None:
    model = plain_model()
    model.classes = ("cat", "dog", "eel")
    found = gpucnn.predict_file(model, PIXELS)
    assert found.classes == ("cat", "dog", "eel", "3")
    assert found.probabilities is not None
    pairs = sorted(
        zip(found.classes, found.probabilities.tolist(), strict=True), key=lambda p: -p[1]
    )
    assert found.top(4) == pairs
    assert found.top() == pairs[:3]
    assert found.name == pairs[0][0]
    shown = ", ".join(f"{name} {100 * value:.2f} %" for name, value in pairs[:3])
    assert repr(found) == f"<Prediction {found.name!r}, {shown}>"


def test_an_image_without_a_digit_has_no_class(drawn: NDArray[np.uint8]) -> None:
    model = digit_model()
    blank = gpucnn.predict_file(model, np.full((40, 40), 200, np.uint8))
    assert (blank.status, blank.input, blank.probabilities) == ("none", None, None)
    assert (blank.label, blank.name, blank.top()) == (None, None, [])
    assert blank.reason
    assert repr(blank) == f"<Prediction none ({blank.reason})>"
    several = gpucnn.predict_file(model, np.concatenate([drawn, drawn], 1))
    assert (several.status, several.label, several.name) == ("several", None, None)
    assert several.probabilities is not None
    assert len(several.top()) == 3


def test_networks_for_letters_do_not_judge_digits() -> None:
    """A cross is not like MNIST's digits."""
    cross = np.full((60, 60), 255, np.uint8)
    cross[28:32, 10:50] = cross[10:50, 28:32] = 0
    model = digit_model()
    assert gpucnn.predict_file(model, cross).status == "none"
    model.classes = tuple("abcdefghij")
    assert gpucnn.predict_file(model, cross).status == "digit"


def test_the_preparation_follows_from_the_training_images(tmp_path: Path) -> None:
    model, data = gpucnn.models.mlp(), gpucnn.data.mnist().limit(100)
    gpucnn.fit(model, data, epochs=1, checkpoint=tmp_path / "run.npz")
    gpucnn.save_model(model, tmp_path / "model.npz")
    for each in (model, *map(gpucnn.load_model, (tmp_path / "run.npz", tmp_path / "model.npz"))):
        assert each.preparation == "digit"
    model.preparation = None
    gpucnn.save_model(model, tmp_path / "model.npz")
    assert gpucnn.load_model(tmp_path / "model.npz").preparation is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"text", "the image is not an image"),
        (b"", "the image is not an image"),
        (saved(PIXELS)[:60], "the image cannot be read|is not an image, or is damaged"),
        ("missing.png", "missing.png cannot be read: No such file"),
        (PIXELS / 255, r"an image must be uint8 \(H, W\) or \(H, W, 3\), got float64"),
    ],
    ids=["text", "empty", "cut off", "missing", "floats"],
)
def test_what_is_not_an_image_is_refused(source: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        gpucnn.predict_file(plain_model(), source)


def test_what_does_not_fit_the_model_is_refused() -> None:
    model = plain_model()
    with pytest.raises(SettingError, match="preparation 'digits'"):
        gpucnn.predict_file(model, PIXELS, prepare="digits")
    model.preparation = None
    with pytest.raises(SettingError, match='give prepare="digit" or prepare="plain"'):
        gpucnn.predict_file(model, PIXELS)
    colour = small_model(channels=3)
    with pytest.raises(SettingError, match=r"digits need .* one channel, got \(3, 8, 8\)"):
        gpucnn.predict_file(colour, PIXELS, prepare="digit")
    with pytest.raises(SettingError, match="the model has no normalization"):
        gpucnn.predict_file(colour, PIXELS, prepare="plain")
    model.flat_parameters[...] = np.nan
    with pytest.raises(DivergedError, match="outputs of the network contain NaN"):
        gpucnn.predict_file(model, PIXELS, prepare="plain")


def test_the_command_predicts_the_same(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    drawn: NDArray[np.uint8],
) -> None:
    monkeypatch.chdir(tmp_path)
    model = digit_model()
    gpucnn.save_model(model, "model.npz")
    for name, pixels in (("one.png", drawn), ("blank.png", np.zeros((30, 30), np.uint8))):
        Path(name).write_bytes(saved(pixels))
    assert run(["predict", "model.npz", "one.png", "blank.png", "--json"]) == 1
    for row in json.loads(capsys.readouterr().out):
        found = gpucnn.predict_file(model, row["image"])
        assert (row["status"], row["reason"] or "") == (found.status, found.reason)
        assert row["class"] == found.name
        top = [(each["class"], pytest.approx(each["probability"])) for each in row["top"]]
        assert top == found.top()
