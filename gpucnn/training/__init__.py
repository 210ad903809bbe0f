"""What happens in a training run: settings, the loop and its events, checkpoints, evaluation.

``gpucnn.fit`` trains to the end and returns a ``History``; ``events`` is the same run as an
iterator of events. A training loop of your own takes six lines:

>>> import gpucnn
>>> from gpucnn import optim, training
>>> data, model = gpucnn.data.mnist().limit(500), gpucnn.models.mlp(seed=0)
>>> model.normalization = data.statistics()

>>> batches = training.Batches(model, data.train, batch_size=20)
>>> optimizer = optim.SGD(lr=0.05, momentum=0.9)
>>> for epoch in range(3):
...     for x, target in batches.shuffled(epoch):
...         loss, grads = training.loss_and_grads(model, x, target)
...         optimizer.update(model)

>>> gpucnn.evaluate(model, data.train).accuracy > 0.8
True

Where to find what: ``fit.py`` (the entry points), ``run.py`` (the loop over epochs and steps),
``checks.py`` (what must fit before it) and ``reports.py`` (its figures and events), ``step.py``
(what happens to a batch), ``steps.py`` (how steps are launched), ``state.py`` (what is saved),
``epochs.py`` (to how many epochs a run may be continued),
``batches.py`` and ``feed.py`` (images in memory, and images that are read ahead of the steps),
``divergence.py`` (NaN and infinity), ``processes/`` (several processes),
``progress.py`` and ``history.py`` (what ``fit`` shows), ``average.py`` (the moving average of
weights), ``rates.py`` (the learning-rate finder), ``times.py`` (where the time of a network
goes). ``results/`` is how well a model does: evaluation, figures of each class, image files.
``files/`` has checkpoints, models and weights, ``records/`` what the folder of a run records.
"""

from __future__ import annotations

from gpucnn.training.batches import Batches
from gpucnn.training.event_types import (
    CheckpointWritten,
    EpochEnded,
    Event,
    RunStarted,
    StepEnded,
    Stopped,
)
from gpucnn.training.fit import Events, events
from gpucnn.training.history import History
from gpucnn.training.processes.choice import make_group
from gpucnn.training.processes.group import Group
from gpucnn.training.rates import LearningRates, find_lr
from gpucnn.training.records.tensorboard import TensorBoard
from gpucnn.training.settings import RECIPES, Settings
from gpucnn.training.step import loss_and_grads

__all__ = [
    "RECIPES",
    "Batches",
    "CheckpointWritten",
    "EpochEnded",
    "Event",
    "Events",
    "Group",
    "History",
    "LearningRates",
    "RunStarted",
    "Settings",
    "StepEnded",
    "Stopped",
    "TensorBoard",
    "events",
    "find_lr",
    "loss_and_grads",
    "make_group",
]
