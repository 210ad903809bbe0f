"""The settings of a training run, and the recipes that have proved good."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

from gpucnn.backends.contract import Augmentation
from gpucnn.config import check_flag, check_integer, check_kinds, check_number, describe
from gpucnn.errors import SettingError
from gpucnn.nn.losses import CrossEntropyLoss, Loss, default_loss
from gpucnn.optim import SGD, Adam, Optimizer
from gpucnn.optim.schedules import CosineAnnealingLR, Schedule


def default_optimizer() -> Optimizer:
    """Return the optimizer of the default recipe."""
    return SGD(lr=0.05, momentum=0.9)


DEFAULT_LOSS = CrossEntropyLoss()
"""The loss of settings that do not name one: for numbers to predict, ``settle`` replaces it."""


def settle(settings: Settings, regression: bool) -> Settings:
    """Return the settings with the loss for numbers, if none is given and the labels are such."""
    given = settings.loss is not DEFAULT_LOSS or not regression
    return settings if given else replace(settings, loss=default_loss(regression))


_INTEGERS = {
    "epochs": 1,
    "batch_size": 1,
    "seed": 0,
    "workers": 1,
    "validation": 0,
    "early_stopping": 1,
}
"""The settings that are integers, with their least values."""


@dataclass(frozen=True)
class Settings:
    """The settings of a run: with model, data and backend they determine its weights.

    Attributes:
        epochs: number of passes over the training images, at least 1.
        batch_size: images in a step, at least 1; the last batch of an epoch may be shorter.
        optimizer: how gradients change the weights, for example ``optim.Adam(lr=3e-3)``; its
            ``lr`` is the peak learning rate.
        schedule: what the learning rate is multiplied by in the course of the run.
        loss: what is minimised; if it is not given and the labels are numbers to predict,
            ``MSELoss()``.
        seed: decides the order of the images, the dropout masks, how images are changed and mixed,
            and the validation images; an integer of at least 0. The initial weights are the
            model's.
        validation: number of training images to hold out. Only they decide on ``early_stopping``
            and ``keep_best``. A data set with validation images of its own uses those instead.
        early_stopping: end the run after this number of epochs without a better validation
            accuracy, for regression a lower validation loss; None never does.
        keep_best: whether the model ends with the weights of its best epoch on the validation
            images.
        clip_grad_norm: the largest L2 norm of all gradients together, above 0, to which longer ones
            are scaled, as by ``torch.nn.utils.clip_grad_norm_``; None for no limit.
        ema: decay of an exponential moving average of the weights, for example 0.999; 0 for none.
            Evaluations, ``keep_best``, checkpoints and the model after the run then use the
            averages. The decay is at most (1 + step) / (10 + step).
        augment: random changes of the training images, for example
            ``Augmentation(shift=2, rotate=10)``; None for none. Each image is changed in another
            way in each step. Validation and test images are never changed.
        mixup: alpha of mixup, for example 0.2: each training image is mixed with another one of
            its batch, and so are their losses, in shares from Beta(alpha, alpha); 0 for none.
            Training losses and accuracies are those of mixtures, by their greater share.
        workers: number of processes that share each batch, this one included; more than 1 needs
            the NumPy backend. Another number gives other roundings, the same number the same bits.

    Raises:
        SettingError: a value is outside its range.
    """

    epochs: int = 5
    batch_size: int = 64
    optimizer: Optimizer = field(default_factory=default_optimizer)
    schedule: Schedule = CosineAnnealingLR(warmup=0.2)
    loss: Loss = DEFAULT_LOSS
    seed: int = 0
    validation: int = 0
    early_stopping: int | None = None
    keep_best: bool = False
    clip_grad_norm: float | None = None
    ema: float = 0.0
    augment: Augmentation | None = None
    mixup: float = 0.0
    workers: int = 1

    def __post_init__(self) -> None:
        kinds: dict[str, tuple[type, str]] = {
            "optimizer": (Optimizer, "an Optimizer, for example optim.Adam()"),
            "schedule": (Schedule, "a Schedule, for example optim.CosineAnnealingLR()"),
            "loss": (Loss, "a Loss, for example nn.CrossEntropyLoss()"),
        }
        check_kinds(self, kinds)
        for name, least in _INTEGERS.items():
            if getattr(self, name) is not None or name != "early_stopping":
                # Plain values, also where NumPy's were given: they are saved as JSON.
                object.__setattr__(self, name, check_integer(name, getattr(self, name), least))
        object.__setattr__(self, "keep_best", check_flag("keep_best", self.keep_best))
        object.__setattr__(self, "ema", float(check_number("ema", self.ema, 0.0, 1.0)))
        object.__setattr__(self, "mixup", float(check_number("mixup", self.mixup, 0.0)))
        if self.mixup and self.loss.weighted:
            raise SettingError(
                f"mixup needs a loss in which all classes count alike, got {self.loss}: omit the "
                "weights, or set mixup to 0"
            )
        if not isinstance(self.augment, Augmentation | None):
            raise SettingError(
                "augment must be an Augmentation, for example Augmentation(shift=2, rotate=10), or "
                f"None; got {self.augment!r}"
            )
        if self.clip_grad_norm is not None:
            limit = float(check_number("clip_grad_norm", self.clip_grad_norm, 0.0))
            if not limit:
                raise SettingError("clip_grad_norm must be above 0, or None for no limit; got 0")
            object.__setattr__(self, "clip_grad_norm", limit)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain data."""
        plain = dict(vars(self))
        for name in ("optimizer", "schedule", "loss"):
            plain[name] = describe(plain[name])
        plain["augment"] = None if self.augment is None else describe(self.augment)
        return plain


def flatten(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``Settings.as_dict()`` without levels, as a row of a table.

    >>> flatten({"epochs": 5, "optimizer": {"type": "SGD", "lr": 0.05, "betas": [0.9, 1]}})
    {'epochs': 5, 'optimizer': 'SGD', 'optimizer.lr': 0.05, 'optimizer.betas': '0.9 1'}
    """
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            inner = ((f"{name}.{key}", part) for key, part in flatten(value).items())
            flat.update((key.removesuffix(".type"), part) for key, part in inner)
        elif isinstance(value, list | tuple):
            flat[name] = " ".join(map(str, value))
        else:
            flat[name] = value
    return flat


class Overrides(TypedDict, total=False):
    """The fields of ``Settings`` as keyword arguments."""

    epochs: int
    batch_size: int
    optimizer: Optimizer
    schedule: Schedule
    loss: Loss
    seed: int
    validation: int
    early_stopping: int | None
    keep_best: bool
    clip_grad_norm: float | None
    ema: float
    augment: Augmentation | None
    mixup: float
    workers: int


RECIPES: dict[str, Callable[[], Settings]] = {
    "default": Settings,
    "adam": lambda: Settings(optimizer=Adam(lr=3e-3)),
    # LeNet-5 reads 99.1 to 99.3 % of MNIST after two epochs. Smoothed labels gain 0.2 points of
    # held-out training digits, and allow three times the default learning rate.
    "quick": lambda: Settings(
        epochs=2,
        optimizer=SGD(lr=0.15, momentum=0.9, weight_decay=5e-4, nesterov=True),
        loss=CrossEntropyLoss(label_smoothing=0.1),
    ),
    # For digits, with the model digits_cnn: accuracy comes from many epochs of changed images. It
    # reads 99.65 % of held-out digits after 40 epochs, 99.71 % of the test digits (three seeds).
    "best": lambda: Settings(
        epochs=50,
        batch_size=128,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True),
        loss=CrossEntropyLoss(label_smoothing=0.05),
        augment=Augmentation(shift=2, rotate=12, scale=0.1, shear=8.5),
        ema=0.999,
    ),
    # A seventh of the steps, for devices on which a large batch costs as much as a small one.
    "fast": lambda: Settings(
        epochs=6,
        batch_size=512,
        optimizer=Adam(lr=1e-2, betas=(0.7, 0.9)),
        schedule=CosineAnnealingLR(warmup=0.3),
    ),
}
"""Settings that have proved good, by their names on the command line."""
