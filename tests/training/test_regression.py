"""Regression: labels that are numbers, from training to the file of the model."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from runs import epochs_of, figures, snapshots, start, train
from small import number_data, save_npz, small_data, small_model

import gpucnn
from gpucnn import get_backend, nn, plots
from gpucnn.cli.main import run
from gpucnn.data import Data, Split
from gpucnn.errors import CheckpointError, DataError, DataWarning, SettingError, ShapeError
from gpucnn.nn.sequential import Sequential
from gpucnn.optim import SGD, ConstantLR
from gpucnn.training.files.checkpoint import load, save
from gpucnn.training.files.model_files import load_model

NUMBERS: dict[str, Any] = {"data": number_data(), "validation": 10, "keep_best": True}


def model(seed: int = 0, **options: Any) -> Sequential:
    return small_model(seed=seed, outputs=2, **options)


def linear(inputs: int, outputs: int, backend: Any = "numpy") -> Sequential:
    side = int(inputs**0.5)
    return Sequential([nn.Flatten(), nn.Linear(inputs, outputs)], (1, side, side), backend=backend)


def by_definition(true: NDArray[Any], found: NDArray[Any]) -> dict[str, float]:
    """MSE, MAE and R², each the mean over the targets."""
    squares = ((true - found) ** 2).sum(0)
    spread = ((true - true.mean(0)) ** 2).sum(0)
    mse, mae = ((true - found) ** 2).mean(), np.abs(true - found).mean()
    return {"mse": float(mse), "mae": float(mae), "r2": float((1 - squares / spread).mean())}


# --- training -----------------------------------------------------------------------------------


def test_a_linear_layer_ends_at_the_least_squares_solution() -> None:
    """Targets in units of their own, far from 0: 1e6 + 1e3 x."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 1, 2, 2), dtype=np.uint8)
    labels = 1e6 + 1e3 * rng.normal(size=(30, 2))
    train_split, test_split = Split(images, labels), Split(255 - images, labels)
    net = linear(4, 2, get_backend("numpy", "float64"))
    options: dict[str, Any] = {"epochs": 150, "batch_size": 30, "schedule": ConstantLR()}
    data = Data(train_split, test_split, (), "line")
    gpucnn.fit(net, data, optimizer=SGD(lr=0.4, momentum=0.5), **options)
    inputs = np.column_stack([images.reshape(30, 4) / 255, np.ones(30)])
    solution = np.linalg.lstsq(inputs, labels, rcond=None)[0]
    assert np.abs(net.predict(images) - inputs @ solution).max() < 1e-6  # of 1e3


def test_figures_are_those_of_the_definition_in_the_units_of_the_targets() -> None:
    data = number_data()
    net = model()
    history = gpucnn.fit(net, data, epochs=2, batch_size=16, validation=10, seed=3)
    held_out = data.hold_out(10, 3)[1]
    for split, part in ((data.test, "test"), (held_out, "validation")):
        found = gpucnn.evaluate(net, split)
        wanted = by_definition(split.labels, net.predict(split.images))
        assert found.predictions.tolist() == net.predict(split.images).tolist()
        for name, value in wanted.items():
            assert getattr(found, name) == pytest.approx(value, rel=1e-6)
            assert history[f"{part}_{name}"][-1] == pytest.approx(value, rel=1e-6)
        assert found.target_r2.mean() == pytest.approx(wanted["r2"], rel=1e-6)
    assert history.test_mae == history["test_mae"][-1]
    assert history["train_r2"][1] > history["train_r2"][0]
    assert not [name for name in history.columns if "accuracy" in name]


def test_with_a_rate_of_almost_0_the_training_figures_are_those_of_the_training_images() -> None:
    data, net = number_data(), model(p=0)
    history = gpucnn.fit(net, data, epochs=1, batch_size=16, optimizer=SGD(lr=1e-30))
    wanted = by_definition(data.train.labels, net.predict(data.train.images))
    for name, value in wanted.items():
        assert history[f"train_{name}"][0] == pytest.approx(value, rel=1e-5)


def test_the_usual_rate_serves_targets_of_any_unit() -> None:
    """Their unit and origin change nothing: they are standardised."""
    first, data = number_data(), number_data()
    parts = [Split(s.images, s.labels * 1e5 + 1e7) for s in (data.train, data.test)]
    scaled = Data(parts[0], parts[1], (), "scaled")
    rows = [figures(train(model(), data=each, epochs=1)[1])[0] for each in (first, scaled)]
    assert rows[0]["train_loss"] == pytest.approx(rows[1]["train_loss"], rel=1e-5)
    assert 1e5 * rows[0]["test_mae"] == pytest.approx(rows[1]["test_mae"], rel=1e-4)


@pytest.mark.parametrize("case", ["numpy", "workers", "emulated"])
def test_resuming_after_a_step_gives_the_same_bits(tmp_path: Path, case: str) -> None:
    options = {**NUMBERS, "workers": 2 if case == "workers" else 1}
    if case == "emulated":
        options["backend"] = "emulated"
    path, dropped = tmp_path / "checkpoint.npz", 0.25
    contents, straight = snapshots(path, model=model(p=dropped), **options)
    final = path.read_bytes()
    for step in (2,) if case == "workers" else (2, 4, 5):
        path.write_bytes(contents[step])
        _, events = train(model(seed=7, p=dropped), checkpoint=path, resume=path, **options)
        assert path.read_bytes() == final, f"resumed after step {step}"
        assert figures(events) == figures(straight)[step // 4 :]


def test_a_resumed_run_needs_the_same_numbers(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    train(model(), data=number_data(), checkpoint=path)
    labels = number_data().train.labels.copy()
    labels[3, 1] += 1e-9
    other = Data(Split(number_data().train.images, labels), number_data().test, (), "numbers")
    with pytest.raises(CheckpointError, match="training images or labels of 'numbers' are not"):
        start(model(), data=other, resume=path)


def test_backends_and_workers_agree() -> None:
    found = {}
    for name, options in {
        "numpy": {},
        "workers": {"workers": 2},
        "emulated": {"backend": "emulated"},
    }.items():
        found[name] = figures(train(model(p=0), data=number_data(), epochs=1, **options)[1])[0]
    for row in found.values():
        values = {name: value for name, value in row.items() if isinstance(value, float)}
        assert len(values) == 9
        for name, value in values.items():
            assert value == pytest.approx(found["numpy"][name], rel=1e-4), name


def test_early_stopping_and_the_best_epoch_go_by_the_validation_loss() -> None:
    options = {**NUMBERS, "epochs": 9, "early_stopping": 2, "optimizer": SGD(lr=1e-30)}
    _, events = train(model(), **options)
    assert (events[-1].reason, events[-1].epoch, events[-1].best_epoch) == ("early stopping", 3, 1)
    _, events = train(model(), **NUMBERS, epochs=3)
    losses = [epoch.validation_loss for epoch in epochs_of(events)]
    assert events[-1].best_epoch == 1 + int(np.argmin(losses))


def test_r2_of_a_constant_target_is_not_a_number() -> None:
    images, numbers = number_data().train.images, np.full(70, 0.1)
    data = Data(Split(images, numbers), Split(255 - images, numbers), (), "same")
    with pytest.warns(DataWarning, match="'target' is 0.1 for every training image"):
        history = gpucnn.fit(small_model(outputs=1), data, epochs=1, optimizer=SGD(lr=1e-30))
    assert np.isnan(history.test_r2)
    assert np.isnan(history["train_r2"][0])
    assert history.test_mae > 0
    assert "nan" in repr(history)


# --- what does not fit --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss": nn.BCELoss()}, SettingError, r"BCELoss is a loss of classes.*--loss mse"),
        ({"loss": nn.CrossEntropyLoss()}, SettingError, "CrossEntropyLoss is a loss of classes"),
        ({"model": small_model()}, ShapeError, r"2 numbers to predict .*Linear\(..., 2\)"),
    ],
)
def test_losses_and_models_of_classes_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        start(**{"model": model(), "data": number_data(), **options})


def test_a_last_layer_that_limits_the_outputs_is_refused() -> None:
    layers = [nn.Flatten(), nn.Linear(64, 2), nn.Sigmoid()]
    with pytest.raises(SettingError, match=r"layer '2' \(Sigmoid\) limits the outputs to 0 to 1"):
        start(Sequential(layers, (1, 8, 8)), data=number_data())


def test_networks_are_evaluated_on_labels_of_their_kind_only() -> None:
    classes, numbers = small_model(), model()
    gpucnn.fit(classes, small_data(), epochs=1)
    gpucnn.fit(numbers, number_data(), epochs=1)
    with pytest.raises(DataError, match="labels are numbers to predict, but the model has 4"):
        gpucnn.evaluate(classes, number_data().test)
    with pytest.raises(DataError, match="labels are classes, but the model predicts numbers: targ"):
        gpucnn.evaluate(numbers, small_data().test)


# --- files and commands -------------------------------------------------------------------------


def test_a_saved_network_predicts_numbers_in_their_units(tmp_path: Path) -> None:
    data, net = number_data(), model()
    gpucnn.fit(net, data, epochs=1, checkpoint=tmp_path / "run.npz")
    gpucnn.save_model(net, tmp_path / "model.npz")
    wanted = net.predict(data.test.images)
    for name in ("run.npz", "model.npz"):
        loaded = load_model(tmp_path / name, "numpy")
        assert loaded.predict(data.test.images).tolist() == wanted.tolist()
        assert (loaded.targets, loaded.classes) == (net.targets, None)
    found = gpucnn.predict_file(loaded, data.test.images[0, 0], "plain")
    assert list(found.numbers.values()) == pytest.approx(wanted[0], rel=1e-5)
    assert (found.label, found.probabilities) == (None, None)


@pytest.mark.parametrize(
    ("name", "values"), [("std", [0.0, 1.0]), ("mean", [1.0]), ("mean", [float("inf"), 0.0])]
)
def test_forged_targets_are_refused(tmp_path: Path, name: str, values: list[float]) -> None:
    net = model()
    gpucnn.fit(net, number_data(), epochs=1)
    gpucnn.save_model(net, tmp_path / "model.npz")
    saved = load(tmp_path / "model.npz")
    saved.metadata["targets"][name] = values
    save(tmp_path / "model.npz", saved)
    with pytest.raises(CheckpointError, match=r"model.npz has contents .*targets"):
        load(tmp_path / "model.npz")


def test_onnx_files_return_predictions_in_their_units(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    net = model()
    gpucnn.fit(net, number_data(), epochs=1)
    gpucnn.exchange.export_onnx(net, tmp_path / "model.onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    images = number_data().test.images
    (found,) = session.run(["predictions"], {"images": images})
    assert found == pytest.approx(net.predict(images), rel=1e-4, abs=1e-3)


def test_plots_of_predictions() -> None:
    net, data = model(), number_data()
    history = gpucnn.fit(net, data, epochs=2)
    result = gpucnn.evaluate(net, data.test)
    first, second = plots.predictions(result).axes
    assert (first.get_xlabel(), second.get_ylabel()) == ("true target 1", "predicted target 2")
    texts = [text.get_text() for text in plots.worst(result, data.test, 3).axes[0].texts]
    assert texts[1] == "3 of 40 images"
    assert [axes.get_title(loc="left") for axes in plots.curves(history).axes] == ["Loss", "MAE"]


def test_the_command_line_trains_evaluates_and_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a user does it, with the example of the rotated digits."""
    from bench.angles import angles, rotate

    digits = gpucnn.data.mnist().limit(200).train.images
    (turned,) = rotate(digits[:1, 0], np.array([90.0]))
    assert turned.tolist() == np.rot90(digits[0, 0]).tolist(), "anticlockwise"
    monkeypatch.chdir(tmp_path)
    images, degrees = angles(digits, seed=0)
    np.savez("angles.npz", x=images, y=degrees)
    train_it = ["train", "--data", "angles.npz", "--targets", "angle", "--model", "mlp"]
    assert run([*train_it, "--epochs", "2", "--out", "r", "--validation", "20"]) == 0
    output = capsys.readouterr().out
    for words in ("MAE", "R²", "test MSE", "best epoch", "by validation loss"):
        assert words in output
    assert "accuracy" not in output
    assert run(["evaluate", "r", "--data", "angles.npz", "--json"]) == 0
    assert '"targets": [{"target": "angle", "mse": ' in capsys.readouterr().out
    assert run(["runs", "."]) == 0
    assert "MAE" in capsys.readouterr().out
    assert run(["report", "r"]) == 0
    page = Path("r", "report.html").read_text(encoding="utf-8")
    assert "Predicted against true numbers" in page
    assert "accuracy" not in page


def read_quietly(path: Path, **options: Any) -> Data:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return gpucnn.data.load(path, **options)


def test_files_of_numbers_are_recognised_and_those_of_classes_stay_such(tmp_path: Path) -> None:
    images = number_data().train.images[:, 0]
    for labels, kind in (
        (np.arange(70) / 2, "numbers"),
        (np.arange(70.0) % 3, "classes"),
        (np.arange(70) % 3, "classes"),
    ):
        np.savez(tmp_path / "set.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
        found = read_quietly(tmp_path / "set.npz")
        assert found.is_regression == (kind == "numbers")
        forced = read_quietly(tmp_path / "set.npz", regression=True)
        assert forced.train.labels.tolist() == labels.tolist()
    save_npz(tmp_path / "two.npz", number_data())
    data = read_quietly(tmp_path / "two.npz", targets=["x", "y"])
    assert data.targets == ("x", "y")
