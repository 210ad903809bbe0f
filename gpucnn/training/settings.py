"""The settings of a training run, and the recipes that have proved good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gpucnn.config import check_integer, describe
from gpucnn.errors import SettingError
from gpucnn.nn.losses import CrossEntropyLoss, Loss
from gpucnn.optim import SGD, Adam, Optimizer
from gpucnn.optim.schedules import CosineAnnealingLR, Schedule


def default_optimizer() -> Optimizer:
    """Return the optimiser of the default recipe."""
    return SGD(lr=0.05, momentum=0.9)


@dataclass(frozen=True)
class Settings:
    """All that decides, with model, data and backend, what weights come out of a run."""

    epochs: int = 5
    batch_size: int = 64
    optimizer: Optimizer = field(default_factory=default_optimizer)
    schedule: Schedule = CosineAnnealingLR(warmup=0.2)
    loss: Loss = CrossEntropyLoss()
    seed: int = 0
    validation: int = 0
    early_stopping: int | None = None
    keep_best: bool = False
    workers: int = 1

    def __post_init__(self) -> None:
        kinds = {"optimizer": Optimizer, "schedule": Schedule, "loss": Loss}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise SettingError(f"{name} must be a {kind.__name__}: {getattr(self, name)!r}")
        check_integer("epochs", self.epochs, 1)
        check_integer("batch_size", self.batch_size, 1)
        check_integer("seed", self.seed, 0)
        check_integer("workers", self.workers, 1)
        check_integer("validation", self.validation, 0)
        if self.early_stopping is not None:
            check_integer("early_stopping", self.early_stopping, 1)
        if (self.early_stopping or self.keep_best) and not self.validation:
            raise SettingError(
                "early_stopping and keep_best look at held-out training images: set validation"
            )

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain data."""
        plain = dict(vars(self))
        for name in ("optimizer", "schedule", "loss"):
            plain[name] = describe(plain[name])
        return plain


RECIPES: dict[str, Callable[[], Settings]] = {
    "default": Settings,
    "adam": lambda: Settings(optimizer=Adam(lr=3e-3)),
    # A seventh of the steps, for devices on which a large batch costs no more than a small one.
    "fast": lambda: Settings(
        epochs=6,
        batch_size=512,
        optimizer=Adam(lr=1e-2, betas=(0.7, 0.9)),
        schedule=CosineAnnealingLR(warmup=0.3),
    ),
}
"""The command line's names for settings that have proved good."""
