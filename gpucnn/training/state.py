"""The state of a run: what a checkpoint holds, and what must agree to resume from it."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any, cast

import numpy as np

from gpucnn.backends.contract.checks import Array
from gpucnn.data import Data
from gpucnn.data.digests import Digests, seen_digests
from gpucnn.data.preparation import recognise
from gpucnn.errors import CheckpointError
from gpucnn.nn.sequential import Sequential
from gpucnn.training.checkpoint import Checkpoint, differences
from gpucnn.training.evaluation import Evaluation
from gpucnn.training.settings import Settings
from gpucnn.version import __version__


class RunState:
    """How far a run has come.

    Attributes:
        epoch: epochs completed.
        index: steps done in the current epoch.
        last: test loss and accuracy after the last completed epoch.
        best: the epoch with the best validation figures so far, with its test figures.
        best_parameters: its weights, by their names, if ``keep_best`` is set.
    """

    def __init__(self, model: Sequential, data: Data, settings: Settings, totals: Array) -> None:
        self.model, self.data, self.settings, self.totals = model, data, settings, totals
        self.epoch = 0
        self.index = 0
        self.last: dict[str, float] | None = None
        self.best: dict[str, Any] | None = None
        self.best_parameters: dict[str, Any] = {}

    def end_epoch(self, test: Evaluation, validation: Evaluation | None) -> None:
        """Count an epoch and remember its figures, and its weights if they are the best so far."""
        self.epoch, self.index = self.epoch + 1, 0
        self.totals[...] = 0
        self.last = {"test_loss": test.loss, "test_accuracy": test.accuracy}
        if validation is None:
            return
        figures = [validation.accuracy, -validation.loss]
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
        """Return test loss and accuracy of the model's weights when the run stops.

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
        be, optimizer = self.model.backend, self.settings.optimizer
        arrays = {f"parameters/{name}": a for name, a in self.model.state_dict().items()}
        arrays |= {f"optimizer/{name}": be.to_numpy(a) for name, a in optimizer.state.items()}
        arrays |= {f"best/{name}": a for name, a in self.best_parameters.items()}
        arrays["totals"] = be.to_numpy(self.totals)
        arrays["seen"] = self._seen
        identity = self._identity()
        identity["data"]["preparation"] = self._preparation
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

    def restore(self, saved: Checkpoint) -> None:
        """Continue from ``saved``; CheckpointError if it is not a checkpoint of the same run."""
        metadata, be = saved.metadata, self.model.backend
        if "settings" not in metadata:
            raise CheckpointError(
                "the file holds a model without the state of a run, so it cannot be resumed: "
                "train it further with fit(load_model(path), data)"
            )
        faults = list(differences(self._identity(), metadata))
        if faults:
            raise CheckpointError("the checkpoint is of another run: " + "; ".join(faults))
        self.model.load_state_dict(saved.group("parameters"))
        for name, values in saved.group("optimizer").items():
            self.settings.optimizer.state[name][...] = be.asarray(values)
        self.totals[...] = be.asarray(saved.arrays["totals"], np.float64)
        self.best_parameters = saved.group("best")
        self.best, self.last = metadata["best"], metadata["last"]
        self.epoch, self.index = metadata["epoch"], metadata["index"]

    @cached_property
    def _preparation(self) -> str:
        """How ``gpucnn predict`` prepares images. It follows from the data: no part of identity."""
        return self.data.preparation or recognise(self.data)

    @cached_property
    def _seen(self) -> Digests:
        """Digests of the training and validation images, by which ``evaluate`` recognises them."""
        return seen_digests(self.data)

    def _identity(self) -> dict[str, Any]:
        """Return what must be equal for a run to be resumed, as JSON would return it."""
        identity = {
            "model": self.model.config(),
            "data": {
                "name": self.data.name,
                "builtin": self.data.builtin,
                "fingerprint": self.data.fingerprint(),
            },
            "classes": self.data.classes,
            "settings": self.settings.as_dict(),
            "dtype": str(self.model.backend.dtype),
            "precision": self.model.backend.precision,
        }
        return cast(dict[str, Any], json.loads(json.dumps(identity)))
