"""The state of a run: what a checkpoint holds, and what must agree to resume from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from gpucnn.backends.contract.checks import Array
from gpucnn.data import Data
from gpucnn.data.preparation import recognise
from gpucnn.errors import CheckpointError
from gpucnn.nn.sequential import Sequential, custom_class
from gpucnn.training.average import WeightAverage
from gpucnn.training.epochs import check_epochs
from gpucnn.training.files.checkpoint import Checkpoint, differences
from gpucnn.training.processes.agreement import digest
from gpucnn.training.results.figures import Metrics
from gpucnn.training.results.regression import RegressionMetrics
from gpucnn.training.settings import Settings
from gpucnn.version import __version__

_PARTS = {
    "fingerprint": "training",
    "test_fingerprint": "test",
    "validation_fingerprint": "validation",
}
_ANOTHER_NUMBER = (
    "--change-workers (change_workers=True) continues with another number of processes: its "
    "results are then no longer those of a run that was never stopped"
)

Result = Metrics | RegressionMetrics
"""The figures of a model on a split: of classes, or of numbers."""


class RunState:
    """How far a run has come.

    Attributes:
        epoch: epochs completed.
        index: steps done in the current epoch.
        last: test loss and figures after the last completed epoch.
        best: the epoch with the best validation figures so far, with its test figures.
        best_parameters: its weights, by their names, if ``keep_best`` is set.
    """

    def __init__(
        self,
        model: Sequential,
        data: Data,
        settings: Settings,
        totals: Array,
        average: WeightAverage | None = None,
    ) -> None:
        self.model, self.data, self.settings, self.totals = model, data, settings, totals
        self.average = average
        self.epoch = 0
        self.index = 0
        self.last: dict[str, float] | None = None
        self.best: dict[str, Any] | None = None
        self.best_parameters: dict[str, Any] = {}

    def steps_done(self, per_epoch: int) -> int:
        """Return the number of steps since the beginning of the run."""
        return self.epoch * per_epoch + self.index

    def end_epoch(self, test: Result, validation: Result | None) -> None:
        """Count an epoch and remember its figures, and its weights if they are the best so far."""
        self.epoch, self.index = self.epoch + 1, 0
        self.totals[...] = 0
        self.last = {f"test_{name}": value for name, value in test.figures.items()}
        if validation is None:
            return
        figures = validation.rank
        if self.best is None or figures > self.best["figures"]:
            self.best = {"epoch": self.epoch, "figures": figures, "test": self.last}
            if self.settings.keep_best:
                self.best_parameters = self.model.state_dict()

    def out_of_patience(self) -> bool:
        """Return whether early stopping ends the run: too many epochs since the best one."""
        patience = self.settings.early_stopping
        if patience is None or self.best is None:
            return False
        return bool(self.epoch - self.best["epoch"] >= patience)

    def ends_with_best(self) -> bool:
        """Return whether the finished run leaves the best epoch's weights in the model."""
        return self.settings.keep_best and self.best is not None

    def test_figures(self, interrupted: bool) -> dict[str, float]:
        """Return test loss and figures of the model's weights when the run stops.

        Empty within an epoch: the weights have changed since the last evaluation.
        """
        if self.index:
            return {}
        if self.best is not None and self.ends_with_best() and not interrupted:
            return cast(dict[str, float], self.best["test"])
        return self.last or {}

    # --- checkpoints ----------------------------------------------------------------------------

    def checkpoint(self) -> Checkpoint:
        """Return everything that is needed to resume from here, except the data."""
        be = self.model.backend
        arrays = self._weights()
        arrays |= {f"optimizer/{name}": a for name, a in self._optimizer_state().items()}
        arrays |= {f"best/{name}": a for name, a in self.best_parameters.items()}
        arrays["totals"] = be.to_numpy(self.totals)
        if self.model.seen is not None:
            arrays["seen"] = self.model.seen
        identity = self._identity()
        identity["data"]["preparation"] = self._preparation
        if (custom := custom_class(self.model)) is not None:
            identity["class"] = custom
        if self.model.targets is not None:
            identity["targets"] = self.model.targets.describe()
        return Checkpoint(
            {
                **identity,
                "gpucnn": __version__,
                "normalization": self.model.normalization,
                "epoch": self.epoch,
                "index": self.index,
                "last": self.last,
                "best": self.best,
            },
            arrays,
        )

    def restore(self, saved: Checkpoint, steps: int, change_workers: bool = False) -> None:
        """Continue from ``saved``, of a run with ``steps`` steps in an epoch.

        Raises CheckpointError if it is not a checkpoint of the same run; nothing is changed then.
        The number of epochs may differ, if no step that is done would have been another, and with
        ``change_workers`` that of processes.
        """
        metadata, be = saved.metadata, self.model.backend
        if "settings" not in metadata:
            raise CheckpointError(
                "the file holds a model without the state of a run, so it cannot be resumed: "
                "train it further with fit(load_model(path), data)"
            )
        faults, own = [*self._other_data(metadata["data"])], self._identity()
        own["settings"]["epochs"] = metadata["settings"]["epochs"]  # see check_epochs
        if change_workers:
            own["settings"]["workers"] = metadata["settings"]["workers"]
        for key in ("model", "classes", "settings", "dtype", "precision"):
            faults += differences(own[key], metadata[key], key)
        if faults:
            if any(fault.startswith("settings.workers") for fault in faults):
                faults.append(_ANOTHER_NUMBER)
            raise CheckpointError("the checkpoint is of another run: " + "; ".join(faults))
        self._check_arrays(saved)
        if metadata["index"] > steps:
            raise CheckpointError(f"index is {metadata['index']}, but an epoch has {steps} steps")
        check_epochs(saved, self.settings, steps)
        if self.average is None:
            self.model.load_state_dict(saved.group("parameters"))
        else:
            self.average.restore(saved.group("parameters"), saved.group("raw"))
        for name, values in saved.group("optimizer").items():
            state = self.settings.optimizer.state[name]
            flat = values.shape == (self.model.size,)
            state[...] = self.model.with_padding(values) if flat else be.asarray(values)
        self.totals[...] = be.asarray(saved.arrays["totals"], np.float64)
        self.model.seen = saved.arrays.get("seen", self.model.seen)
        self.best_parameters = saved.group("best")
        self.best, self.last = metadata["best"], metadata["last"]
        self.epoch, self.index = metadata["epoch"], metadata["index"]

    def _weights(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the model: with a moving average that, and what training changes."""
        if self.average is None:
            return {f"parameters/{name}": a for name, a in self.model.state_dict().items()}
        arrays: dict[str, NDArray[Any]] = {}
        for group, shown in (("parameters", True), ("raw", False)):
            with self.average.showing(shown):
                arrays |= {f"{group}/{name}": a for name, a in self.model.state_dict().items()}
        return arrays

    @cached_property
    def _preparation(self) -> str:
        """How ``gpucnn predict`` prepares images. It follows from the data: no part of identity."""
        return self.data.preparation or recognise(self.data)

    def _other_data(self, saved: Mapping[str, Any]) -> Iterator[str]:
        """Yield how the data differ from those in a checkpoint. Their name and path may differ."""
        for key, part in _PARTS.items():
            found, before = self._fingerprints.get(key, "none"), saved.get(key, "none")
            # Older versions saved one fingerprint, and read no validation images: those matter if
            # the run has held out training images.
            held_out = part == "validation" and self.settings.validation
            if found != before and (key in saved or held_out):
                yield (
                    f"the {part} images or labels of {self.data.name!r} are not those that the run "
                    f"was started with ({saved['name']!r}): SHA-256 {found[:8]}, then {before[:8]}"
                )

    def _optimizer_state(self) -> dict[str, NDArray[Any]]:
        """Return the optimizer's arrays, those of the flat vectors' shape without padding."""
        model = self.model
        return {
            name: model.without_padding(a)
            if a.shape == (model.flat_size,)
            else model.backend.to_numpy(a)
            for name, a in self.settings.optimizer.state.items()
        }

    def _check_arrays(self, saved: Checkpoint) -> None:
        """Raise CheckpointError unless the arrays are those that ``checkpoint`` saves."""
        own: dict[str, Any] = {f"parameters/{n}": p.data for n, p in self.model.named_state()}
        if self.average is not None:
            own |= {f"raw/{name}": p.data for name, p in self.model.named_state()}
        if self.settings.keep_best and saved.metadata["best"] is not None:
            own |= {f"best/{name}": p.data for name, p in self.model.named_state()}
        own |= {f"optimizer/{name}": a for name, a in self._optimizer_state().items()}
        own["totals"] = self.totals
        if "seen" in saved.arrays:  # older versions saved none
            own["seen"] = saved.arrays["seen"]
        wanted = {name: f"{array.dtype} {tuple(array.shape)}" for name, array in own.items()}
        found = {name: f"{array.dtype} {array.shape}" for name, array in saved.arrays.items()}
        faults = [
            f"{name} is {found.get(name, 'missing')}, expected {wanted.get(name, 'no such array')}"
            for name in {**wanted, **found}
            if wanted.get(name) != found.get(name)
        ]
        if faults:
            raise CheckpointError("the checkpoint's arrays are wrong: " + "; ".join(faults))

    def common(self) -> dict[str, Any]:
        """Return what must be equal on all ranks of a group that begins or resumes a run."""
        identity = self._identity()
        del identity["data"]  # its name and path may differ
        images = {
            f"SHA-256 of the {_PARTS[key]} images and labels": found[:16]
            for key, found in self._fingerprints.items()
        }
        return {
            **identity,
            **images,
            "SHA-256 of the weights": digest(
                *self._weights().values(), *self._optimizer_state().values()
            )[:16],
            "epoch": self.epoch,
            "index": self.index,
        }

    def _identity(self) -> dict[str, Any]:
        """Return what must be equal for a run to be resumed, as JSON would return it."""
        identity = {
            "model": self.model.config(),
            "output": self.model.output,
            "data": {
                "name": self.data.name,
                "builtin": self.data.builtin,
                **self._fingerprints,
            },
            "classes": self.data.classes or None,
            "settings": self.settings.as_dict(),
            "dtype": str(self.model.backend.dtype),
            "precision": self.model.backend.precision,
        }
        return cast(dict[str, Any], json.loads(json.dumps(identity)))

    @cached_property
    def _fingerprints(self) -> dict[str, str]:
        """The SHA-256 of each split."""
        data = self.data
        found = {"fingerprint": data.fingerprint(), "test_fingerprint": data.test.fingerprint()}
        if data.validation is not None:
            found["validation_fingerprint"] = data.validation.fingerprint()
        return found
