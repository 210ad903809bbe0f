"""Event files for TensorBoard: figures, weights, gradients and feature maps of a run."""

from __future__ import annotations

import itertools
import math
import os
import time
import warnings
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.config import import_extra
from gpucnn.data.lazy import Images
from gpucnn.errors import SettingError
from gpucnn.nn import Conv2d, Sequential
from gpucnn.training.event_types import EpochEnded, Event, RunStarted, StepEnded, Stopped
from gpucnn.training.progress import REFRESH_SECONDS
from gpucnn.training.settings import flatten

POINTS = 100
"""Points of the curves of steps in an epoch, at most; shorter epochs have one for each step."""

MAX_RECORDS = 50
"""Epochs of a run of which images and histograms are written: TensorBoard shows no more."""

BINS = 64
"""Bins of a histogram."""

MAX_TILES = 64
"""Filters or maps in an image; further ones are left out."""

FLUSH_SECONDS = 2.0

_numbers = itertools.count()


class TensorBoard:
    """Writes event files for TensorBoard when it is called with the events of a run.

    The training, its result and its bits are the same without it. All steps of the x axes are
    training steps. Written are:

    - scalars: ``loss/...`` and ``accuracy/...`` for ``train``, ``test`` and ``validation`` after
      each epoch; ``steps/loss``, ``steps/accuracy``, ``steps/learning_rate`` and
      ``steps/images_per_second`` at up to 100 steps of an epoch, the first two of the images since
      the last point; of a regression ``mae``, ``mse`` and ``r2`` in place of ``accuracy``
    - images: the filters of the first convolution, ``filters/NAME``, and the outputs of all layers
      that have channels, ``feature_maps/NAME``, at the start and after each epoch, or after 50
      epochs of a run with more
    - histograms: ``weights/NAME`` at the same steps, and ``gradients/NAME`` of the last step of
      these epochs
    - the settings as hyperparameters, with the test accuracy and loss as metrics

    A run that is resumed adds a file: TensorBoard hides steps after the resumed one in older files.
    If a file cannot be written, a RuntimeWarning is issued and the run continues without them.

    Args:
        folder: where to write; created if it does not exist. ``tensorboard --logdir FOLDER`` shows
            it, and a folder of such folders as several runs.
        model: the network that is trained.
        images: uint8 (N, C, H, W); the outputs of the layers for the first one are shown. None for
            no feature maps.
        more: hyperparameters besides the settings: text, numbers and flags by name.

    Raises:
        SettingError: tensorboardX or Pillow is not installed.

    Example::

        with gpucnn.training.TensorBoard("board/first", model, data.test.images) as board:
            gpucnn.fit(model, data, on_event=board)
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        model: Sequential,
        images: Images | None = None,
        more: dict[str, Any] | None = None,
    ) -> None:
        check_installed()
        self.folder, self.model, self.more = Path(folder).absolute(), model, more or {}
        self.image = None if images is None else images[:1]
        self._summary: Any = import_module("tensorboardX.summary")
        self._writer: Any = None
        self._failed = False
        self._flushed = 0.0

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what is buffered and close the file."""
        writer, self._writer = self._writer, None
        if writer is not None and not self._failed:
            try:
                writer.close()
            except OSError as error:
                self._fail(error)

    def __call__(self, event: Event) -> None:
        """Write what there is to record of an event."""
        if self._failed:
            return
        try:
            if isinstance(event, RunStarted):
                self._start(event)
            elif self._writer is None:  # closed
                return
            elif isinstance(event, StepEnded):
                self._record_step(event)
            elif isinstance(event, EpochEnded):
                with self.model.backend.limit_threads():
                    self._record_epoch(event)
            elif isinstance(event, Stopped):
                if event.reason != "interrupted":
                    self._write(event.step, self._hparams[2])
                self._flush()
        except OSError as error:
            self._fail(error)

    # --- events ---------------------------------------------------------------------------------

    def _start(self, event: RunStarted) -> None:
        self.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        files = import_module("tensorboardX.event_file_writer")
        suffix = f".{os.getpid()}.{next(_numbers)}"
        self._writer = files.EventsWriter(str(self.folder / "events"), suffix)
        self._event: Any = import_module("tensorboardX.proto.event_pb2")
        self._interval = max(1, event.steps_per_epoch // POINTS)
        self._drawn, self._epoch, self._images, self._sums = -math.inf, 0, 0, (0.0, 0.0)
        self._next_step = event.step + 1
        self._epochs = int(event.settings["epochs"])
        self._epochs_between = math.ceil(self._epochs / MAX_RECORDS)
        self._weighted = _is_weighted(event.settings["loss"])
        # Steps after it in older files are not part of the run.
        self._write_purge(event.step + 1 if event.step else 0)
        self._task = event.task
        names = [figure.name for figure in self._task.figures] + ["loss"]
        metrics = dict.fromkeys((f"{name}/test" for name in names), 0.0)
        self._hparams = self._summary.hparams(self._hyperparameters(event), metrics)
        for summary in self._hparams[:2]:
            self._write(event.step, summary)
        if not event.step:
            self._record_model(0)
        self._flush()

    def _hyperparameters(self, event: RunStarted) -> dict[str, Any]:
        figures = {
            name: getattr(event, name)
            for name in ("backend", "precision", "data", "parameters", "train_images")
        }
        return {**figures, **flatten(event.settings), **self.more}

    def _record_step(self, event: StepEnded) -> None:
        now = time.monotonic()
        if event.step < self._next_step:
            return
        # Reading the figures waits for a device.
        if self.model.backend.asynchronous and now - self._drawn < REFRESH_SECONDS:
            return
        self._next_step, self._drawn = event.step + self._interval, now
        loss, main = event.metrics()
        sums = loss * event.images, main * event.images
        if event.epoch == self._epoch:
            before, images = self._sums, self._images
        else:
            before, images = (0.0, 0.0), 0
        self._epoch, self._images, self._sums = event.epoch, event.images, sums
        count = event.images - images
        if count and not self._weighted:  # else the images do not count alike
            loss = (sums[0] - before[0]) / count
        if count:
            main = (sums[1] - before[1]) / count
        figures = {
            "loss": loss,
            self._task.main.name: main,
            "learning_rate": event.lr,
            "images_per_second": event.images_per_second,
        }
        for name, value in figures.items():
            self._scalar(event.step, f"steps/{name}", value)
        if now - self._flushed > FLUSH_SECONDS:
            self._flush()

    def _record_epoch(self, event: EpochEnded) -> None:
        parts = ("train", "test", "validation")
        for figure, part in itertools.product(self._task.names, parts):
            value = getattr(event, f"{part}_{figure}")
            if value is not None:
                self._scalar(event.step, f"{figure}/{part}", value)
        self._scalar(event.step, "epoch", event.epoch)
        if event.epoch % self._epochs_between == 0 or event.epoch == self._epochs:
            self._record_model(event.step)
            grads = self.model.backend.to_numpy(self.model.flat_grads)
            for name, values in self.model.split(grads).items():
                self._histogram(event.step, f"gradients/{name}", values)
        self._flush()

    def _record_model(self, step: int) -> None:
        """Write the weights, the filters of the first convolution, and the feature maps."""
        weights = self.model.split(self.model.backend.to_numpy(self.model.flat_parameters))
        for name, values in weights.items():
            self._histogram(step, f"weights/{name}", values)
        layers = self.model.every_layer()
        first = next((name for name in layers if isinstance(layers[name], Conv2d)), None)
        if first is not None:
            filters = weights[f"{first}.weight"]
            self._image(step, f"filters/{first}", filters.reshape(-1, *filters.shape[2:]))
        if self.image is None:
            return
        try:
            maps = self.model.feature_maps(self.image)
        except SettingError:  # a custom class, whose layers may have any order
            return
        for name, outputs in maps.items():
            if outputs.ndim == 4:
                self._image(step, f"feature_maps/{name}", outputs[0])

    # --- writing --------------------------------------------------------------------------------

    def _scalar(self, step: int, tag: str, value: float) -> None:
        self._write(step, self._summary.scalar(tag, value))

    def _histogram(self, step: int, tag: str, values: NDArray[Any]) -> None:
        if values.size and np.isfinite(values).all():
            self._write(step, self._summary.histogram(tag, values, BINS))

    def _image(self, step: int, tag: str, maps: NDArray[Any]) -> None:
        self._write(step, self._summary.image(tag, tiled(maps), dataformats="HW"))

    def _write(self, step: int, summary: Any) -> None:
        event = self._event.Event(step=step, wall_time=time.time(), summary=summary)
        self._writer.write_event(event)

    def _write_purge(self, step: int) -> None:
        start = self._event.SessionLog(status=self._event.SessionLog.START)
        event = self._event.Event(step=step, wall_time=time.time(), session_log=start)
        self._writer.write_event(event)

    def _flush(self) -> None:
        self._writer.flush()
        self._flushed = time.monotonic()

    def _fail(self, error: OSError) -> None:
        self._failed = True
        warnings.warn(
            f"cannot write event files to {self.folder}: {error.strerror or error}; the run goes "
            "on without them",
            RuntimeWarning,
            stacklevel=3,
        )


def check_installed() -> None:
    """Raise SettingError if tensorboardX or Pillow is not installed."""
    for module, library in (("tensorboardX", "tensorboardX"), ("PIL.Image", "Pillow")):
        import_extra(module, library, "writing event files", "tensorboard")


def _is_weighted(loss: dict[str, Any]) -> bool:
    """Return whether the images of a batch do not count alike in its mean loss."""
    return loss.get("weight") is not None or loss.get("ignore_index", -1) >= 0


def tiled(maps: NDArray[Any]) -> NDArray[np.uint8]:
    """Return maps (K, H, W) as tiles of one grey image, with their common range as 0 to 255.

    Small ones are enlarged by repeating pixels, to a side of 16 pixels or more.
    """
    maps = maps[:MAX_TILES]
    low, high = float(maps.min()), float(maps.max())
    scale = 255 / (high - low) if high > low else 0.0
    levels = np.nan_to_num((maps - low) * scale).clip(0, 255).astype(np.uint8)
    factor = max(1, math.ceil(16 / max(maps.shape[1:])))
    levels = levels.repeat(factor, axis=1).repeat(factor, axis=2)
    levels = np.pad(levels, ((0, 0), (0, 1), (0, 1)), constant_values=255)
    count, height, width = levels.shape
    columns = math.ceil(math.sqrt(count * height / width))
    rows = math.ceil(count / columns)
    grid = np.full((rows * columns, height, width), 255, np.uint8)
    grid[:count] = levels
    grid = grid.reshape(rows, columns, height, width).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width)
