"""Optimisers for one flat vector of parameters. Definitions and defaults are PyTorch's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.config import check_flag, check_number
from gpucnn.errors import SettingError


class Trainable(Protocol):
    """A model that ``Optimizer.update`` accepts: ``Sequential``, or any object with flat arrays."""

    backend: Backend
    flat_parameters: Array
    flat_grads: Array


class Optimizer:
    """Base class of all optimisers. A subclass is a dataclass whose fields are its settings.

    ``state`` maps ``state_names`` to arrays of the shape of the model's flat vectors.
    """

    lr: float
    weight_decay: float
    state_names: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        for name in ("lr", "weight_decay"):
            value = check_number(f"{type(self).__name__}: {name}", getattr(self, name), 0.0)
            setattr(self, name, value)
        self.state: dict[str, Array] = {}
        self.updates = 0

    def reset(self, be: Backend, size: int) -> None:
        """Set the state to zeros, for flat vectors of ``size`` elements on backend ``be``."""
        self.state = {name: be.zeros((size,)) for name in self.state_names}
        self.updates = 0

    def update(self, model: Trainable, lr: float | None = None) -> None:
        """Update all parameters of ``model`` in place from their gradients.

        For training loops that do not use ``fit``. The first update creates the state, so an
        optimizer can train one model only. ``lr`` replaces the learning rate for this update.
        """
        be = model.backend
        if not self.state:
            self.reset(be, model.flat_parameters.size)
        self.updates += 1
        rates = be.asarray(self.rates(self.updates, self.lr if lr is None else lr))
        self.step(be, model.flat_parameters, model.flat_grads, rates)

    def rates(self, step: int, lr: float) -> tuple[float, ...]:
        """Return the numbers that change from step to step, for the argument ``rates`` of ``step``.

        Args:
            step: number of the step, from 1.
            lr: learning rate of the step.
        """
        return (lr,)

    def step(
        self, be: Backend, param: Array, grad: Array, rates: Array, failed_step: Array | None = None
    ) -> None:
        """Update ``param`` (size,) in place from its gradient ``grad`` (size,).

        ``rates`` is an array of the numbers that the method ``rates`` returns. Nothing is changed
        if ``failed_step``, int64 (1,), is not 0 (``Backend.check_finite`` sets it).
        """
        raise NotImplementedError


@dataclass(eq=False)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum, optionally Nesterov's.

    As in PyTorch, ``nesterov`` needs a momentum above 0.
    """

    lr: float = 1e-3
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    state_names = ("velocity",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.momentum = check_number("SGD: momentum", self.momentum, 0.0)
        self.nesterov = check_flag("SGD: nesterov", self.nesterov)
        if self.nesterov and not self.momentum:
            raise SettingError("SGD: nesterov=True needs a momentum above 0, got momentum=0")

    def step(
        self, be: Backend, param: Array, grad: Array, rates: Array, failed_step: Array | None = None
    ) -> None:
        """See ``Optimizer.step``."""
        settings = (self.momentum, self.weight_decay, self.nesterov)
        be.sgd_step(param, grad, self.state["velocity"], rates, *settings, failed_step)


@dataclass(eq=False)
class Adam(Optimizer):
    """Adam (Kingma and Ba, arXiv:1412.6980). Weight decay is added to the gradient."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    state_names = ("exp_avg", "exp_avg_sq")

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        betas: Any = self.betas
        if isinstance(betas, np.ndarray):
            betas = betas.tolist()
        if not isinstance(betas, Sequence) or len(betas) != 2:
            raise SettingError(f"{name}: betas must be two numbers, got {self.betas!r}")
        first, second = (check_number(f"{name}: betas", beta, 0.0, 1.0) for beta in betas)
        self.betas = (first, second)
        self.eps = check_number(f"{name}: eps", self.eps, 0.0)

    def reset(self, be: Backend, size: int) -> None:
        """See ``Optimizer.reset``.

        Raises SettingError if ``eps`` is too small for float32, in which a GPU takes it as zero.
        """
        if be.dtype == np.float32 and 0 < self.eps < np.finfo(np.float32).tiny:
            raise SettingError(
                f"{type(self).__name__}: eps must be at least 1.2e-38 in float32, "
                f"got {self.eps:g}: use the default, 1e-8, or float64"
            )
        super().reset(be, size)

    def rates(self, step: int, lr: float) -> tuple[float, ...]:
        """See ``Optimizer.rates``; ``Backend.adam_step`` explains the three numbers."""
        first, second = self.betas
        return lr / (1 - first**step), (1 - second**step) ** 0.5, 1.0

    def step(
        self, be: Backend, param: Array, grad: Array, rates: Array, failed_step: Array | None = None
    ) -> None:
        """See ``Optimizer.step``."""
        self._step(be, param, grad, rates, self.weight_decay, failed_step)

    def _step(
        self,
        be: Backend,
        param: Array,
        grad: Array,
        rates: Array,
        weight_decay: float,
        failed_step: Array | None,
    ) -> None:
        averages = self.state["exp_avg"], self.state["exp_avg_sq"]
        be.adam_step(param, grad, *averages, rates, self.betas, self.eps, weight_decay, failed_step)


@dataclass(eq=False)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101)."""

    weight_decay: float = 1e-2

    def rates(self, step: int, lr: float) -> tuple[float, ...]:
        """See ``Optimizer.rates``; the weight decay is in the last number."""
        *others, _ = super().rates(step, lr)
        return *others, 1 - lr * self.weight_decay

    def step(
        self, be: Backend, param: Array, grad: Array, rates: Array, failed_step: Array | None = None
    ) -> None:
        """See ``Optimizer.step``."""
        self._step(be, param, grad, rates, 0.0, failed_step)


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}
"""Optimisers by their names on the command line."""
