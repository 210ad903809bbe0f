"""Optimizers and learning rate schedules, with PyTorch's names."""

from gpucnn.optim.optimizers import OPTIMIZERS, SGD, Adam, AdamW, Optimizer
from gpucnn.optim.schedules import (
    SCHEDULES,
    ConstantLR,
    CosineAnnealingLR,
    OneCycleLR,
    Schedule,
    StepLR,
)

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "SGD",
    "Adam",
    "AdamW",
    "ConstantLR",
    "CosineAnnealingLR",
    "OneCycleLR",
    "Optimizer",
    "Schedule",
    "StepLR",
]
