"""The state of a run: what a checkpoint holds, and what must agree to resume from it."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cached_property
from typing import Any, cast

import numpy as np

from gpucnn.backends.contract.checks import Array
from gpucnn.data import Data
from gpucnn.errors import CheckpointError
from gpucnn.rbm.evaluation import Figures
from gpucnn.rbm.model import RBM
from gpucnn.rbm.settings import Settings
from gpucnn.training.epochs import check_rates
from gpucnn.training.files.checkpoint import Checkpoint, differences
from gpucnn.version import __version__


class RunState:
    """How far a run has come.

    Attributes:
        epoch: epochs completed.
        index: steps done in the current epoch.
        last: the figures of the test images after the last completed epoch.
    """

    def __init__(
        self, rbm: RBM, data: Data, settings: Settings, totals: Array, chains: Array | None
    ) -> None:
        self.rbm, self.data, self.settings = rbm, data, settings
        self.totals, self.chains = totals, chains
        self.epoch = self.index = 0
        self.last: Figures | None = None

    def end_epoch(self, test: Figures) -> None:
        """Count an epoch and remember its figures."""
        self.epoch, self.index, self.last = self.epoch + 1, 0, test
        self.totals[...] = 0

    def checkpoint(self) -> Checkpoint:
        """Return everything that is needed to resume from here, except the data."""
        identity = self._identity()
        # The same data under another name or in another place are not another run.
        identity["data"] |= {"name": self.data.name, "builtin": self.data.builtin}
        progress = {"epoch": self.epoch, "index": self.index}
        last = None if self.last is None else asdict(self.last)
        metadata = {**identity, "gpucnn": __version__, **progress, "last": last}
        return Checkpoint(metadata, self._arrays())

    def restore(self, saved: Checkpoint, steps: int) -> None:
        """Continue from ``saved``, of a run with ``steps`` steps in an epoch.

        Raises CheckpointError if it is not a checkpoint of the same run; nothing is changed then.
        The number of epochs may differ, if no step that is done would have been another.
        """
        metadata, own = saved.metadata, self._identity()
        if "settings" not in metadata:
            raise CheckpointError(
                "the file holds a machine without the state of a run, so it cannot be resumed: "
                "train it further with rbm.fit(rbm.load_rbm(path), data)"
            )
        own["settings"]["epochs"] = metadata["settings"]["epochs"]
        faults = [fault for key in own for fault in differences(own[key], metadata[key], key)]
        if faults:
            raise CheckpointError("the checkpoint is of another run: " + "; ".join(faults))
        self._check_arrays(saved)
        if metadata["index"] > steps:
            raise CheckpointError(f"index is {metadata['index']}, but an epoch has {steps} steps")
        if metadata["settings"]["epochs"] != self.settings.epochs:
            check_rates(saved, self.settings, steps)
        be, rbm = self.rbm.backend, self.rbm
        rbm.load_state_dict(saved.group("parameters"))
        for name, values in saved.group("optimizer").items():
            self.settings.optimizer.state[name][...] = rbm.with_padding(values)
        self.totals[...] = be.asarray(saved.arrays["totals"], np.float64)
        if self.chains is not None:
            self.chains[...] = be.asarray(saved.arrays["chains"])
        self.epoch, self.index = metadata["epoch"], metadata["index"]
        self.last = None if metadata["last"] is None else Figures(**metadata["last"])

    def _arrays(self) -> dict[str, Any]:
        rbm, be = self.rbm, self.rbm.backend
        arrays = {f"parameters/{name}": array for name, array in rbm.state_dict().items()}
        arrays |= {
            f"optimizer/{name}": rbm.without_padding(array)
            for name, array in self.settings.optimizer.state.items()
        }
        arrays["totals"] = be.to_numpy(self.totals)
        if self.chains is not None:
            arrays["chains"] = be.to_numpy(self.chains)
        return arrays

    def _check_arrays(self, saved: Checkpoint) -> None:
        """Raise CheckpointError unless the arrays are those that ``checkpoint`` saves."""
        wanted, found = (
            {name: f"{array.dtype} {array.shape}" for name, array in arrays.items()}
            for arrays in (self._arrays(), saved.arrays)
        )
        faults = [
            f"{name} is {found.get(name, 'missing')}, expected {wanted.get(name, 'no such array')}"
            for name in {**wanted, **found}
            if wanted.get(name) != found.get(name)
        ]
        if faults:
            raise CheckpointError("the checkpoint's arrays are wrong: " + "; ".join(faults))

    def _identity(self) -> dict[str, Any]:
        """Return what must be equal for a run to be resumed, as JSON would return it."""
        identity = {
            "rbm": self.rbm.config(),
            "data": dict(self._fingerprints),
            "settings": self.settings.as_dict(),
            "dtype": str(self.rbm.backend.dtype),
            "precision": self.rbm.backend.precision,
        }
        return cast(dict[str, Any], json.loads(json.dumps(identity)))

    @cached_property
    def _fingerprints(self) -> dict[str, str]:
        """The SHA-256 of the training and of the test images."""
        data = self.data
        return {"fingerprint": data.fingerprint(), "test_fingerprint": data.test.fingerprint()}
