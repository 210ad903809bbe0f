"""Training. It yields events and prints nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

from gpucnn.backends import Backend
from gpucnn.config import check_integer
from gpucnn.data import Data
from gpucnn.nn.losses import Loss
from gpucnn.nn.sequential import Sequential
from gpucnn.optim import Optimizer
from gpucnn.optim.schedules import Schedule
from gpucnn.training.checkpoint import Checkpoint, load
from gpucnn.training.event_types import Event
from gpucnn.training.run import PathLike, Run
from gpucnn.training.settings import Settings, default_optimizer


def fit(
    model: Sequential,
    data: Data,
    *,
    epochs: int = 5,
    batch_size: int = 64,
    optimizer: Optimizer | None = None,
    schedule: Schedule | None = None,
    loss: Loss | None = None,
    seed: int = 0,
    validation: int = 0,
    early_stopping: int | None = None,
    keep_best: bool = False,
    workers: int = 1,
    backend: str | Backend | None = None,
    checkpoint: PathLike | None = None,
    checkpoint_every: int | None = None,
    resume: PathLike | Checkpoint | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[Event]:
    """Train ``model`` on ``data`` and yield what happens; the model is changed in place.

    The defaults are the recipe of ``gpucnn train``: SGD with momentum 0.9, peak rate 0.05, warm-up
    over the first fifth and cosine decay. ``seed`` decides the order of the images and dropout; the
    weights to begin with are the model's. ``validation`` training images are held out; only they
    decide on ``early_stopping`` (after that many epochs without a better accuracy) and on
    ``keep_best`` (the model ends with its best weights).

    ``workers`` processes share each batch, this one among them, on the NumPy backend. The same
    number gives the same bits. Scripts that ask for more than one need ``if __name__ ==
    "__main__":``, and do well to set OPENBLAS_NUM_THREADS=1; what layers of one's own keep besides
    parameters stays in each process. A worker that dies raises WorkerError, after the checkpoint
    was written.

    ``backend`` moves the model there first; by default it stays where it is.

    ``checkpoint`` is a file, written at the start, after every epoch, every ``checkpoint_every``
    steps if given, and when ``should_stop``, asked after every StepEnded, answers True. ``resume``
    goes on from such a file, to the same bits as a run that was never stopped; its settings must be
    the same, else CheckpointError.

    On a device the steps are recorded once and repeated, up to 32 to a launch and to a StepEnded,
    where model, loss and optimiser are gpucnn's own and draw nothing on the host; RunStarted says
    why if they are not, and a warning if the device refuses to record. A step's memory is kept
    until the run ends.

    Settings that cannot be used raise SettingError, and data that the model does not take
    ShapeError, before the first event. A loss or gradient that is no longer finite raises
    DivergedError before the weights take it in.
    """
    settings = Settings(
        epochs,
        batch_size,
        # A copy: its state is this run's own.
        default_optimizer() if optimizer is None else copy.copy(optimizer),
        schedule or Settings.schedule,
        loss or Settings.loss,
        seed,
        validation,
        early_stopping,
        keep_best,
        workers,
    )
    if checkpoint_every is not None:
        check_integer("checkpoint_every", checkpoint_every, 1)
    if backend is not None:
        model.to(backend)
    run = Run(model, data, settings, checkpoint, checkpoint_every, should_stop)
    if resume is not None:
        run.restore(resume if isinstance(resume, Checkpoint) else load(resume))
    return run.events()
