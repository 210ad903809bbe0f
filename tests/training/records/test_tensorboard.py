"""Event files, read back by TensorBoard's own reader."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import small_data

import gpucnn
from gpucnn import nn, training
from gpucnn.data import Data
from gpucnn.errors import SettingError
from gpucnn.training import TensorBoard
from gpucnn.training.records import tensorboard
from gpucnn.training.records.tensorboard import tiled

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
PIL_Image = pytest.importorskip("PIL.Image")

# Protobuf's C code on Python 3.12 and later.
pytestmark = pytest.mark.filterwarnings("ignore:Type google:DeprecationWarning")

KINDS = ("scalars", "images", "histograms")


def read(folder: Path) -> Any:
    found = accumulator.EventAccumulator(str(folder), size_guidance=dict.fromkeys(KINDS, 0))
    return found.Reload()


def network(data: Data, *more: nn.Layer, **options: Any) -> nn.Sequential:
    size = (data.size[0] - 2) * (data.size[1] - 2)
    layers = [nn.Conv2d(1, 3, 3), nn.ReLU(), *more, nn.Flatten(), nn.Linear(3 * size, 4)]
    return nn.Sequential(layers, data.input_shape, **options)


@pytest.fixture(scope="module")
def data() -> Data:
    return small_data()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, data: Data) -> tuple[Path, Any, Any]:
    """A run of two epochs with validation images: the folder, the model and the history."""
    folder, model = tmp_path_factory.mktemp("board") / "made" / "here", network(data)
    with TensorBoard(folder, model, data.test.images, {"model": "tiny"}) as board:
        history = gpucnn.fit(model, data, epochs=2, batch_size=16, validation=10, on_event=board)
    return folder, model, history


def test_scalars_are_those_of_the_history(written: tuple[Path, Any, Any]) -> None:
    folder, _, history = written
    found = read(folder)
    for figure, part in itertools.product(("loss", "accuracy"), ("train", "test", "validation")):
        scalars = found.Scalars(f"{figure}/{part}")
        assert [scalar.step for scalar in scalars] == history["step"]
        expected = history[f"{part}_{figure}"]
        assert [scalar.value for scalar in scalars] == pytest.approx(expected, rel=1e-6)
    assert [scalar.value for scalar in found.Scalars("epoch")] == [1, 2]


def test_every_step_has_its_own_loss_and_rate(written: tuple[Path, Any, Any], data: Data) -> None:
    found, history = read(written[0]), written[2]
    losses, rates = found.Scalars("steps/loss"), found.Scalars("steps/learning_rate")
    steps = history["step"][-1]
    assert [scalar.step for scalar in losses] == list(range(1, steps + 1))
    assert rates[-1].value == pytest.approx(history["lr"][-1], rel=1e-6)
    sizes = [16] * 3 + [12]
    for epoch in (0, 1):
        values = [scalar.value for scalar in losses[4 * epoch : 4 * epoch + 4]]
        mean = np.average(values, weights=sizes)
        assert mean == pytest.approx(history["train_loss"][epoch], rel=1e-5)


def test_histograms_are_of_the_weights_and_the_last_gradients(
    written: tuple[Path, Any, Any],
) -> None:
    found, model = read(written[0]), written[1]
    for name, parameter in model.named_parameters():
        weights, grads = (found.Histograms(f"{kind}/{name}") for kind in ("weights", "gradients"))
        assert [entry.step for entry in weights] == [0, 4, 8]
        assert [entry.step for entry in grads] == [4, 8]
        for last, values in ((weights[-1], parameter.data), (grads[-1], parameter.grad)):
            assert last.histogram_value.num == values.size
            assert last.histogram_value.min == values.min()
            assert last.histogram_value.max == values.max()
            assert last.histogram_value.sum == pytest.approx(values.sum(dtype=float))
            assert sum(last.histogram_value.bucket) == values.size


def test_images_are_the_filters_and_feature_maps(
    written: tuple[Path, Any, Any], data: Data
) -> None:
    found, model = read(written[0]), written[1]
    assert set(found.Tags()["images"]) == {"filters/0", "feature_maps/0", "feature_maps/1"}
    for tag, maps in (
        ("filters/0", model.layers["0"].parameters["weight"].data[:, 0]),
        ("feature_maps/1", model.feature_maps(data.test.images[:1])["1"][0]),
    ):
        images = found.Images(tag)
        assert [image.step for image in images] == [0, 4, 8]
        pixels = np.asarray(PIL_Image.open(io.BytesIO(images[-1].encoded_image_string)))
        np.testing.assert_array_equal(pixels.reshape(*pixels.shape[:2], -1)[..., 0], tiled(maps))


def test_hyperparameters_are_the_settings(written: tuple[Path, Any, Any]) -> None:
    from tensorboard.plugins.hparams import plugin_data_pb2

    content = {
        tag: plugin_data_pb2.HParamsPluginData.FromString(text)
        for tag, text in read(written[0]).PluginTagToContent("hparams").items()
    }
    start = content["_hparams_/session_start_info"].session_start_info.hparams
    assert start["batch_size"].number_value == 16
    assert start["optimizer"].string_value == "SGD"
    assert start["optimizer.momentum"].number_value == 0.9
    assert start["model"].string_value == "tiny"
    assert "_hparams_/session_end_info" in content
    metrics = content["_hparams_/experiment"].experiment.metric_infos
    assert {metric.name.tag for metric in metrics} == {"accuracy/test", "loss/test"}


@pytest.mark.parametrize("backend", ["numpy", "emulated"])
def test_the_weights_have_the_same_bits(tmp_path: Path, data: Data, backend: str) -> None:
    results = []
    for board in (False, True):
        model = network(data, nn.Dropout(0.5), backend=backend)
        small = data.limit(32)
        writer = TensorBoard(tmp_path, model, data.test.images) if board else None
        gpucnn.fit(model, small, epochs=2, batch_size=16, on_event=[writer] if writer else [])
        if writer:
            writer.close()
        results.append(model.state_dict())
    for name, values in results[0].items():
        np.testing.assert_array_equal(values, results[1][name])


def test_captured_steps_leave_the_gradients_of_the_last_one(tmp_path: Path, data: Data) -> None:
    """On a device that replays several in a launch they are those that NumPy computes."""
    found = {}
    for backend in ("numpy", "emulated"):
        model = network(data, backend=backend)
        with TensorBoard(tmp_path / backend, model) as board:
            history = gpucnn.fit(model, data.limit(40), epochs=1, batch_size=16, on_event=board)
        assert history.started.eager is None
        found[backend] = read(tmp_path / backend)
    for name, _ in model.named_parameters():
        ((one,), (other,)) = (each.Histograms(f"gradients/{name}") for each in found.values())
        for figure in ("min", "max", "sum_squares"):
            values = [getattr(entry.histogram_value, figure) for entry in (one, other)]
            assert values[0] != 0
            assert values[1] == pytest.approx(values[0], rel=1e-3)


def test_a_resumed_run_hides_the_steps_that_it_repeats(tmp_path: Path, data: Data) -> None:
    """The first part runs on to the end after its checkpoint, as one that is killed late."""
    path, board_at = tmp_path / "checkpoint.npz", tmp_path / "board"
    options: dict[str, Any] = {"epochs": 3, "batch_size": 16}
    kept = []

    def keep(event: training.Event) -> None:
        if isinstance(event, training.CheckpointWritten) and event.step == 8:
            kept.append(training.files.checkpoint.load(path))

    model = network(data)
    with TensorBoard(board_at, model) as board:
        gpucnn.fit(
            model, data, checkpoint=path, checkpoint_every=4, on_event=[board, keep], **options
        )
    steps = [scalar.step for scalar in read(board_at).Scalars("steps/loss")]
    model = network(data)
    with TensorBoard(board_at, model) as board:
        history = gpucnn.fit(model, data, resume=kept[0], on_event=board, **options)
    assert len(list(board_at.iterdir())) == 2
    found = read(board_at)
    assert [scalar.step for scalar in found.Scalars("steps/loss")] == steps
    assert [scalar.value for scalar in found.Scalars("epoch")] == [1, 2, 3]
    assert [entry.step for entry in found.Histograms("weights/0.bias")] == [0, 5, 10, 15]
    assert history["epoch"] == [2, 3]


def test_long_runs_have_images_and_histograms_of_some_epochs(
    tmp_path: Path, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard, "MAX_RECORDS", 3)
    model = network(data)
    with TensorBoard(tmp_path, model, data.test.images) as board:
        gpucnn.fit(model, data, epochs=7, batch_size=70, on_event=board)
    found = read(tmp_path)
    assert [scalar.value for scalar in found.Scalars("epoch")] == [1, 2, 3, 4, 5, 6, 7]
    assert [image.step for image in found.Images("filters/0")] == [0, 3, 6, 7]
    assert [entry.step for entry in found.Histograms("gradients/0.bias")] == [3, 6, 7]


def test_a_file_that_was_cut_off_is_read_up_to_there(tmp_path: Path, data: Data) -> None:
    """As after a kill: what an epoch wrote is on disk before the next begins."""
    model = network(data)
    run = training.events(model, data, epochs=2, batch_size=16)
    board = TensorBoard(tmp_path, model)
    for event in run:
        board(event)
        if isinstance(event, training.EpochEnded):
            break
    run.close()
    assert [scalar.value for scalar in read(tmp_path).Scalars("epoch")] == [1]
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    assert [scalar.value for scalar in read(tmp_path).Scalars("epoch")] == [1]
    board.close()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # tensorboardX's
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_ends_the_event_files_and_not_the_run(
    tmp_path: Path, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_writer = pytest.importorskip("tensorboardX.record_writer")
    monkeypatch.setattr(record_writer, "open_file", lambda path: Path("/dev/full").open("wb"))  # noqa: SIM115
    model = network(data)
    board = TensorBoard(tmp_path, model)
    with pytest.warns(RuntimeWarning, match="No space left on device; the run goes on"):
        board(next(iter(training.events(model, data, epochs=2))))
    history = gpucnn.fit(model, data, epochs=2, on_event=board)  # warns no more
    board.close()
    assert len(history) == 2


def test_without_tensorboardx_one_line_says_what_to_install(
    tmp_path: Path, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    with pytest.raises(SettingError, match=r"needs tensorboardX: pip install 'gpucnn\[tensorb"):
        TensorBoard(tmp_path, network(data))


def test_tiles_have_one_range_and_a_frame() -> None:
    maps = np.arange(3 * 20 * 30, dtype=float).reshape(3, 20, 30)
    image = tiled(maps)
    assert image.shape == (2 * 21, 2 * 31)
    np.testing.assert_array_equal(image[:20, 31:61], (maps[1] * 255 / 1799).astype(np.uint8))
    assert (image[20], image[:, 30]) == (pytest.approx(255), pytest.approx(255))
    assert (image[21:, 31:] == 255).all()
    assert tiled(np.zeros((100, 1, 1))).shape == (8 * 17, 8 * 17)
