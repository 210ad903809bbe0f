"""Training runs: events, checkpoints, resuming to the same bits, captured steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import small_data

import gpucnn
from gpucnn import get_backend, rbm
from gpucnn.backends import Backend
from gpucnn.errors import CheckpointError, DivergedError, SettingError, ShapeError
from gpucnn.optim import SGD, Adam, CosineAnnealingLR
from gpucnn.training import CheckpointWritten, RunStarted, StepEnded, Stopped

MODES: list[dict[str, Any]] = [
    {"optimizer": SGD(lr=0.1, momentum=0.5, weight_decay=1e-3)},
    {"persistent": True, "gibbs_steps": 2, "optimizer": Adam(lr=0.01)},
]


def start(
    backend: Backend | None = None, weights: int = 0, data: Any = None, **options: Any
) -> Any:
    """The events of a run of two epochs of 3 steps, the last of 8 images."""
    machine = rbm.RBM((1, 8, 8), hidden=6, seed=weights)
    settings = {"epochs": 2, "batch_size": 16, "seed": 3, **options}
    return rbm.events(machine, data or small_data(40), backend=backend, **settings)


def figures(events: list[Any]) -> list[dict[str, Any]]:
    rows = [event.as_dict() for event in events if isinstance(event, rbm.EpochEnded)]
    return [
        {k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows
    ]


def test_a_run_learns_and_reports_what_it_does(tmp_path: Path) -> None:
    digits = gpucnn.data.mnist().limit(500)
    digits = replace(digits, test=digits.test.limit(200))
    machine, options = rbm.RBM((1, 28, 28), hidden=20), {"optimizer": SGD(lr=0.2)}
    events = list(
        rbm.events(
            machine, digits, epochs=5, batch_size=20, checkpoint=tmp_path / "c.npz", **options
        )
    )
    names = [event.name for event in events]
    assert names == ["start", "checkpoint", *(["step"] * 25 + ["epoch", "checkpoint"]) * 5, "stop"]
    started, stopped, rows = events[0], events[-1], figures(events)
    assert isinstance(started, RunStarted)
    assert (started.train_images, started.test_images, started.steps_per_epoch) == (500, 200, 25)
    for split in ("train", "test"):
        assert rows[-1][f"{split}_error"] < 0.85 * rows[0][f"{split}_error"]
        name = f"{split}_pseudo_likelihood"  # negative
        assert rows[-1][name] > 0.9 * rows[0][name]
    assert isinstance(stopped, Stopped)
    assert (stopped.reason, stopped.test_loss) == ("finished", rows[-1]["test_error"])
    steps = [event for event in events if isinstance(event, StepEnded)]
    assert [step.images for step in steps[23:26]] == [480, 500, 20]


def test_the_error_of_steps_is_that_of_first_reconstructions() -> None:
    """In the course of the run; persistent chains reconstruct nothing."""
    errors = [event.metrics()[0] for event in start() if isinstance(event, StepEnded)]
    assert all(0.01 < error < 0.3 for error in errors)
    others = [e.metrics()[0] for e in start(persistent=True) if isinstance(e, StepEnded)]
    assert np.isnan(others).all()


@pytest.mark.parametrize("mode", MODES, ids=["CD", "PCD"])
def test_resuming_after_any_step_gives_the_same_bits(
    mode: dict[str, Any], backend_name: str, tmp_path: Path
) -> None:
    """Also where a device replays captured steps, and where it does not."""
    path, contents = tmp_path / "c.npz", {}
    straight = []
    backend = get_backend(backend_name, "float32")
    for event in start(backend, checkpoint=path, checkpoint_every=1, **mode):
        straight.append(event)
        if isinstance(event, CheckpointWritten):
            contents[event.step] = path.read_bytes()
    assert sorted(contents) == list(range(7))
    for step in (0, 2, 3, 5):
        path.write_bytes(contents[step])
        again = get_backend(backend_name, "float32")
        again.records = again.records and step != 2
        events = list(start(again, 77, checkpoint=path, resume=path, **mode))
        assert path.read_bytes() == contents[6], f"resumed after step {step}"
        assert figures(events) == figures(straight)[step // 3 :]
        assert events[-1] == straight[-1]


@pytest.mark.parametrize("mode", MODES, ids=["CD", "PCD"])
def test_backends_draw_the_same_units(mode: dict[str, Any], backend_name: str) -> None:
    """In float64 no probability is within rounding of its random number, so chains are equal."""
    found = []
    for name in ("numpy", backend_name):
        machine = rbm.RBM((1, 8, 8), hidden=6, backend=get_backend(name, "float64"))
        options = {"epochs": 1, "batch_size": 16, **mode}
        rows = rbm.fit(machine, small_data(40), progress=False, **options)
        found.append((machine.state_dict(), rows["test_error"], rows["test_pseudo_likelihood"]))
    for key, values in found[0][0].items():
        np.testing.assert_allclose(found[1][0][key], values, rtol=1e-9, atol=1e-11, err_msg=key)
    assert found[1][1:] == tuple(pytest.approx(value, rel=1e-9) for value in found[0][1:])


def test_the_machine_draws_other_units_in_each_step_and_with_another_seed() -> None:
    chains = []
    for seed in (3, 3, 4):
        machine = rbm.RBM((1, 8, 8), hidden=6)
        run = rbm.events(
            machine, small_data(40), batch_size=40, epochs=2, seed=seed, persistent=True,
            optimizer=SGD(lr=0.0),
        )  # fmt: skip
        state = run._run.gi_frame.f_locals["self"].state
        chains.append([state.chains.copy() for e in run if isinstance(e, StepEnded)])
    np.testing.assert_array_equal(chains[0], chains[1])
    assert (chains[0][0] != chains[0][1]).any()
    assert (chains[0][0] != chains[2][0]).any()


def test_a_run_stops_after_the_step_when_asked(tmp_path: Path) -> None:
    path, asked = tmp_path / "c.npz", iter(range(1, 100))
    events = list(start(checkpoint=path, should_stop=lambda: next(asked) == 2))
    assert [event.name for event in events[-3:]] == ["step", "checkpoint", "stop"]
    stop = events[-1]
    assert (stop.reason, stop.step, stop.epoch, stop.test_loss) == ("interrupted", 2, 0, None)


def test_training_goes_on_from_a_trained_machine() -> None:
    """Its visible biases are not set by the data again."""
    machine, data = rbm.RBM((1, 8, 8), hidden=6), small_data(40)
    rbm.fit(machine, data, epochs=1, progress=False)
    before = machine.visible_bias.copy()
    rbm.fit(machine, data, epochs=1, optimizer=SGD(lr=0.0), progress=False)
    np.testing.assert_array_equal(machine.visible_bias, before)


def test_a_diverging_run_keeps_its_last_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    with pytest.raises(DivergedError, match=r"step \d: .* a lower learning rate may help"):
        list(start(checkpoint=path, optimizer=SGD(lr=1e38, momentum=0.9)))
    assert np.isfinite(rbm.load_rbm(path, "numpy").flat_parameters).all()


def test_another_run_is_not_resumed(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    list(start(checkpoint=path))
    for options, message in [
        ({"batch_size": 8}, "settings.batch_size was 16, now 8"),
        ({"gibbs_steps": 2}, "settings.gibbs_steps was 1, now 2"),
        ({"persistent": True}, "settings.persistent was False, now True"),
        ({"backend": get_backend("numpy", "float64")}, "dtype was 'float32', now 'float64'"),
    ]:
        with pytest.raises(CheckpointError, match=message):
            start(resume=path, **options)
    other = rbm.RBM((1, 8, 8), hidden=7)
    with pytest.raises(CheckpointError, match=r"rbm\.hidden was 6, now 7"):
        rbm.events(other, small_data(40), batch_size=16, epochs=2, seed=3, resume=path)
    with pytest.raises(CheckpointError, match=r"data\.fingerprint was"):
        start(resume=path, data=small_data(41))
    list(start(resume=path, epochs=3))  # with a constant learning rate
    list(start(checkpoint=path, schedule=CosineAnnealingLR()))
    with pytest.raises(CheckpointError, match="epochs cannot change from 2 to 3"):
        start(resume=path, epochs=3, schedule=CosineAnnealingLR())


def test_a_saved_machine_has_no_run_to_resume(tmp_path: Path) -> None:
    rbm.save_rbm(rbm.RBM((1, 8, 8), hidden=6), tmp_path / "rbm.npz")
    with pytest.raises(CheckpointError, match=r"train it further with rbm.fit\(rbm.load_rbm"):
        start(resume=tmp_path / "rbm.npz")


def test_the_history_is_a_table() -> None:
    history = rbm.fit(rbm.RBM((1, 8, 8), hidden=6), small_data(40), epochs=2, progress=False)
    assert len(history["test_error"]) == len(history) == 2
    assert "pseudo-likelihood" in repr(history)
    assert repr(history).endswith("finished after epoch 2 of 2")
    with pytest.raises(KeyError, match="no column 'accuracy'"):
        history["accuracy"]


def test_progress_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    rbm.fit(rbm.RBM((1, 8, 8), hidden=6), small_data(40), epochs=1, progress=True)
    first, last = capsys.readouterr().out.splitlines()
    assert first == "training on blobs: 454 parameters, 40 images, numpy backend"
    assert last.startswith("epoch 1/1  error 0.")


def test_wrong_settings_are_refused() -> None:
    for options, message in [
        ({"gibbs_steps": 0}, "gibbs_steps must be an integer >= 1, got 0"),
        ({"epochs": 1.5}, "epochs must be an integer >= 1"),
        ({"persistent": 1}, "persistent must be True or False"),
        ({"optimizer": "sgd"}, r"optimizer must be an Optimizer, for example optim.SGD"),
        ({"loss": 1}, "unknown setting 'loss'"),
    ]:
        with pytest.raises(SettingError, match=message):
            start(**options)
    with pytest.raises(ShapeError, match=r"the images are \(1, 8, 8\), the machine takes"):
        rbm.fit(rbm.RBM((1, 4, 4), hidden=2), small_data(8), progress=False)
    with pytest.raises(SettingError, match=r"rbm\.fit trains an RBM, got str"):
        rbm.fit("rbm", small_data(8), progress=False)  # type: ignore[arg-type]
