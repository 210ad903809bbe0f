"""The command line, run within this process: what it prints, writes and refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from available import backend_or_skip
from small import save_npz, small_data

import gpucnn
from gpucnn.backends import BACKENDS, PRECISIONS
from gpucnn.cli.main import run
from gpucnn.cli.parser import COMMANDS, MainParser
from gpucnn.cli.runs import Log
from gpucnn.data import Data, Split
from gpucnn.data.images.inputs import as_digit
from gpucnn.machine import openblas
from gpucnn.models import MODELS
from gpucnn.nn.losses import LOSSES, CrossEntropyLoss
from gpucnn.optim import OPTIMIZERS, SCHEDULES
from gpucnn.training.settings import RECIPES

MODEL = """
from __future__ import annotations
from dataclasses import dataclass
import gpucnn
from gpucnn.nn.layers import Flatten, Layer, Linear

@dataclass(eq=False)
class Double(Layer):
    def forward(self, be, x, training=None):
        return x + x, None
    def backward(self, be, grad, saved, input_grad=True):
        return grad + grad

def build(channels, size, classes):
    layers = {"flatten": Flatten(), "double": Double(), "fc": Linear(channels * 64, classes)}
    return gpucnn.Sequential(layers, (channels, *size))

def fixed():
    return gpucnn.Sequential({"flatten": Flatten(), "fc": Linear(64, 4)}, (1, 8, 8))

def wrong():
    return 3

def leaving():
    raise SystemExit(0)

def broken():
    raise RuntimeError("no luck")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with small data and a model file in it."""
    monkeypatch.chdir(tmp_path)
    save_npz("small.npz", small_data())
    Path("mynet.py").write_text(MODEL)
    return tmp_path


def train(*options: str) -> int:
    return run(["train", "--data", "small.npz", "--model", "mlp", "--epochs", "2", *options])


@contextmanager
def open_folder(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def events(folder: str) -> list[dict]:
    return [json.loads(line) for line in Path(folder, "log.jsonl").read_text().splitlines()]


def test_train_saves_a_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--out", "r", "--batch-size", "16", "--seed", "3") == 0
    output = capsys.readouterr().out
    lines = output.splitlines()
    assert lines[0].startswith("mlp on small: 8,836 parameters, 70 images, ")
    assert "backend (auto" in lines[0]
    assert [line.split()[:2] for line in lines[1:3]] == [["epoch", "1/2"], ["epoch", "2/2"]]
    assert "r/" in lines[-2]
    assert output.isascii()
    assert sorted(p.name for p in Path("r").iterdir()) == [
        "checkpoint.npz",
        "config.json",
        "log.jsonl",
        "metrics.csv",
    ]
    config = json.loads(Path("r/config.json").read_text())
    assert config["settings"]["batch_size"] == 16
    assert config["settings"]["seed"] == 3
    log = events("r")
    assert [e["event"] for e in log] == [
        "start", "checkpoint", "epoch", "checkpoint", "epoch", "checkpoint", "stop",
    ]  # fmt: skip
    epoch = log[2]
    assert epoch["epoch"] == 1
    assert set(epoch) >= {
        "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds",
        "images_per_second",
    }  # fmt: skip
    assert 0 <= epoch["test_accuracy"] <= 1


def test_notes_of_the_data_are_printed_as_lines_on_standard_error(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = replace(small_data(), notes=("pixels 0 to 1 were scaled", "2 files were not read"))
    monkeypatch.setattr("gpucnn.data.formats.npz.read_npz", lambda *arguments: noted)
    assert train("--out", "out") == 0
    error = capsys.readouterr().err
    assert error == "note: pixels 0 to 1 were scaled\nnote: 2 files were not read\n"


def test_why_steps_are_not_recorded_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend_or_skip("emulated")
    why = (
        "layer 'double' (Double) is a custom layer, "
        "so training steps run eagerly instead of as a CUDA graph"
    )
    for model, said in (("small_cnn", False), ("mynet.py:build", True)):
        assert train("--backend", "emulated", "--model", model, "--epochs", "1") == 0
        assert (why in capsys.readouterr().out.splitlines()) == said


API = """
import gpucnn
data = gpucnn.data.load("small.npz")
model = gpucnn.models.mlp(channels=1, size=(8, 8), classes=4, seed=2)
gpucnn.fit(model, data, epochs=2, seed=2, backend="numpy", checkpoint="api.npz")
"""


def test_the_python_api_and_the_command_write_the_same_bytes(folder: Path) -> None:
    """In fresh processes: only the command limits OpenBLAS's threads before NumPy is loaded."""
    environment = dict(os.environ)
    openblas.prepare(environment)  # for the same kernels
    del environment[openblas.THREADS]
    words = ["train", "--data", "small.npz", "--model", "mlp", "--epochs", "2", "--seed", "2"]
    for command in (["-c", API], ["-m", "gpucnn", *words, "--backend", "numpy", "--out", "r"]):
        subprocess.run([sys.executable, *command], env=environment, check=True, capture_output=True)
    assert Path("r/checkpoint.npz").read_bytes() == Path("api.npz").read_bytes()


def test_runs_get_numbers_and_are_not_overwritten(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == train() == 0
    assert sorted(p.name for p in Path("runs").iterdir()) == ["mlp-small-1", "mlp-small-2"]
    capsys.readouterr()
    before = Path("runs/mlp-small-1/checkpoint.npz").read_bytes()
    assert train("--out", "runs/mlp-small-1", "--seed", "9") == 2
    assert "already holds a run" in capsys.readouterr().err
    assert Path("runs/mlp-small-1/checkpoint.npz").read_bytes() == before


def test_options_reach_the_run(folder: Path) -> None:
    assert train(
        "--out", "r", "--optimizer", "adamw", "--lr", "0.01", "--weight-decay", "0.1",
        "--schedule", "one-cycle", "--loss", "mse", "--validation", "20", "--early-stopping", "1",
        "--keep-best", "--limit", "60", "--checkpoint-every", "2", "--batch-size", "8",
    ) == 0  # fmt: skip
    start = events("r")[0]
    assert (start["train_images"], start["validation_images"]) == (40, 20)
    settings = start["settings"]
    assert settings["optimizer"]["type"] == "AdamW"
    assert settings["optimizer"]["lr"] == 0.01
    assert settings["optimizer"]["weight_decay"] == 0.1
    assert settings["schedule"]["type"] == "OneCycleLR"
    assert settings["loss"]["type"] == "MSELoss"
    assert (settings["early_stopping"], settings["keep_best"]) == (1, True)
    assert len([e for e in events("r") if e["event"] == "checkpoint"]) > 4


def test_default_recipe_is_the_promised_one(folder: Path) -> None:
    assert run(["train", "--data", "small.npz", "--model", "mlp", "--out", "r"]) == 0
    settings = events("r")[0]["settings"]
    assert (settings["epochs"], settings["batch_size"]) == (5, 64)
    assert settings["optimizer"]["type"] == "SGD"
    assert (settings["optimizer"]["lr"], settings["optimizer"]["momentum"]) == (0.05, 0.9)
    assert settings["schedule"] == {"type": "CosineAnnealingLR", "warmup": 0.2}


def test_fast_recipe_is_the_one_that_was_chosen(folder: Path) -> None:
    words = ["train", "--data", "small.npz", "--model", "mlp", "--out", "r"]
    assert run([*words, "--recipe", "fast", "--epochs", "2"]) == 0
    settings = events("r")[0]["settings"]
    assert (settings["epochs"], settings["batch_size"]) == (2, 512)
    assert settings["optimizer"]["type"] == "Adam"
    assert (settings["optimizer"]["lr"], settings["optimizer"]["betas"]) == (0.01, [0.7, 0.9])
    assert settings["schedule"] == {"type": "CosineAnnealingLR", "warmup": 0.3}


def test_quick_recipe_is_the_one_that_was_chosen(folder: Path) -> None:
    words = ["train", "--data", "small.npz", "--model", "mlp", "--out", "r", "--recipe", "quick"]
    assert run([*words, "--label-smoothing", "0.2"]) == 0
    settings = events("r")[0]["settings"]
    assert (settings["epochs"], settings["batch_size"], settings["ema"]) == (2, 64, 0.0)
    assert settings["optimizer"] == {
        "type": "SGD", "lr": 0.15, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True
    }  # fmt: skip
    assert settings["schedule"] == {"type": "CosineAnnealingLR", "warmup": 0.2}
    assert settings["loss"]["label_smoothing"] == 0.2
    assert RECIPES["quick"]().loss == CrossEntropyLoss(label_smoothing=0.1)


def test_best_recipe_has_a_network_of_its_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless another is given; a resumed run has it, too."""
    words = ["train", "--data", "small.npz", "--recipe", "best", "--epochs", "2"]
    assert run([*words, "--workers", "1"]) == 0
    (path,) = Path("runs").iterdir()
    assert path.name == "digits_cnn-small-1"
    settings = events(path)[0]["settings"]
    assert (settings["batch_size"], settings["ema"]) == (128, 0.999)
    assert settings["augment"]["rotate"] == 12
    before = (path / "checkpoint.npz").read_bytes()
    assert run(["train", "--resume", str(path)]) == 0
    assert (path / "checkpoint.npz").read_bytes() == before
    assert run([*words, "--model", "mlp", "--out", "r"]) == 0
    assert capsys.readouterr().out.count("mlp on small") == 1


def test_resume_of_a_finished_run_and_what_may_not_change(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--out", "r") == 0
    before = Path("r/checkpoint.npz").read_bytes()
    assert run(["train", "--out", "r", "--resume"]) == 0
    assert run(["train", "--resume", "r"]) == 0
    assert run(["train", "--resume", "r/checkpoint.npz", "--epochs", "2"]) == 0
    assert Path("r/checkpoint.npz").read_bytes() == before
    assert [e["epoch"] for e in events("r") if e["event"] == "epoch"] == [1, 2]
    capsys.readouterr()
    assert run(["train", "--resume", "r", "--epochs", "9"]) == 2
    assert "epochs cannot change from 2 to 9" in capsys.readouterr().err
    assert run(["train", "--resume", "r", "--lr", "0.5"]) == 2
    assert (
        "--lr must be as in the run that is resumed: not given, got 0.5" in capsys.readouterr().err
    )


def test_a_resumed_log_forgets_what_its_checkpoint_does_not_know(folder: Path) -> None:
    assert train("--out", "r") == 0
    path = Path("r/log.jsonl")
    before = path.read_text()
    with Log(Path("r"), completed=1):
        pass
    kept = [line for line in before.splitlines() if '"epoch", "step": 4,' not in line]
    assert path.read_text().splitlines() == kept
    assert [e["epoch"] for e in events("r") if e["event"] == "epoch"] == [1]
    path.write_text(before + '{"event": "epoch", "st')
    with Log(Path("r"), completed=2):
        pass
    assert path.read_text() == before


def test_resume_works_from_another_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train("--out", "r") == 0
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert run(["train", "--resume", "../r"]) == 0


def test_resume_without_a_run_starts_a_new_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--out", "r", "--resume") == 0
    assert "r holds no run: starting a new one" in capsys.readouterr().err
    assert run(["train", "--resume"]) == 2
    assert "--resume needs the folder of the run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--resume typo", "typo holds no run to resume"),
        ("--resume typo.npz", "must be the folder of a run or its checkpoint.npz, got"),
        ("--resume r/backup.npz", "must be the folder of a run or its checkpoint.npz, got"),
        ("--out elsewhere --resume r", "are different folders: give only one"),
        ("--out small.npz", "cannot write to small.npz: File exists"),
        ("--out small.npz/x", "cannot write to small.npz/x: Not a directory"),
    ],
)
def test_folders_that_hold_no_run(
    folder: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    assert train("--out", "r") == 0
    capsys.readouterr()
    before = sorted(folder.rglob("*"))
    assert train(*words.split()) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


def test_a_checkpoint_without_a_run_is_not_overwritten(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("r").mkdir()
    data = gpucnn.data.load("small.npz")
    model = gpucnn.models.mlp(size=8, classes=4)
    gpucnn.fit(model, data, epochs=1, checkpoint="r/checkpoint.npz")
    before = Path("r/checkpoint.npz").read_bytes()
    assert train("--out", "r") == 2
    assert Path("r/checkpoint.npz").read_bytes() == before


def test_one_folder_holds_one_run_at_a_time(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fcntl = pytest.importorskip("fcntl")
    assert train("--out", "r") == 0
    capsys.readouterr()
    with open_folder("r") as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert run(["train", "--resume", "r"]) == 2
        assert "another process is training in r" in capsys.readouterr().err
    assert run(["train", "--resume", "r"]) == 0


@pytest.mark.parametrize(
    "options",
    ['[]', '{"limit": "x"}', '{"recipe": []}', '{"model": 5}', '{"schedule": []}', '{"resize": 3}',
     '{"foo": 1}', '{"epochs": null}'],
)  # fmt: skip
def test_a_config_that_was_edited_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], options: str
) -> None:
    assert train("--out", "r") == 0
    Path("r/config.json").write_text(f'{{"options": {options}}}')
    capsys.readouterr()
    assert run(["train", "--resume", "r"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_overflow_in_the_last_step_saves_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--out", "r", "--lr", "1e300", "--epochs", "1", "--batch-size", "70") == 1
    assert "infinite; a lower learning rate may help" in capsys.readouterr().err
    assert np.isfinite(gpucnn.load_model("r/checkpoint.npz", "numpy").flat_parameters).all()


def test_evaluate_draws_the_split_that_was_trained_with(folder: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        Path("noise", name).mkdir(parents=True)
        for index in range(40):
            pixels = rng.integers(0, 256, (8, 8), np.uint8)
            image.fromarray(pixels).save(f"noise/{name}/{index}.png")
    own = ["--data", "noise", "--model", "mlp", "--seed", "3", "--epochs", "40", "--lr", "0.2"]
    assert run(["train", *own, "--out", "r"]) == 0
    last = [e for e in events("r") if e["event"] == "epoch"][-1]
    assert last["train_accuracy"] > 0.95
    saved = gpucnn.load_model("r/checkpoint.npz")
    data = gpucnn.data.load("noise", seed=3)
    assert gpucnn.evaluate(saved, data.test).accuracy == last["test_accuracy"]
    assert run(["evaluate", "r", "--data", "noise", "--json"]) == 0


def draw_noise(path: str, seed: int) -> None:
    """Write an image of random pixels."""
    image = pytest.importorskip("PIL.Image")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), np.uint8)
    image.fromarray(pixels).save(path)


def test_a_folder_that_grew_is_evaluated_on_images_that_were_not_trained_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(60):
        draw_noise(f"set/{'ab'[index % 2]}/{index}.png", index)
    assert train("--data", "set", "--out", "r") == 0
    before = len(gpucnn.data.load("set").test)
    for index in range(60, 160):
        draw_noise(f"set/{'ab'[index % 2]}/new-{index}.png", index)
    for index in range(0, 20, 3):
        os.replace(f"set/{'ab'[index % 2]}/{index}.png", f"set/{'ab'[index % 2]}/{index}-x.png")
    capsys.readouterr()
    assert run(["evaluate", "r", "--data", "set", "--json"]) == 0
    output, error = capsys.readouterr()
    assert json.loads(output)["images"] > before
    assert error == ""


def test_files_that_moved_from_train_to_test_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(40):
        part = "test" if index % 5 == 0 else "train"
        draw_noise(f"set/{part}/{'ab'[index % 2]}/{index}.png", index)
    assert train("--data", "set", "--out", "r") == 0
    assert run(["evaluate", "r", "--data", "set"]) == 0
    os.replace("set/train/a/2.png", "set/test/a/renamed.png")
    draw_noise("set/test/b/again.bmp", 3)  # the same pixels in another format
    capsys.readouterr()
    assert run(["evaluate", "r", "--data", "set"]) == 2
    assert "2 of 10 test images of set were used in training" in capsys.readouterr().err
    # The network is trained on images that it is tested on: that is said before.
    assert train("--data", "set", "--out", "r2") == 0
    assert capsys.readouterr().out.startswith(
        "note: 1 of 10 test images are also training images (the first is test image "
    )


def test_evaluate_refuses_images_that_were_trained_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the training images, limited or held out, in the test set of another file."""
    whole = small_data()
    train("--out", "r", "--limit", "50", "--validation", "10")
    capsys.readouterr()

    def evaluate(name: str, indices: list[int], *options: str) -> tuple[int, str, str]:
        images = np.concatenate([whole.test.images[:30], whole.train.images[indices]])
        labels = np.concatenate([whole.test.labels[:30], whole.train.labels[indices]])
        save_npz(name, Data(whole.train, Split(images, labels), whole.classes, "x"))
        status = run(["evaluate", "r", "--data", name, *options])
        return status, *capsys.readouterr()

    assert evaluate("apart.npz", [50, 69])[::2] == (0, "")
    status, output, error = evaluate("mixed.npz", [50, *range(50)])
    assert (status, output) == (2, "")
    assert error == (
        "gpucnn: 50 of 81 test images of mixed were used in training the network (the first is"
        " test image 31), so its accuracy would be too high: give other test data with --data, or"
        " leave them out with --skip-trained\n"
    )
    status, output, error = evaluate("mixed.npz", [50, *range(50)], "--skip-trained", "--json")
    assert (status, json.loads(output)["images"]) == (0, 31)
    assert error == (
        "note: 50 of 81 test images of mixed were used in training the network; they are left out\n"
    )
    save_npz("all.npz", Data(whole.train, whole.train.limit(9), whole.classes, "x"))
    assert run(["evaluate", "r", "--data", "all.npz", "--skip-trained"]) == 2
    assert "none is left for the evaluation" in capsys.readouterr().err


def test_the_ready_trained_network_refuses_copies_of_its_training_images(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its file has no digests: they are those of MNIST. Its own test images are not refused."""
    mnist, count = gpucnn.data.mnist(), 20
    copied = mnist.train.limit(count)
    save_npz("copy.npz", Data(copied, copied, mnist.classes, "x"))
    assert run(["evaluate", "lenet5", "--data", "copy.npz"]) == 2
    assert "20 of 20 test images of copy were used in training" in capsys.readouterr().err
    save_npz("test.npz", Data(copied, mnist.test.limit(count), mnist.classes, "x"))
    assert run(["evaluate", "lenet5", "--data", "test.npz"]) == 0
    assert "note" not in capsys.readouterr().err


def test_a_network_remembers_what_its_first_weights_were_trained_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through --init, a resumed run, and a file of ``save_model``."""
    first, second = small_data(), small_data(seed=5)
    save_npz("second.npz", second)
    save_npz("test.npz", replace(second, test=first.train.limit(30), train=first.test))
    train("--out", "r")
    tuned = ["--data", "second.npz", "--init", "r"]
    assert run(["train", *tuned, "--epochs", "2", "--out", "r2"]) == 0
    seen = gpucnn.training.files.checkpoint.load("r2").arrays["seen"]
    assert len(seen) == 140
    saved = gpucnn.training.files.checkpoint.load("r2")
    assert run(["train", "--resume", "r2"]) == 0
    again = gpucnn.training.files.checkpoint.load("r2")
    np.testing.assert_array_equal(again.arrays["seen"], saved.arrays["seen"])
    gpucnn.save_model(gpucnn.load_model("r2"), "model.npz")
    for path in ("r2", "model.npz"):
        capsys.readouterr()
        assert run(["evaluate", path, "--data", "test.npz"]) == 2
        assert "30 of 30 test images of test were used in training" in capsys.readouterr().err
    model = gpucnn.load_model("model.npz")
    model.initialize(0)
    assert model.seen is None


def test_skipping_needs_digests_of_all_training_images(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train("--out", "r")
    whole = small_data()
    save_npz("mixed.npz", replace(whole, test=whole.train.limit(69), train=whole.test))
    saved = gpucnn.training.files.checkpoint.load("r")
    assert len(saved.arrays["seen"]) == 70
    monkeypatch.setattr("gpucnn.cli.overlap.MAX_KEPT", 60)
    known = dict(saved.arrays, seen=np.sort(saved.arrays["seen"])[:60])
    gpucnn.training.files.checkpoint.save("r/checkpoint.npz", replace(saved, arrays=known))
    capsys.readouterr()
    assert run(["evaluate", "r", "--data", "mixed.npz"]) == 2
    assert "were used in training" in capsys.readouterr().err
    assert run(["evaluate", "r", "--data", "mixed.npz", "--skip-trained"]) == 2
    error = capsys.readouterr().err
    assert "a run keeps digests of 60 images only: --skip-trained cannot find the others" in error


def test_a_run_without_digests_is_noted_unless_its_data_are_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("--out", "r")
    saved = gpucnn.training.files.checkpoint.load("r")
    arrays = {name: array for name, array in saved.arrays.items() if name != "seen"}
    gpucnn.training.files.checkpoint.save("r/checkpoint.npz", replace(saved, arrays=arrays))
    whole = small_data(seed=4)
    save_npz("other.npz", whole)
    capsys.readouterr()
    for name, note in (("small.npz", ""), ("other.npz", "note: the run does not record its ")):
        assert run(["evaluate", "r", "--data", name]) == 0
        error = capsys.readouterr().err
        assert error.startswith(note)
        assert bool(error) == bool(note)


def test_class_names_in_another_unicode_form_are_equal(folder: Path) -> None:
    """Older versions wrote them as the file system gave them, decomposed on macOS."""
    names = ["caf\u00e9", "tea"]
    for index in range(40):
        draw_noise(f"set/{names[index % 2]}/{index}.png", index)
    assert train("--data", "set", "--out", "r") == 0
    saved = gpucnn.training.files.checkpoint.load("r")
    assert saved.metadata["classes"] == names
    saved.metadata["classes"] = ["cafe\u0301", "tea"]
    gpucnn.training.files.checkpoint.save("r/checkpoint.npz", saved)
    assert run(["evaluate", "r", "--data", "set"]) == 0
    assert run(["train", "--resume", "r"]) == 0


def test_evaluate_refuses_other_classes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train("--out", "r")
    data = small_data()
    save_npz("more.npz", Data(data.train, data.test, (*data.classes, "e"), "more"))
    content = dict(np.load("more.npz"))
    content["y_train"][0] = 4
    np.savez("more.npz", **content)
    capsys.readouterr()
    assert run(["evaluate", "r", "--data", "more.npz"]) == 2
    assert (
        "the classes of more are 0, 1, 2, 3, 4; those of the network are 0, 1, 2, 3"
        in capsys.readouterr().err
    )


def test_evaluate_names_the_size_of_the_networks_images(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("--out", "r")
    arrays = dict(np.load("small.npz"))
    arrays |= {name: arrays[name].repeat(2, axis=-1) for name in ("x_train", "x_test")}
    np.savez("wide.npz", **arrays)
    capsys.readouterr()
    assert run(["evaluate", "r", "--data", "wide.npz"]) == 2
    assert capsys.readouterr().err == (
        "gpucnn: the images of wide are 8x16, those of the network 8x8: for a folder of images, "
        "add --resize 8x8\n"
    )


def test_weights_that_a_model_file_loads_are_kept(folder: Path) -> None:
    Path("pre.py").write_text(
        MODEL + "\ndef pretrained():\n    model = fixed()\n    state = model.state_dict()\n"
        "    state['fc.weight'][...] = 0.125\n    model.load_state_dict(state)\n    return model\n"
    )
    own = ["--data", "small.npz", "--model", "pre.py:pretrained", "--lr", "0", "--epochs", "1"]
    assert run(["train", *own, "--out", "r", "--seed", "7"]) == 0
    assert np.all(gpucnn.load_model("r/checkpoint.npz").state_dict()["fc.weight"] == 0.125)


def test_predict_gives_what_the_loss_makes_of_scores(folder: Path) -> None:
    images = small_data().test.images
    for loss, total in (("cross-entropy", True), ("mse", False), ("bce-with-logits", False)):
        train("--out", loss, "--loss", loss, "--epochs", "9")
        model = gpucnn.load_model(f"{loss}/checkpoint.npz")
        rows = model.predict(images)
        assert bool(np.allclose(rows.sum(1), 1, atol=1e-5)) == total
        if loss == "bce-with-logits":
            assert np.all((rows > 0) & (rows < 1))


def test_a_damaged_checkpoint_is_kept_and_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("--out", "r")
    content = bytearray(Path("r/checkpoint.npz").read_bytes())
    content[1000] ^= 1
    Path("r/checkpoint.npz").write_bytes(content)
    for command in (["train", "--resume", "r"], ["evaluate", "r", "--data", "small.npz"]):
        capsys.readouterr()
        assert run(command) == 2
        error = capsys.readouterr().err
        assert (
            error
            == "gpucnn: r/checkpoint.npz is damaged or incomplete: its SHA-256 does not match\n"
        )
    assert Path("r/checkpoint.npz").read_bytes() == content
    Path("r/config.json").write_text("{")
    assert run(["train", "--resume", "r"]) == 2
    assert "config.json is damaged" in capsys.readouterr().err


def test_evaluate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train("--out", "r")
    capsys.readouterr()
    assert run(["evaluate", "r", "--data", "small.npz", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    last = [e for e in events("r") if e["event"] == "epoch"][-1]
    assert figures["accuracy"] == last["test_accuracy"]
    assert figures["loss"] == last["test_loss"]
    assert (figures["images"], figures["correct"]) == (40, round(40 * figures["accuracy"]))
    assert run(["evaluate", "r/checkpoint.npz", "--data", "small.npz"]) == 0
    assert "of 40 images of small" in capsys.readouterr().out
    for name in ("r", "r/checkpoint.npz"):  # the data that its folder names
        assert run(["evaluate", name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {**figures, "checkpoint": name}
    Path("r/checkpoint.npz").rename("alone.npz")
    assert run(["evaluate", "alone.npz"]) == 2
    assert "trained on 'small': give test data with --data PATH" in capsys.readouterr().err
    Path("alone.npz").rename("r/checkpoint.npz")
    Path("small.npz").rename("moved.npz")
    assert run(["evaluate", "r"]) == 2
    error = capsys.readouterr().err
    assert "data of the run cannot be read, so give test data with --data PATH: " in error
    assert "small.npz does not exist" in error
    Path("moved.npz").rename("small.npz")
    assert run(["evaluate", "r", "--data", "mnist"]) == 2
    assert (
        "the classes of mnist are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9; those of the network are 0, 1, 2, 3"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("weights", ["balanced", "1,2.5,0.5,1"])
def test_class_weights_the_average_and_clipping(
    folder: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are settings of the run, listed by ``runs``; evaluate reports the average's figures."""
    train("--out", "r", "--class-weights", weights, "--ema", "0.9", "--clip-grad-norm", "2")
    settings = json.loads(Path("r/config.json").read_text())["settings"]
    counts = np.bincount(np.load("small.npz")["y_train"])
    balanced = [float(weight) for weight in counts.sum() / 4 / counts]
    given = balanced if weights == "balanced" else [1, 2.5, 0.5, 1]
    assert settings["loss"]["weight"] == pytest.approx(given)
    assert (settings["ema"], settings["clip_grad_norm"]) == (0.9, 2.0)
    capsys.readouterr()
    assert run(["evaluate", "r", "--data", "small.npz", "--json"]) == 0
    last = [e for e in events("r") if e["event"] == "epoch"][-1]
    assert json.loads(capsys.readouterr().out)["loss"] == last["test_loss"]
    assert run(["train", "--resume", "r"]) == 0
    capsys.readouterr()
    assert run(["runs", ".", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["ema"], row["clip_grad_norm"]) == (0.9, 2.0)


def test_augment(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a setting of the run, which a resumed run keeps and another cannot have."""
    changes = ["--augment", "default,rotate=20,elastic=0", "--mixup", "0.25"]
    train("--out", "r", *changes, "--epochs", "1")
    settings = json.loads(Path("r/config.json").read_text())["settings"]
    augment = gpucnn.Augmentation(shift=1, rotate=20, scale=0.1, shear=5)
    assert settings["augment"] == {"type": "Augmentation", **vars(augment)}
    assert settings["mixup"] == 0.25
    assert run(["train", "--resume", "r"]) == 0
    capsys.readouterr()
    assert run(["train", "--resume", "r", "--augment", "none"]) == 2
    assert "--augment must be as in the run that is resumed" in capsys.readouterr().err


def test_label_smoothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is part of the loss that a run and ``evaluate`` report, and of a resumed run."""
    train("--out", "r", "--label-smoothing", "0.25")
    config = json.loads(Path("r/config.json").read_text())
    assert config["options"]["label_smoothing"] == 0.25
    assert config["settings"]["loss"]["label_smoothing"] == 0.25
    last = [e for e in events("r") if e["event"] == "epoch"][-1]
    capsys.readouterr()
    assert run(["evaluate", "r", "--data", "small.npz", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == last["test_loss"]
    assert run(["train", "--resume", "r"]) == 0


def test_a_model_of_ones_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--data", "small.npz", "--model", "mynet.py:build"]
    assert run(["train", *own, "--epochs", "1", "--out", "r"]) == 0
    assert run(["train", "--data", "small.npz", "--model", "mynet.py:fixed", "--out", "f"]) == 0
    capsys.readouterr()
    assert run(["evaluate", "r", *own]) == 0
    assert run(["evaluate", "f", "--data", "small.npz"]) == 0  # built from the checkpoint alone
    assert run(["evaluate", "f", *own]) == 2
    assert "the checkpoint is of another model" in capsys.readouterr().err
    # A fresh process does not know the layer of that file.
    command = [sys.executable, "-m", "gpucnn", "evaluate", "r", "--data", "small.npz"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "unknown layer 'Double'" in result.stderr
    assert "--model" in result.stderr


def test_seeds_reach_models_that_take_none(folder: Path) -> None:
    for seed in ("0", "0", "1"):
        run(["train", "--data", "small.npz", "--model", "mynet.py:fixed", "--seed", seed])
    states = [
        gpucnn.load_model(f"runs/mynet-small-{number}/checkpoint.npz").state_dict()["fc.weight"]
        for number in (1, 2, 3)
    ]
    np.testing.assert_array_equal(states[0], states[1])
    assert np.all(states[0] != states[2])


def test_predict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = pytest.importorskip("PIL.Image")
    train("--out", "r", "--epochs", "20", "--lr", "0.1")
    data = small_data()
    for index in range(3):
        image.fromarray(data.test.images[index, 0]).save(f"{index}.png")
    capsys.readouterr()
    assert run(["predict", "r", "0.png", "1.png", "2.png", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    probabilities = gpucnn.load_model("r/checkpoint.npz").predict(data.test.images[:3])
    for index, row in enumerate(found):
        assert row["image"] == f"{index}.png"
        assert row["class"] == str(probabilities[index].argmax())
        assert row["probability"] == pytest.approx(probabilities[index].max(), rel=1e-5)
        assert len(row["top"]) == 3
    assert run(["predict", "r", "0.png", "--show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"0.png: {found[0]['class']} ")
    assert len(lines) == 1 + 8
    assert run(["predict", "r", "0.png", "--prepare", "digits"]) == 2
    assert "did you mean 'digit'" in capsys.readouterr().err


def test_the_probabilities_of_a_digit_are_means_over_its_shifts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = pytest.importorskip("PIL.Image")
    data = gpucnn.data.mnist()
    model = gpucnn.models.lenet5(seed=3)
    model.normalization, model.classes = data.statistics(), data.classes
    gpucnn.save_model(model, "untrained.npz")
    digit = data.test.images[0, 0]
    image.fromarray(digit).save("7.png")
    assert run(["predict", "untrained.npz", "7.png", "--prepare", "digit", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    Path("bad.png").write_text("no image")
    assert (
        run(["predict", "untrained.npz", "bad.png", "7.png", "--prepare", "digit", "--json"]) == 2
    )
    assert json.loads(capsys.readouterr().out)[1] == found, "other files make no difference"
    around = np.pad(as_digit(digit), 1)
    corners = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))
    variants = [around[top : top + 28, left : left + 28] for top, left in corners]
    wanted = model.predict(np.stack(variants)[:, None]).mean(0)
    assert found["class"] == str(wanted.argmax())
    assert found["probability"] == pytest.approx(wanted.max(), rel=1e-5)


def test_predict_continues_after_a_file_that_cannot_be_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = pytest.importorskip("PIL.Image")
    train("--out", "r")
    for index in range(2):
        image.fromarray(small_data().test.images[index, 0]).save(f"{index}.png")
    Path("bad.png").write_text("no image")
    capsys.readouterr()
    assert run(["predict", "r", "0.png", "bad.png", "none.png", "1.png"]) == 2
    output = capsys.readouterr()
    assert [line.split(":")[0] for line in output.out.splitlines()] == ["0.png", "1.png"]
    assert [name in output.err for name in ("0.png", "bad.png", "none.png")] == [False, True, True]
    assert run(["predict", "r", "bad.png", "1.png", "--json"]) == 2
    bad, good = json.loads(capsys.readouterr().out)
    assert (bad["status"], bad["class"], bad["top"]) == ("unreadable", None, [])
    assert "bad.png" in bad["reason"]
    assert (good["status"], good["reason"]) == ("image", None)


def test_predict_reads_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = pytest.importorskip("PIL.Image")
    train("--out", "r")
    Path("photos").mkdir()
    for name in ("b.png", "a.png", ".hidden.png"):
        image.fromarray(small_data().test.images[0, 0]).save(Path("photos", name))
    Path("photos", "notes.txt").write_text("not an image")
    capsys.readouterr()
    assert run(["predict", "r", "photos"]) == 0
    output = capsys.readouterr()
    names = [line.split(":")[0] for line in output.out.splitlines()]
    assert names == [str(Path("photos", "a.png")), str(Path("photos", "b.png"))]
    assert output.err.endswith("1 other file was left out, for example photos/notes.txt\n")
    Path("empty").mkdir()
    assert run(["predict", "r", "empty"]) == 2
    assert "empty contains no files" in capsys.readouterr().err


def test_predict_reports_images_without_a_single_digit(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("scipy")
    model = gpucnn.models.lenet5(seed=0)
    gpucnn.save_model(model, "net.npz")
    digits = gpucnn.data.mnist().test.images[:2, 0]
    image.fromarray(digits[0]).save("one.png")
    image.fromarray(np.concatenate(digits, axis=1)).save("two.png")
    image.new("L", (60, 60), 255).save("blank.png")
    command = ["predict", "net.npz", "one.png", "two.png", "blank.png", "--prepare", "digit"]
    assert run([*command, "--json"]) == 1
    one, two, blank = json.loads(capsys.readouterr().out)
    assert [row["status"] for row in (one, two, blank)] == ["digit", "several", "none"]
    assert (two["class"], len(two["top"]), blank["class"], blank["top"]) == (None, 3, None, [])
    assert blank["reason"] == "the image is uniform"
    assert run(command) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("two.png: several digits (2 shapes like digits")
    assert lines[2] == "blank.png: no digit (the image is uniform)"
    assert run([*command[:3], "--prepare", "digit", "--show"]) == 0
    drawing = capsys.readouterr().out
    for title in ("image", "background subtracted", "input"):
        assert title in drawing


def test_summary(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["summary", "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    assert sum(row["parameters"] for row in layers) == 61_706
    assert sum(row["multiply_adds"] for row in layers) == 416_520
    assert layers[2]["receptive_field"] == 2 * [{"size": 6, "stride": 2.0, "centre": 1.0}]
    assert layers[-1]["receptive_field"] is None
    assert run(["summary", "mlp", "--data", "small.npz"]) == 0
    assert "8,836" in capsys.readouterr().out
    train("--out", "r")
    capsys.readouterr()
    assert run(["summary", "r"]) == 0
    assert "8,320" in capsys.readouterr().out
    assert run(["summary", "mynet.py:fixed"]) == 0
    assert "Linear" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "required: COMMAND"),
        ("trian", "unknown command 'trian': did you mean 'train'?"),
        ("train --epocs 3", "unknown option '--epocs': did you mean '--epochs'?"),
        ("train --epochs=x", "invalid int value: 'x'"),
        ("train extra", "unexpected argument 'extra'"),
        ("train --epochs 0", "--epochs must be an integer >= 1, got 0"),
        ("train --batch-size -4", "--batch-size must be an integer >= 1, got -4"),
        ("train --lr nan", "--lr must be a finite number >= 0, got nan"),
        ("train --lr -1", "lr must be a finite number"),
        ("train --lr inf", "lr must be a finite number"),
        ("train --model lenet6", "unknown model 'lenet6': did you mean 'lenet5'?"),
        ("train --backend nunpy", "unknown backend 'nunpy': did you mean 'numpy'?"),
        ("train --optimizer sdg", "unknown optimizer 'sdg': did you mean 'sgd'?"),
        ("train --schedule cosin", "unknown schedule 'cosin': did you mean 'cosine'?"),
        ("train --recipe defualt", "unknown recipe 'defualt': did you mean 'default'?"),
        ("train --loss crossentropy", "did you mean 'cross-entropy'?"),
        ("train --optimizer adam --momentum 0.5", "Adam has no momentum"),
        ("train --loss mse --label-smoothing 0.1", "is for --loss cross-entropy, not for mse"),
        ("train --label-smoothing 1.5", "gpucnn: --label-smoothing must be from 0 to 1, got 1.5"),
        (
            "train --loss mse --class-weights balanced",
            "--class-weights is for --loss cross-entropy",
        ),
        ("train --class-weights 1,2", "--class-weights has 2 numbers, but the data has 4 classes"),
        ("train --class-weights balance", 'must be "balanced" or a number for each class, such'),
        ("train --class-weights 1,1,1,-1", "weight must be finite numbers >= 0"),
        ("train --augment rotate=10,shfit=2", "unknown augmentation 'shfit': did you mean 'shift'"),
        (
            "train --augment shift",
            "--augment takes default, none, or changes with their sizes, such",
        ),
        (
            "train --augment shift=x",
            "--augment takes default, none, or changes with their sizes, such",
        ),
        ("train --augment default,shift=1,shift=2", "--augment has shift twice: give it once"),
        ("train --model mlp --hidden 0", "--hidden must be an integer >= 1, got 0"),
        ("train --augment shift=1.5", "augmentation: shift must be an integer >= 0, got 1.5"),
        ("train --augment default,flip=2", "augmentation: flip must be at most 1, got 2"),
        ("train --mixup -1", "--mixup must be a finite number >= 0, got -1"),
        ("train --ema 1", "--ema must be a finite number >= 0 and < 1, got 1.0"),
        ("train --clip-grad-norm 0", "--clip-grad-norm must be above 0, got 0: omit it"),
        ("train --checkpoint-every 0", "gpucnn: --checkpoint-every must be an integer >= 1, got 0"),
        ("train --weight-decay -1", "SGD: --weight-decay must be a finite number >= 0, got -1"),
        ("find-lr --batch-size 0", "gpucnn: --batch-size must be an integer >= 1, got 0"),
        ("profile lenet5 --batch-size 0", "gpucnn: --batch-size must be an integer >= 1, got 0"),
        ("train --early-stopping 2", "gpucnn: early stopping and keep_best need validation"),
        (
            "train --mixup 1 --class-weights balanced",
            "--class-weights is not for images that are mixed: omit it, or add --mixup 0",
        ),
        ("train --keep-best", "set validation"),
        ("train --limit 0", "0"),
        ("train --limit 99999", "99999"),
        ("train --validation 70", "70"),
        ("train --data nowhere", "nowhere"),
        ("train --resize 3x", "HEIGHTxWIDTH"),
        ("train --resize 3x3", "resize is for folders of images"),
        ("train --model nothing.py:build", "no such file"),
        ("train --model mynet.py:nothing", "has no function 'nothing'"),
        ("train --model mynet.py:wrong", "must return a gpucnn.Sequential, got int"),
        ("train --model mynet.py:broken", "RuntimeError: no luck"),
        ("train --model mynet.py:leaving", "SystemExit: 0"),
        ("train --loss bce", "end the model in Sigmoid()"),
        ("train --model small.npz", "unknown model"),
        ("train --model lenet5", "at least 12x12"),
        ("evaluate nothing", "no checkpoint at nothing"),
        (
            "evaluate small.npz",
            "small.npz is not a checkpoint: it holds the arrays x_train, y_train",
        ),
        ("predict small.npz", "no image given"),
        ("summary lenet", "did you mean 'lenet5'?"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    folder: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    argv = words.split()
    if argv[:1] == ["train"] and "--data" not in argv:
        argv += ["--data", "small.npz"]
    if argv[:1] == ["train"] and "--model" not in argv:
        argv += ["--model", "mlp"]
    assert run(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("gpucnn: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not Path("runs").exists()


def test_debug_shows_the_traceback(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--model", "lenet6", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_diverging_run_fails_with_status_1(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--out", "r", "--lr", "1e30", "--schedule", "constant") == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "contains NaN or infinity; a lower learning rate may help" in captured.err
    assert np.isfinite(gpucnn.load_model("r/checkpoint.npz", "numpy").flat_parameters).all()


def test_help_has_examples_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--help"], ["train", "--help"]):
        with pytest.raises(SystemExit) as leaving:
            run(argv)
        assert leaving.value.code == 0
        assert "examples:" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run(["--version"])
    assert capsys.readouterr().out == f"gpucnn {gpucnn.__version__}\n"


def test_help_lists_the_names_of_the_registries() -> None:
    parser = MainParser()
    texts = {name: " ".join(parser.command(name).format_help().split()) for name in COMMANDS}
    for registry in (MODELS, RECIPES, OPTIMIZERS, SCHEDULES, LOSSES, BACKENDS, PRECISIONS):
        *names, last = registry
        assert f": {', '.join(names)} or {last}" in texts["train"]
    assert not any("{" in text for text in texts.values())
