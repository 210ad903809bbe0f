"""What is checked before a run: that model, data and settings fit each other."""

from __future__ import annotations

from gpucnn.data import Data
from gpucnn.data.digests import remarks
from gpucnn.errors import SettingError, ShapeError
from gpucnn.nn.layers import Sigmoid, Softmax
from gpucnn.nn.layers.structure import places
from gpucnn.nn.losses import BCELoss, check_loss
from gpucnn.nn.sequential import Sequential
from gpucnn.nn.targets import Targets
from gpucnn.training.settings import Settings


def check_fit(model: Sequential, data: Data, settings: Settings) -> None:
    """Raise ShapeError or SettingError unless the model can be trained on the data."""
    if not isinstance(data, Data):
        raise SettingError(
            f"data must be a gpucnn.Data, for example gpucnn.data.mnist(); "
            f"got {type(data).__name__}"
        )
    if data.input_shape != model.input_shape:
        raise ShapeError(f"the images are {data.input_shape}, the model takes {model.input_shape}")
    if data.is_regression:
        _check_regression(model, data, settings)
    elif len(model.output_shape) != 1 or model.output_shape[0] < len(data.classes):
        raise ShapeError(
            f"the model's output is {model.output_shape}, the data has {len(data.classes)} classes"
        )
    if not model.size:
        raise SettingError("the model has no parameters to train")
    settings.loss.check_outputs(model.output_shape[0])
    if (settings.early_stopping or settings.keep_best) and not (
        settings.validation or data.validation
    ):
        raise SettingError(
            "early stopping and keep_best need validation images: set validation (--validation) to "
            "the number of training images to hold out, for example 5000"
        )
    _check_batches(model, data, settings)
    last = list(model.layers.values())[-1]
    if isinstance(settings.loss, BCELoss) and not isinstance(last, Sigmoid | Softmax):
        raise SettingError(
            "BCELoss needs probabilities: end the model in Sigmoid(), or use BCEWithLogitsLoss()"
        )


def _check_batches(model: Sequential, data: Data, settings: Settings) -> None:
    """Raise SettingError if a batch, or a worker's part of it, is too small for a layer."""
    images = len(data.train) - (0 if data.validation else settings.validation)
    if images < 1:
        return  # holding them out is refused

    def least(batch_size: int) -> int:
        size = min(batch_size, images)
        return max(1, min(size, images % size or size) // settings.workers)

    found = least(settings.batch_size)
    for place in places(model.layers, model.input_shape):
        needed = place.layer.least_batch(place.input_shape)
        if found < needed:
            other = next(
                (size for size in range(settings.batch_size, images) if least(size) >= needed),
                images,
            )
            part = " for each worker" if settings.workers > 1 else ""
            raise SettingError(
                f"layer {place.name!r} ({type(place.layer).__name__}) needs {needed} images in a "
                f"batch, but the last of {images:,} images has {found}{part}: set batch_size "
                f"(--batch-size) to another number, for example {other}"
            )


def _check_regression(model: Sequential, data: Data, settings: Settings) -> None:
    """Raise ShapeError or SettingError unless the model and the loss serve regression."""
    check_loss(settings.loss, regression=True)
    if settings.mixup:
        raise SettingError("mixup is for classes, but the data has numbers as targets: omit mixup")
    count = len(data.targets)
    if model.output_shape != (count,):
        raise ShapeError(
            f"the model's output is {model.output_shape}, the data has {count} numbers to predict "
            f"({', '.join(data.targets)}): end the model in Linear(..., {count})"
        )
    name, last = list(model.layers.items())[-1]
    if isinstance(last, Sigmoid | Softmax):
        raise SettingError(
            f"layer {name!r} ({type(last).__name__}) limits the outputs to 0 to 1: remove it, so "
            "that the model can predict any number"
        )


def fit_to(model: Sequential, data: Data) -> None:
    """Set what a model takes from its training images and labels before it is trained."""
    model.normalization, model.classes = data.statistics(), data.classes or None
    model.targets = None
    if data.is_regression:
        model.targets = Targets(data.targets, *data.train.target_statistics())


def notes(data: Data, settings: Settings) -> tuple[str, ...]:
    """Return what should be known before training, without what reading the data has reported."""
    found = remarks(data)
    if data.validation is not None and settings.validation:
        found = (
            "the data set has validation images of its own, so no training images are held out",
            *found,
        )
    return tuple(note for note in found if note not in data.notes)
