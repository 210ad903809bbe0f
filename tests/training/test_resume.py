"""Stopping and resuming: the same bits as a run that was never stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import epochs_of, figures, saved_steps, snapshots, start, train
from small import small_data, small_model

import gpucnn
from gpucnn.data import Split
from gpucnn.errors import CheckpointError
from gpucnn.nn.losses import CrossEntropyLoss
from gpucnn.optim import SGD, Adam, ConstantLR, CosineAnnealingLR, OneCycleLR, StepLR
from gpucnn.training import RunStarted, Stopped


@pytest.mark.parametrize("optimizer", [SGD(lr=0.05, momentum=0.9), Adam(lr=0.003)], ids=type)
def test_resuming_after_any_step_gives_the_same_bits(tmp_path: Path, optimizer: Any) -> None:
    options: dict[str, Any] = {
        "epochs": 3, "seed": 1, "optimizer": optimizer, "validation": 10, "keep_best": True
    }  # fmt: skip
    path = tmp_path / "checkpoint.npz"
    contents, straight = snapshots(path, **options)
    final = path.read_bytes()
    assert sorted(contents) == list(range(13))  # 60 images in 4 steps, three times
    for step, content in contents.items():
        path.write_bytes(content)
        model = small_model(seed=77)  # its weights and dropout come from the checkpoint
        _, events = train(model, checkpoint=path, resume=path, **options)
        assert path.read_bytes() == final, f"resumed after step {step}"
        resumed = figures(events)
        assert resumed == figures(straight)[3 - len(resumed) :]
        assert isinstance(events[0], RunStarted)
        assert events[0].step == step
        assert events[-1] == straight[-1]


def test_resuming_with_a_weighted_loss_validation_images_and_other_weights(tmp_path: Path) -> None:
    """The run began with weights from a file; a resume takes those of the checkpoint."""
    loss = CrossEntropyLoss(weight=[1, 2, 0, 1], ignore_index=3, label_smoothing=0.1)
    data = replace(small_data(), validation=small_data(20, seed=5).train)
    np.savez(tmp_path / "w.npz", **small_model(seed=9).state_dict())
    path = tmp_path / "checkpoint.npz"

    def begin(seed: int) -> gpucnn.Sequential:
        model = small_model(seed=seed)
        gpucnn.load_weights(model, tmp_path / "w.npz")
        return model

    options = {"loss": loss, "keep_best": True}
    contents, straight = snapshots(path, model=begin(0), data=data, **options)
    final = path.read_bytes()
    for step in (0, 2, 5, 7):
        path.write_bytes(contents[step])
        _, events = train(begin(1), data=data, checkpoint=path, resume=path, **options)
        assert path.read_bytes() == final, f"resumed after step {step}"
        assert figures(events) == figures(straight)[step // 5 :]


def test_validation_images_that_appear_or_disappear_are_another_run(tmp_path: Path) -> None:
    """Where they decide which images are trained on, or which epoch is the best."""
    path, plain = tmp_path / "checkpoint.npz", small_data()
    extended = replace(plain, validation=small_data(20, seed=5).train)
    expected = "the validation images or labels of 'blobs' are not those"
    for first, second, held_out in ((extended, plain, 0), (plain, extended, 10)):
        train(data=first, checkpoint=path, validation=held_out)
        with pytest.raises(CheckpointError, match=expected):
            start(data=second, resume=path, validation=held_out)
    train(data=plain, checkpoint=path)
    start(data=extended, resume=path).close()  # neither


def stopped_after(steps: int, **options: Any) -> tuple[gpucnn.Sequential, list[Any]]:
    """Train until ``should_stop`` was asked ``steps`` times."""
    asked = iter(range(1, 1000))
    return train(should_stop=lambda: next(asked) == steps, **options)


def test_a_run_stops_after_the_step_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    _, events = stopped_after(3, checkpoint=path)
    assert [e.name for e in events[2:]] == ["step", "step", "step", "checkpoint", "stop"]
    stop = events[-1]
    assert isinstance(stop, Stopped)
    assert (stop.reason, stop.step, stop.epoch) == ("interrupted", 3, 0)
    train(small_model(seed=5), resume=path, checkpoint=path)
    resumed, straight = gpucnn.load_model(path).state_dict(), train()[0].state_dict()
    assert all(np.array_equal(resumed[key], straight[key]) for key in straight)


@pytest.mark.parametrize("keep_best", [False, True])
def test_a_stop_within_an_epoch_reports_no_test_figures(keep_best: bool, tmp_path: Path) -> None:
    """The weights have changed since the last epoch's evaluation, also after a resume."""
    path = tmp_path / "checkpoint.npz"
    options: dict[str, Any] = {"checkpoint": path, "validation": 6, "keep_best": keep_best}
    _, events = stopped_after(6, **options)  # 4 steps an epoch
    resumed = stopped_after(1, resume=path, **options)[1]
    for stop, step in ((events[-1], 6), (resumed[-1], 7)):
        assert isinstance(stop, Stopped)
        assert (stop.epoch, stop.step, stop.best_epoch) == (1, step, 1)
        assert (stop.test_loss, stop.test_accuracy) == (None, None)


def test_a_stop_after_the_last_step_of_an_epoch_resumes_with_its_evaluation(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoint.npz"
    _, events = stopped_after(5, checkpoint=path)
    assert [event.name for event in events[-3:]] == ["step", "checkpoint", "stop"]
    assert events[-1].test_accuracy is None
    _, rest = train(small_model(seed=5), checkpoint=path, resume=path)
    assert figures(rest) == figures(train()[1])


@pytest.mark.parametrize(
    ("every", "steps"),
    [
        (None, [0, 5, 10]),
        (1, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (2, [0, 2, 4, 5, 6, 8, 10]),
        (5, [0, 5, 10]),
        (7, [0, 5, 7, 10]),
        (99, [0, 5, 10]),
    ],
)
def test_when_checkpoints_are_written(every: int | None, steps: list[int], tmp_path: Path) -> None:
    """Never twice after the same step, also where ``checkpoint_every`` meets an epoch's end."""
    _, events = train(checkpoint=tmp_path / "c.npz", checkpoint_every=every)
    assert saved_steps(events) == steps


def test_resuming_refuses_another_run(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    train(checkpoint=path)
    for options, message in [
        ({"batch_size": 8}, r"settings.batch_size was 16, now 8"),
        ({"optimizer": SGD(lr=0.1, momentum=0.9)}, r"settings.optimizer.lr was 0.05, now 0.1"),
        ({"data": small_data(seed=5)}, r"the training images or labels of 'blobs' are not those"),
        ({"model": small_model(p=0.5)}, r"model.layers\[4\].p was 0.25, now 0.5"),
    ]:
        with pytest.raises(CheckpointError, match=message):
            start(resume=path, **options)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        start(resume=tmp_path / "nothing.npz")


def test_data_that_were_moved_are_the_same_data(tmp_path: Path) -> None:
    """Their name may differ; training and test images and labels may not."""
    path, data = tmp_path / "checkpoint.npz", small_data()
    straight, _ = train(checkpoint=tmp_path / "straight.npz")
    stopped_after(3, checkpoint=path)
    resumed, _ = train(small_model(9), data=replace(data, name="moved"), resume=path)
    np.testing.assert_array_equal(resumed.flat_parameters, straight.flat_parameters)
    other_test = replace(data, test=small_data(seed=5).train)
    with pytest.raises(CheckpointError, match=r"the test images or labels of 'blobs' are not"):
        start(data=other_test, resume=path)
    labels = data.train.labels.copy()
    labels[7] = (labels[7] + 1) % 4
    relabelled = replace(data, train=Split(data.train.images, labels))
    with pytest.raises(CheckpointError, match=r"the training images or labels .* SHA-256 \w{8}"):
        start(data=relabelled, resume=path)


@pytest.mark.parametrize("optimizer", [SGD(lr=0.05, momentum=0.9), Adam(lr=0.003)], ids=type)
@pytest.mark.parametrize("schedule", [ConstantLR(), StepLR(every=0.6)], ids=type)
def test_a_run_continued_to_more_epochs_is_the_longer_run(
    tmp_path: Path, optimizer: Any, schedule: Any
) -> None:
    """From its end and from within: the checkpoint has the same bytes."""
    options: dict[str, Any] = {"optimizer": optimizer, "schedule": schedule, "seed": 1}
    train(checkpoint=tmp_path / "long.npz", epochs=5, **options)
    long = (tmp_path / "long.npz").read_bytes()
    contents, _ = snapshots(tmp_path / "short.npz", epochs=3, **options)
    done = 15 if schedule == ConstantLR() else 9  # the rate falls after step 9, or 15
    for step in (0, 2, 5, done):
        path = tmp_path / "checkpoint.npz"
        path.write_bytes(contents[step])
        _, events = train(small_model(7), checkpoint=path, resume=path, epochs=5, **options)
        assert path.read_bytes() == long, f"continued after step {step}"
        assert len(epochs_of(events)) == 5 - step // 5


def test_what_cannot_be_continued_exactly_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    for schedule, step in ((CosineAnnealingLR(), 2), (OneCycleLR(), 2), (StepLR(every=0.5), 6)):
        train(checkpoint=path, schedule=schedule)
        with pytest.raises(
            CheckpointError,
            match=rf"epochs cannot change from 2 to 4: with {type(schedule).__name__}\(.* "
            rf"learning rate of step {step} was .* and would have been",
        ):
            start(resume=path, schedule=schedule, epochs=4)
    with pytest.raises(CheckpointError, match="epochs is 1, but 2 epochs of the run are done"):
        start(resume=path, schedule=StepLR(every=0.5), epochs=1)
    stopped_after(6, checkpoint=path, epochs=4, schedule=ConstantLR())
    with pytest.raises(CheckpointError, match="epochs is 1, but 2 epochs of the run are done or"):
        start(resume=path, schedule=ConstantLR(), epochs=1)
    train(resume=path, checkpoint=path, schedule=ConstantLR(), epochs=2)  # fewer than it had


def test_a_run_that_kept_its_best_epoch_continues_only_from_there(tmp_path: Path) -> None:
    path, long = tmp_path / "checkpoint.npz", tmp_path / "long.npz"
    options: dict[str, Any] = {"validation": 10, "keep_best": True, "schedule": ConstantLR()}
    data = small_data()  # with labels that nothing can be learned from
    labels = np.random.default_rng(0).permutation(data.train.labels)
    options["data"] = replace(data, train=Split(data.train.images, labels))
    continued = set()
    for epochs in range(1, 7):
        _, events = train(checkpoint=path, epochs=epochs, **options)
        best = events[-1].best_epoch
        if best == epochs:
            train(small_model(7), checkpoint=path, resume=path, epochs=8, **options)
            train(checkpoint=long, epochs=8, **options)
            assert path.read_bytes() == long.read_bytes()
        else:
            with pytest.raises(CheckpointError, match=f"its best epoch, {best} .keep_best.: those"):
                start(resume=path, epochs=8, **options)
        continued.add(best == epochs)
    assert continued == {True, False}


def test_a_run_that_ended_by_early_stopping_has_no_further_epochs(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    options: dict[str, Any] = {"schedule": ConstantLR(), "validation": 10, "early_stopping": 1}
    options["optimizer"] = SGD(lr=0.0)
    _, events = train(checkpoint=path, epochs=5, **options)
    assert (events[-1].reason, events[-1].epoch) == ("early stopping", 2)
    with pytest.raises(CheckpointError, match="ended by early stopping after epoch 2"):
        start(resume=path, epochs=9, **options)


def test_a_model_file_is_not_a_run(tmp_path: Path) -> None:
    gpucnn.save_model(small_model(), tmp_path / "model.npz")
    with pytest.raises(CheckpointError, match=r"cannot be resumed: .* fit\(load_model\(path\)"):
        start(resume=tmp_path / "model.npz")


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    model, straight = train(checkpoint=path)
    again, events = train(checkpoint=path, resume=tmp_path)  # the folder
    assert [event.name for event in events] == ["start", "checkpoint", "stop"]
    assert events[-1] == straight[-1]
    assert all(np.array_equal(again.state_dict()[k], v) for k, v in model.state_dict().items())
