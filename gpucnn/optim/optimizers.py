"""Optimisers over one flat vector of parameters; definitions and defaults are PyTorch's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.config import check_number


class Trainable(Protocol):
    """What ``Optimizer.update`` changes: a ``Sequential``, or any holder of flat arrays."""

    backend: Backend
    flat_parameters: Array
    flat_grads: Array


class Optimizer:
    """Base of all optimisers: a dataclass of settings, and state that is the parameters' size."""

    lr: float
    weight_decay: float
    state_names: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        check_number(f"{type(self).__name__}: lr", self.lr, 0.0)
        check_number(f"{type(self).__name__}: weight_decay", self.weight_decay, 0.0)
        self.state: dict[str, Array] = {}
        self.updates = 0

    def reset(self, be: Backend, size: int) -> None:
        """Start over, with a state of zeros for ``size`` parameters on backend ``be``."""
        self.state = {name: be.zeros((size,)) for name in self.state_names}
        self.updates = 0

    def update(self, model: Trainable, lr: float | None = None) -> None:
        """Change all parameters of ``model`` in place by their gradients.

        For training loops outside ``fit``; the state is created by the first update, so an
        optimizer serves one model. ``lr`` replaces the learning rate in this update.
        """
        be = model.backend
        if not self.state:
            self.reset(be, model.flat_parameters.size)
        self.updates += 1
        rates = be.asarray(self.rates(self.updates, self.lr if lr is None else lr))
        self.step(be, model.flat_parameters, model.flat_grads, rates)

    def rates(self, step: int, lr: float) -> tuple[float, ...]:
        """Return what ``step`` takes that is new in a step: the first is 1, and ``lr`` its rate."""
        return (lr,)

    def step(
        self, be: Backend, param: Array, grad: Array, rates: Array, flag: Array | None = None
    ) -> None:
        """Change ``param`` (size,) in place by its gradient.

        ``rates`` are those of the step, in an array. Nothing changes where ``flag``, int64 (1,), is
        not 0 (``Backend.check_finite``).
        """
        raise NotImplementedError


@dataclass(eq=False)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum, Nesterov's if asked for."""

    lr: float = 1e-3
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    state_names = ("velocity",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("SGD: momentum", self.momentum, 0.0)

    def step(
        self, be: Backend, param: Array, grad: Array, rates: Array, flag: Array | None = None
    ) -> None:
        """As ``Optimizer.step``."""
        settings = (self.momentum, self.weight_decay, self.nesterov)
        be.sgd_step(param, grad, self.state["velocity"], rates, *settings, flag)


@dataclass(eq=False)
class Adam(Optimizer):
    """Adam (Kingma and Ba, arXiv:1412.6980); the decay is added to the gradient."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    state_names = ("exp_avg", "exp_avg_sq")

    def __post_init__(self) -> None:
        super().__post_init__()
        for beta in self.betas:
            check_number(f"{type(self).__name__}: betas", beta, 0.0, 1.0)
        check_number(f"{type(self).__name__}: eps", self.eps, 0.0)

    def rates(self, step: int, lr: float) -> tuple[float, ...]:
        """As ``Optimizer.rates``: the three of ``Backend.adam_step``."""
        first, second = self.betas
        return lr / (1 - first**step), (1 - second**step) ** 0.5, 1.0

    def step(
        self, be: Backend, param: Array, grad: Array, rates: Array, flag: Array | None = None
    ) -> None:
        """As ``Optimizer.step``."""
        self._step(be, param, grad, rates, self.weight_decay, flag)

    def _step(
        self,
        be: Backend,
        param: Array,
        grad: Array,
        rates: Array,
        weight_decay: float,
        flag: Array | None,
    ) -> None:
        averages = self.state["exp_avg"], self.state["exp_avg_sq"]
        be.adam_step(param, grad, *averages, rates, self.betas, self.eps, weight_decay, flag)


@dataclass(eq=False)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101)."""

    weight_decay: float = 1e-2

    def rates(self, step: int, lr: float) -> tuple[float, ...]:
        """As ``Optimizer.rates``; the weights shrink by the decay."""
        *others, _ = super().rates(step, lr)
        return *others, 1 - lr * self.weight_decay

    def step(
        self, be: Backend, param: Array, grad: Array, rates: Array, flag: Array | None = None
    ) -> None:
        """As ``Optimizer.step``."""
        self._step(be, param, grad, rates, 0.0, flag)


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}
"""The command line's names."""
