"""The settings of the training of a restricted Boltzmann machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypedDict

from gpucnn.config import check_flag, check_integer, check_kinds, describe
from gpucnn.optim import SGD, ConstantLR, Optimizer
from gpucnn.optim.schedules import Schedule

_INTEGERS = {"epochs": 1, "batch_size": 1, "gibbs_steps": 1, "seed": 0}
"""The settings that are integers, with their least values."""


def default_optimizer() -> Optimizer:
    """Return the optimizer of the default settings."""
    return SGD(lr=0.05, momentum=0.5)


@dataclass(frozen=True)
class Settings:
    """The settings of a run: with machine, data and backend they determine its weights.

    Attributes:
        epochs: number of passes over the training images, at least 1.
        batch_size: images in a step, at least 1; the last batch of an epoch may be shorter.
        optimizer: how gradients change the weights. Its weight decay acts on weights and biases.
        schedule: what the learning rate is multiplied by in the course of the run.
        gibbs_steps: k of CD-k: how often all units are drawn in a step, at least 1.
        persistent: whether ``batch_size`` chains continue from step to step, instead of chains that
            start from the images in each step.
        seed: decides the order of the images and everything that is drawn. The initial weights are
            the machine's.

    Raises:
        SettingError: a value is outside its range.
    """

    epochs: int = 10
    batch_size: int = 64
    optimizer: Optimizer = field(default_factory=default_optimizer)
    schedule: Schedule = field(default_factory=ConstantLR)
    gibbs_steps: int = 1
    persistent: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        kinds: dict[str, tuple[type, str]] = {
            "optimizer": (Optimizer, "an Optimizer, for example optim.SGD(lr=0.05)"),
            "schedule": (Schedule, "a Schedule, for example optim.ConstantLR()"),
        }
        check_kinds(self, kinds)
        for name, least in _INTEGERS.items():
            # Plain values, also where NumPy's were given: they are saved as JSON.
            object.__setattr__(self, name, check_integer(name, getattr(self, name), least))
        object.__setattr__(self, "persistent", check_flag("persistent", self.persistent))

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain data."""
        plain = dict(vars(self))
        for name in ("optimizer", "schedule"):
            plain[name] = describe(plain[name])
        return plain


class Overrides(TypedDict, total=False):
    """The fields of ``Settings`` as keyword arguments."""

    epochs: int
    batch_size: int
    optimizer: Optimizer
    schedule: Schedule
    gibbs_steps: int
    persistent: bool
    seed: int
