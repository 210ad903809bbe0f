"""``gpucnn predict``: which argument is a network, and which network reads images without one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from small import small_model

import gpucnn
from gpucnn.cli.main import run
from gpucnn.cli.networks import split_arguments
from gpucnn.errors import SettingError
from gpucnn.training.files.pretrained import FILES

DEFAULT = str(FILES["lenet5"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with networks, images and folders of each."""
    root = tmp_path_factory.mktemp("networks")
    gpucnn.save_model(small_model(), root / "model.npz")
    (root / "model").write_bytes((root / "model.npz").read_bytes())
    for name in ("run", "photos", "empty", "stopped", "runs/run"):
        (root / name).mkdir(parents=True)
    (root / "run" / "checkpoint.npz").write_bytes((root / "model.npz").read_bytes())
    (root / "stopped" / "config.json").write_text("{}")
    image = pytest.importorskip("PIL.Image")
    source = Path(gpucnn.data.__file__).parent / "mnist" / "t10k-images-idx3-ubyte.gz"
    with gzip.open(source) as file:
        digits = np.frombuffer(file.read(16 + 3 * 784), np.uint8, offset=16).reshape(3, 28, 28)
    for pixels, name in zip(255 - digits, ("7.png", "photos/2.png", "scan"), strict=True):
        image.fromarray(pixels).resize((112, 112)).save(root / name, "PNG")
    (root / "weights.pt").write_bytes(b"\x80\x02}q\x00.")
    (root / "weights").write_bytes(b"\x80\x02}q\x00.")
    (root / "notes.txt").write_text("not an image")
    return root


@pytest.mark.parametrize(
    "network",
    [
        *("model.npz", "model", "run", "stopped", "empty", "runs", "weights.pt", "weights"),
        *("lenet5", "typo", "typo.npz", "runs/typo", "typo.onnx"),
    ],
)
def test_the_first_of_several_arguments_is_a_network(
    folder: Path, monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    monkeypatch.chdir(folder)
    assert split_arguments(network, ["7.png"]) == (network, ["7.png"])


@pytest.mark.parametrize("first", ["7.png", "photos", "scan", "notes.txt", "typo.jpg", "/dev/null"])
def test_all_arguments_are_images(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    first: str,
) -> None:
    monkeypatch.chdir(folder)
    assert split_arguments(first, ["7.png"]) == (DEFAULT, [first, "7.png"])
    assert split_arguments(None, [first]) == (DEFAULT, [first])
    note = "note: no network given, so the ready-trained lenet5 reads the images as digits\n"
    assert capsys.readouterr().err == 2 * note


@pytest.mark.parametrize("network", ["model.npz", "model", "run", "lenet5", "weights.pt", "a.npz"])
def test_a_network_without_images_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(SettingError, match=f"no image given: .* gpucnn predict {network} IMAGE"):
        split_arguments(None, [network])


@pytest.mark.parametrize("words", ["7.png --json photos", "--json lenet5 7.png photos"])
def test_digits_are_read_without_a_run(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
) -> None:
    """Options may stand before, between and after the images."""
    monkeypatch.chdir(folder)
    assert run(["predict", *words.split(), "--backend", "numpy"]) == 0
    captured = capsys.readouterr()
    assert [row["class"] for row in json.loads(captured.out)] == ["7", "2"]
    assert ("note: no network given" in captured.err) == ("lenet5" not in words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("typo 7.png", "no checkpoint at typo"),
        ("typo.png", "typo.png cannot be read"),
        ("typo", "typo cannot be read"),
        ("stopped 7.png", "no checkpoint at stopped/checkpoint.npz"),
        ("weights.pt 7.png", "is a PyTorch file, not a checkpoint"),
        ("empty", "empty contains no files"),
        ("", "the following arguments are required: IMAGE"),
        ("--jsn 7.png", "unknown option '--jsn': did you mean '--json'?"),
    ],
)
def test_messages(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    message: str,
) -> None:
    monkeypatch.chdir(folder)
    assert run(["predict", *words.split()]) == 2
    assert message in capsys.readouterr().err
