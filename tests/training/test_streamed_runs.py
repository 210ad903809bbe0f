"""Training from a packed data set, whose images are read while steps run."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from available import BACKENDS, backend_or_skip
from groups import Threads, together
from packing import pack_data
from small import number_data, small_data, small_model

import gpucnn
from gpucnn import Augmentation, training
from gpucnn.backends import Backend
from gpucnn.errors import ReadError
from gpucnn.nn.layers import Flatten, Linear, ReLU
from gpucnn.nn.losses import CrossEntropyLoss
from gpucnn.nn.sequential import Sequential
from gpucnn.training import CheckpointWritten, StepEnded, feed
from gpucnn.training.files import checkpoint
from gpucnn.training.progress import epoch_lines

SETTINGS: dict[str, Any] = {"epochs": 2, "batch_size": 8, "seed": 1}


@pytest.fixture(autouse=True)
def small_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot holds two batches at most, so that an epoch goes round the ring several times."""
    monkeypatch.setattr(feed, "MAX_BATCHES", 2)


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "image reader"]


class CustomReLU(ReLU):
    """A layer that the library does not know, so that its steps are not captured."""


def custom() -> Sequential:
    return Sequential([CustomReLU(), Flatten(), Linear(64, 4)], (1, 8, 8), seed=3)


PLACES = [(name, "streamed") for name in BACKENDS]
PLACES += [("cuda", "on the device")] * ("cuda" in BACKENDS)


@pytest.fixture(params=PLACES, ids=" ".join)
def placed(request: pytest.FixtureRequest) -> Backend:
    """A backend that reads images from files while steps run, or has them all on its device."""
    name, place = request.param
    return streaming(name) if place == "streamed" else backend_or_skip(name)


def streaming(name: str) -> Backend:
    """Return a backend whose device has no room for images."""
    backend = backend_or_skip(name)
    backend.share_of_images = 0.0  # type: ignore[attr-defined]
    return backend


RUNS: dict[str, dict[str, Any]] = {
    "dropout": {},
    "one image": {"batch_size": 1, "epochs": 1},
    "one batch": {"batch_size": 100},
    "eager": {"model": custom},
    "augmentation": {"augment": Augmentation.for_digits(), "mixup": 0.4, "ema": 0.9},
    "held out": {"validation": 10, "keep_best": True},
    "weighted": {"loss": CrossEntropyLoss(weight=[1, 2, 0, 1], label_smoothing=0.1)},
    "numbers": {"data": number_data, "model": lambda: small_model(outputs=2)},
}


@pytest.mark.parametrize("run", RUNS)
def test_results_are_the_bits_of_training_from_memory(
    run: str, placed: Backend, tmp_path: Path
) -> None:
    options = {**SETTINGS, **RUNS[run]}
    make, data = options.pop("model", small_model), options.pop("data", small_data)()
    data = replace(data, preparation="plain")
    files = []
    for kind, source in ("memory", data), ("files", pack_data(data, tmp_path / data.name)):
        files.append(tmp_path / f"{kind}.npz")
        model = make()
        history = gpucnn.fit(model, source, backend=placed, checkpoint=files[-1], **options)
        evaluated = gpucnn.evaluate(model, source.test, loss=options.get("loss"))
        assert evaluated.loss == history["test_loss"][-1] or "validation" in options
    assert files[0].read_bytes() == files[1].read_bytes()


def test_workers_give_the_bits_of_training_from_memory(tmp_path: Path) -> None:
    data, models = small_data(), []
    for source in data, pack_data(data, tmp_path / "packed"):
        models.append(small_model())
        gpucnn.fit(models[-1], source, backend="numpy", workers=2, mixup=0.4, **SETTINGS)
    np.testing.assert_array_equal(models[0].flat_parameters, models[1].flat_parameters)


def test_a_run_resumes_at_any_step(placed: Backend, tmp_path: Path) -> None:
    data, file, model = (
        pack_data(small_data(), tmp_path / "packed"),
        tmp_path / "c.npz",
        small_model(),
    )
    model.to(placed)
    contents = []
    for event in training.events(model, data, checkpoint=file, checkpoint_every=1, **SETTINGS):
        if isinstance(event, CheckpointWritten):
            contents.append(file.read_bytes())
    for content in contents[:-1:4]:
        file.write_bytes(content)
        gpucnn.fit(
            small_model(seed=7), data, backend=placed, checkpoint=file, resume=file, **SETTINGS
        )
        assert file.read_bytes() == contents[-1]


def cut(path: Path) -> None:
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 100)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    with open(path, "r+b") as file:
        file.write(content)


@pytest.mark.parametrize("harm", [cut, flip])
@pytest.mark.parametrize("name", BACKENDS)
def test_a_file_that_changes_ends_the_run_with_a_checkpoint_to_resume_from(
    name: str, harm: Any, tmp_path: Path
) -> None:
    """The network learns nothing that it would not have learned from the intact files."""
    folder, file, be = tmp_path / "packed", tmp_path / "c.npz", streaming(name)
    data, straight = pack_data(small_data(), folder), small_model()
    gpucnn.fit(straight, data, backend=be, **SETTINGS)
    shard = sorted(folder.glob("train*images*"))[3]
    intact, model = shard.read_bytes(), small_model()
    options: dict[str, Any] = {**SETTINGS, "backend": be, "checkpoint": file}

    def harm_once(event: object) -> None:
        if isinstance(event, StepEnded) and 2 <= event.step < 4:
            harm(shard)

    with pytest.raises(ReadError, match=shard.name) as raised:
        gpucnn.fit(model, data, on_event=harm_once, **options)
    message = str(raised.value)
    assert "\n" not in message
    assert message.count(str(folder)) == 1
    assert "(gpucnn pack --verify checks all files): stopped after step " in message
    assert f"checkpoint saved to {file}" in message
    shard.write_bytes(intact)
    again = gpucnn.data.load(folder)
    gpucnn.fit(model, again, resume=file, **options)
    np.testing.assert_array_equal(
        be.to_numpy(model.flat_parameters), be.to_numpy(straight.flat_parameters)
    )


def test_a_damaged_test_file_keeps_what_the_epoch_has_learned(tmp_path: Path) -> None:
    folder, file = tmp_path / "packed", tmp_path / "c.npz"
    data, model = pack_data(small_data(), folder), small_model()
    flip(sorted(folder.glob("test*images*"))[0])
    with pytest.raises(ReadError, match=r"test.*stopped after step 9; checkpoint saved to"):
        gpucnn.fit(model, data, backend="numpy", checkpoint=file, **SETTINGS)
    assert checkpoint.load(file).metadata["index"] == 9


def test_a_run_that_is_left_or_interrupted_ends_its_thread(tmp_path: Path) -> None:
    data = pack_data(small_data(), tmp_path / "packed")
    run = training.events(small_model(), data, backend="numpy", **SETTINGS)
    for event in run:
        if isinstance(event, StepEnded):
            break
    run.close()
    assert not readers()
    options: dict[str, Any] = {**SETTINGS, "backend": "numpy"}
    found = gpucnn.fit(small_model(), data, should_stop=lambda: True, **options)
    assert found.reason == "interrupted"
    assert not readers()

    def interrupt(event: object) -> None:
        if isinstance(event, StepEnded):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gpucnn.fit(small_model(), data, on_event=interrupt, **options)
    assert not readers()


def test_find_lr_reads_from_files(tmp_path: Path) -> None:
    data = small_data()
    results = [
        training.find_lr(small_model(), source, backend="numpy", steps=20, batch_size=8)
        for source in (data, pack_data(data, tmp_path / "packed"))
    ]
    assert results[0] == results[1]


def test_epochs_report_how_fast_images_are_read(tmp_path: Path) -> None:
    options: dict[str, Any] = {**SETTINGS, "epochs": 1, "backend": "numpy"}
    (kept,) = gpucnn.fit(small_model(), small_data(), **options).epochs
    assert (kept.waited, kept.read_per_second) == (None, None)
    assert not {"waited", "read_per_second"} & set(kept.as_dict())
    (read,) = gpucnn.fit(small_model(), pack_data(small_data(), tmp_path / "p"), **options).epochs
    assert read.waited is not None
    assert read.read_per_second is not None
    assert 0 <= read.waited <= read.seconds
    assert read.as_dict()["read_per_second"] == read.read_per_second > 0
    slow = replace(read, seconds=10.0, waited=4.0, read_per_second=1234.5)
    first, *more = epoch_lines(slow, 1)
    assert more == ["steps waited 4.0 s for images, which were read at 1,234 images/s"]
    assert epoch_lines(replace(slow, waited=0.9), 1) == [first]


def test_ranks_read_their_parts(tmp_path: Path) -> None:
    data, options = small_data(), {**SETTINGS, "mixup": 0.4, "backend": "numpy"}

    def train(source: gpucnn.data.Data, group: Threads) -> Any:
        model = small_model()
        list(training.events(model, source, group=group, **options))
        return model.flat_parameters.copy()

    results = [
        together(3, lambda group, source=source: train(source, group))  # type: ignore[misc]
        for source in (data, pack_data(data, tmp_path / "packed"))
    ]
    np.testing.assert_array_equal(*results)
