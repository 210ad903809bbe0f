"""``gpucnn filter``."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn.cli import run
from gpucnn.cli.filter import parse_matrix, to_levels
from gpucnn.errors import SettingError
from gpucnn.nn import apply_filter

PIL_Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)
    PIL_Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def pixels_of(path: Path) -> Any:
    return np.asarray(PIL_Image.open(path))


def test_a_gradient_is_saved_with_its_components(
    photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = photo.with_name("edges.png")
    assert run(["filter", str(photo), "--out", str(out)]) == 0
    x, y = apply_filter(pixels_of(photo).transpose(2, 0, 1), "sobel")
    size = np.hypot(x, y).transpose(1, 2, 0)
    levels = (size - size.min()) * 255 / np.ptp(size)
    assert abs(pixels_of(out) - levels).max() <= 0.51
    for name, values in (("x", x), ("y", y)):
        signed = 128 + values.transpose(1, 2, 0) * 127 / abs(values).max()
        assert abs(pixels_of(photo.with_name(f"edges-{name}.png")) - signed).max() <= 0.51
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{photo}: 17 x 12 pixels, colour; sobel, 3 x 3"
    assert lines[-1].endswith(f"saved to {out}")
    assert sorted(path.name for path in photo.parent.iterdir()) == [
        "edges-x.png", "edges-y.png", "edges.png", "photo.png",
    ]  # fmt: skip


def test_a_matrix_is_typed_read_from_a_file_or_from_standard_input(
    photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, saved = "1/9 0 0.5\n 0 -1e0 0\n\n", photo.with_name("matrix.txt")
    saved.write_text(rows)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(rows.encode())))
    results = []
    for text in ("1/9,0,.5; 0 -1 0;", str(saved), "-"):
        out = photo.with_name("out.png")
        words = ["--grey", "--matrix", text, "--out", str(out), "--padding", "valid"]
        assert run(["filter", str(photo), *words, "--stride", "2"]) == 0
        results.append(pixels_of(out))
    assert results[0].shape == (6, 8)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_files_of_all_modes_are_filtered(photo: Path) -> None:
    image = PIL_Image.open(photo)
    deep = PIL_Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    modes = {mode: image.convert(mode) for mode in ("P", "RGBA", "LA", "1", "CMYK")}
    for mode, converted in {"I;16": deep, **modes}.items():
        suffix = "tif" if mode == "CMYK" else "png"
        path, out = photo.with_name(f"mode.{suffix}"), photo.with_name("out.png")
        converted.save(path)
        assert run(["filter", str(path), "identity", "--out", str(out)]) == 0
        grey = mode in ("I;16", "LA", "1")
        assert pixels_of(out).shape == ((12, 17) if grey else (12, 17, 3)), mode
        if mode == "I;16":
            np.testing.assert_array_equal(pixels_of(out), np.asarray(image.convert("L")))


def test_an_image_of_one_pixel_and_json(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    PIL_Image.new("L", (1, 1), 7).save(photo)
    words = ["filter", str(photo), "laplacian", "--padding", "full", "--json"]
    assert run(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["shape"] for row in found["results"]] == [[1, 3, 3], [1, 3, 3]]
    assert (found["results"][0]["least"], found["results"][0]["greatest"]) == (-28, 7)
    assert found["matrix"][1] == [1, -4, 1]


def test_without_out_the_results_are_drawn(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["filter", str(photo), "box-blur", "--size", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["input", "result"]
    assert len(lines) == 3 + 12


def test_scalings() -> None:
    values = np.array([[[-300.0, -30.4, 0, 30, 300]]])
    expected = {
        "clip": [0, 0, 0, 30, 255],
        "abs": [255, 30, 0, 30, 255],
        "normalize": [0, 115, 128, 140, 255],
        "signed": [1, 115, 128, 141, 255],
    }
    for scaling, levels in expected.items():
        assert to_levels(values, scaling).ravel().tolist() == levels, scaling
    flat = np.zeros((1, 1, 1))
    assert [to_levels(flat, how).item() for how in expected] == [0, 0, 0, 128]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no numbers"),
        (" ; ;\n", "no numbers"),
        ("1 2; 3", "row 2 has 1 numbers and row 1 has 2"),
        ("1 e", "'e' is not a number"),
        ("1/0", "'1/0' is not a number"),
        ("1/2/3", "is not a number"),
    ],
)
def test_rows_that_are_no_matrix_are_refused(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        parse_matrix(text)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["blur"], "unknown filter 'blur': did you mean 'box-blur'?"),
        (["sobel", "--matrix", "1"], "either the filter 'sobel' or --matrix"),
        (["sobel", "--size", "3"], "--size is for box-blur and gaussian-blur"),
        (["box-blur", "--sigma", "3"], "--sigma is for gaussian-blur"),
        (["--matrix", "nan"], "'nan' is neither a file nor rows of numbers"),
        (["--matrix", "{folder}"], "Is a directory"),
        (["--matrix", "{photo}"], "is not a text file"),
        (["--matrix", "1e400"], "finite elements"),
        (["--matrix", "1e15 -1"], "add up to 1e+15, at most 1e+15 is possible"),
        (["0 1;1 0"], "give a matrix with --matrix"),
        (["--scaling", "normalise"], "did you mean 'normalize'?"),
        (["--out", "{photo}"], "is the image that is read"),
        (["--out", "{folder}/x.txt"], "suffix of an image, such as .png or .jpg, got '.txt'"),
        (["--out", "{folder}/x"], "got none"),
        (["--out", "{folder}/no/x.png"], "which is not a folder"),
        (["--padding", "valid", "--dilation", "9"], "covers 19 x 19 pixels"),
    ],
)
def test_wrong_options_are_one_line(
    photo: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    words = [word.format(photo=photo, folder=photo.parent) for word in words]
    assert run(["filter", str(photo), *words]) in (1, 2)
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert [path.name for path in photo.parent.iterdir()] == ["photo.png"]


def test_what_is_not_an_image_is_refused(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo.write_bytes(photo.read_bytes()[:60])
    assert run(["filter", str(photo)]) == 2
    assert run(["filter", str(photo.with_name("none.png"))]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
