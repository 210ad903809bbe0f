"""The classes of image files: reading a file, preparing the image, and the network's outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.data.dataset import PREPARATIONS
from gpucnn.data.images.inputs import read_image, shifted
from gpucnn.data.images.opening import ImageSource
from gpucnn.data.images.preparing import Prepared, Status, prepare_image
from gpucnn.errors import DivergedError, SettingError, unknown
from gpucnn.nn.sequential import Sequential
from gpucnn.training.results.figures import USELESS
from gpucnn.training.task import NUMBERS, percent


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """The result of a network of K outputs for an image.

    Attributes:
        status: "digit", "none" or "several" (digits); "image" if it was only resized.
        reason: why the image shows no single digit; else empty.
        input: what the network got, uint8 (C, H, W); None if nothing was found in the image.
        probabilities: what ``model.predict`` returns for it, (K,); of a digit, the mean over the
            image and four copies shifted by a pixel. None without an input.
        classes: the names of the outputs, K strings; outputs without a name have their number.
        numbers: of a network for regression, the predicted numbers by the names of the targets;
            ``probabilities`` is then None, and ``classes`` are empty.
    """

    status: Status
    reason: str
    input: NDArray[np.uint8] | None
    probabilities: NDArray[Any] | None
    classes: tuple[str, ...]
    numbers: Mapping[str, float] | None = None

    @property
    def label(self) -> int | None:
        """Number of the most probable class; None if the image shows no digit or several."""
        if self.probabilities is None or self.status not in ("digit", "image"):
            return None
        return int(self.probabilities.argmax())

    @property
    def name(self) -> str | None:
        """Name of the most probable class; None if the image shows no digit or several."""
        return None if self.label is None else self.classes[self.label]

    def top(self, count: int = 3) -> list[tuple[str, float]]:
        """Return the names and probabilities of the most probable classes, whatever the status."""
        if self.probabilities is None:
            return []
        order = np.argsort(-self.probabilities)[:count]
        return [(self.classes[k], float(self.probabilities[k])) for k in order]

    def text(self) -> str:
        """Return the predicted numbers, or the most probable classes, as text."""
        if self.numbers is not None:
            return ", ".join(f"{name} {NUMBERS.main.show(v)}" for name, v in self.numbers.items())
        return ", ".join(f"{name} {percent(value)}" for name, value in self.top())

    def __repr__(self) -> str:
        if self.numbers is not None:
            return f"<{type(self).__name__} {self.text()}>"
        found = f"{self.status} ({self.reason})" if self.reason else repr(self.name)
        shown = "".join(f", {name} {percent(value)}" for name, value in self.top())
        return f"<{type(self).__name__} {found}{shown}>"


def predict_file(
    model: Sequential, source: ImageSource | NDArray[np.uint8], prepare: str = "auto"
) -> Prediction:
    """Classify an image file, as ``gpucnn predict`` does.

    Args:
        model: a network that was trained, or has ``normalization``.
        source: the path of an image file, its bytes, the file opened for reading bytes, or pixels,
            uint8 (H, W) or (H, W, 3). The format is recognised by the content.
        prepare: how the image becomes an input. "digit": the strokes are located, scaled and
            centred as MNIST's authors did. "plain": it is only resized, to the input's shape
            whatever its proportions. "auto": ``model.preparation``, by the training images.

    Raises:
        DataError: the file is not there, not an image, damaged, or has too many pixels.
        SettingError: the model has no normalization, or ``prepare`` is "auto" and it does not
            record how its training images were prepared, or "digit" and it takes other images than
            square ones of one channel; Pillow, or SciPy for "digit", is not installed.
        DivergedError: the model's outputs contain NaN or infinity.

    Example:
        >>> import gpucnn
        >>> model = gpucnn.load_model("lenet5")
        >>> found = gpucnn.predict_file(model, gpucnn.data.mnist().test.images[0, 0])
        >>> found.status, found.name
        ('digit', '7')
    """
    how = preparation(model, prepare)
    image = source if isinstance(source, np.ndarray) else read_image(source)
    prepared = prepare_image(image, model.input_shape, how, model.classes)
    return classify(model, [prepared])[0]


def preparation(model: Sequential, prepare: str = "auto") -> str:
    """Return "digit" or "plain" for ``prepare``; SettingError if it does not fit the model."""
    if prepare not in ("auto", *PREPARATIONS):
        raise unknown("preparation", prepare, ("auto", *PREPARATIONS))
    how = model.preparation if prepare == "auto" else prepare
    if how is None:
        raise SettingError(
            'the model does not record how its training images were prepared: give prepare="digit" '
            'or prepare="plain", or set model.preparation'
        )
    channels, height, width = model.input_shape
    if how == "digit" and (channels != 1 or height != width):
        raise SettingError(
            f"digits need a network for square images of one channel, got {model.input_shape}: "
            'use prepare="plain" (command line: --prepare plain)'
        )
    return how


def classify(model: Sequential, images: Sequence[Prepared]) -> list[Prediction]:
    """Return the prediction of each image; DivergedError if outputs contain NaN or infinity."""
    there = [k for k, image in enumerate(images) if image.pixels is not None]
    rows: dict[int, NDArray[Any]] = {}
    if there:
        inputs = np.stack([images[k].pixels for k in there])  # type: ignore[misc]
        digits = images[there[0]].status != "image"
        variants = np.concatenate(shifted(inputs)) if digits else inputs
        with np.errstate(all="ignore"):
            outputs = model.predict(variants)
        if not np.isfinite(outputs).all():
            raise DivergedError(USELESS)
        means = outputs.reshape(-1, len(there), outputs.shape[1]).mean(0)
        rows = dict(zip(there, means, strict=True))
    names = model.output_names
    if model.targets is None:
        return [
            Prediction(image.status, image.reason, image.pixels, rows.get(k), names)
            for k, image in enumerate(images)
        ]
    numbers = {k: dict(zip(names, row.tolist(), strict=True)) for k, row in rows.items()}
    return [
        Prediction(image.status, image.reason, image.pixels, None, (), numbers.get(k))
        for k, image in enumerate(images)
    ]
