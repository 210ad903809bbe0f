"""Where the time of a network goes: forward and backward of each layer, measured.

Next to each time is the least that the machine would need, by its rate of multiply-adds and its
memory bandwidth, which are measured in the same run (the roofline model: Williams, Waterman,
Patterson, "Roofline: an insightful visual performance model", CACM 52, 2009).
"""

from __future__ import annotations

import math
import operator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from gpucnn.backends import Backend
from gpucnn.config import check_integer
from gpucnn.errors import SettingError
from gpucnn.machine import processor
from gpucnn.nn.layers import Flatten
from gpucnn.nn.layers.structure import Place, places
from gpucnn.nn.sequential import Sequential, check_own_forward
from gpucnn.training.passes import Work, can_be_replayed, make_passes

ROUNDS = 11
"""Samples of each time. Every round measures everything once, so that other work on the machine
affects all layers equally."""

LARGE_PRODUCT = {"numpy": 1024, "cuda": 4096}
"""Rows of the square matrices whose product gives a backend's rate of multiply-adds."""

LARGE_COPY = 1 << 25
"""Elements of the array whose copy gives the memory bandwidth: more than caches hold."""

Roof = Literal["multiply-adds", "memory"]


@dataclass(frozen=True)
class PassTime:
    """The time of a pass of a layer for a batch.

    Attributes:
        seconds: median of the samples.
        spread: their interquartile range, as a fraction of the median.
        multiply_adds: of the batch.
        bytes: the least that must be read and written: input, output and parameters, once.
        share: the least time that the machine would need over ``seconds``. Above 1, the data were
            in a cache, which is faster than memory.
        roof: which rate of the machine that least time comes from.
    """

    seconds: float
    spread: float
    multiply_adds: int
    bytes: int
    share: float
    roof: Roof


@dataclass(frozen=True)
class LayerTime:
    """Forward and backward of one layer; shapes leave out the batch.

    ``level`` is the number of layers around it, and ``label`` its name there. The times of a layer
    with layers inside are those of all of these, fused where the backend has one operation.
    """

    name: str
    type: str
    output_shape: tuple[int, ...]
    parameters: int
    forward: PassTime
    backward: PassTime
    level: int = 0
    label: str = ""


@dataclass(frozen=True)
class LayerTimes:
    """What ``layer_times`` measured.

    Attributes:
        backend: name of the backend.
        device: name of the processor or GPU.
        dtype: floating-point type.
        precision: precision of matrix products, "ieee" or "tf32".
        batch_size: images in the batch.
        multiply_adds_per_second: of a large matrix product of the backend.
        bytes_per_second: read and written, of a copy of a large array.
        network_seconds: ``model.forward`` and ``backward`` together, with layers fused where the
            backend has one operation for several.
        captured: whether all layers were replayed from CUDA graphs, so that no time has the host's
            launches in it.
        layers: the layers in their order; those inside a layer follow it.
    """

    backend: str
    device: str
    dtype: str
    precision: str
    batch_size: int
    multiply_adds_per_second: float
    bytes_per_second: float
    network_seconds: float
    captured: bool
    layers: tuple[LayerTime, ...]

    @property
    def outermost(self) -> list[LayerTime]:
        """The layers that are in no other."""
        return [each for each in self.layers if not each.level]

    @property
    def seconds(self) -> float:
        """Sum of the layers' times, forward and backward."""
        return sum(each.forward.seconds + each.backward.seconds for each in self.outermost)

    @property
    def spread(self) -> float:
        """Spread of the passes, each weighted by its time: above about 0.2, the machine is busy."""
        passes = [one for each in self.outermost for one in (each.forward, each.backward)]
        return sum(one.spread * one.seconds for one in passes) / self.seconds

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {**asdict(self), "seconds": self.seconds, "spread": self.spread}


def layer_times(model: Sequential, batch_size: int = 64, rounds: int = ROUNDS) -> LayerTimes:
    """Measure forward and backward of each layer of a model, on the model's backend.

    The images are random. Each layer is computed by itself, as in training: its forward pass keeps
    what its backward pass needs, and the first layer computes no gradient of its input. On a GPU
    events measure the time; layers that need nothing from the host are replayed from a CUDA graph.
    On NumPy the clock measures it, with one thread. The gradients of the parameters are
    overwritten; running statistics stay as they are.

    Args:
        model: a network, trained or not.
        batch_size: images in the batch.
        rounds: samples of each time, at least 2; the results are medians.

    Raises:
        SettingError: the backend is the emulator, whose times are not those of a GPU;
            ``batch_size`` or ``rounds`` is too small; the model has a ``forward`` of its own.
    """
    be = model.backend
    batch_size = check_integer("batch_size", batch_size, 1)
    rounds = check_integer("rounds", rounds, 2)
    check_own_forward(model)
    if be.name == "emulated":
        raise SettingError(
            "times on the emulated backend are not those of a GPU: use numpy or cuda; gpucnn "
            "profile counts what the kernels ask of a GPU"
        )
    with be.limit_threads(), np.errstate(all="ignore"), model.keeping_buffers():
        passes, network = make_passes(model, batch_size)
        rates = _Rates(be)
        everything = [rates.product, rates.copy, network, *(w for pair in passes for w in pair)]
        for _ in range(rounds):
            for work in everything:
                work.sample()
    found = places(model.layers, model.input_shape)
    return LayerTimes(
        backend=be.name,
        device=be.device_name() or processor.name(),
        dtype=str(be.dtype),
        precision=be.precision,
        batch_size=batch_size,
        multiply_adds_per_second=rates.multiply_adds,
        bytes_per_second=rates.bytes,
        network_seconds=network.seconds,
        captured=be.records and all(map(can_be_replayed, model.layers.values())),
        layers=tuple(
            _layer_time(place, pair, rates, batch_size, be.dtype.itemsize)
            for place, pair in zip(found, passes, strict=True)
        ),
    )


def _layer_time(
    place: Place, passes: tuple[Work, Work], rates: _Rates, samples: int, itemsize: int
) -> LayerTime:
    """Return the times of a layer's forward and backward passes."""
    forward, backward = passes
    return LayerTime(
        *(place.name, type(place.layer).__name__, place.output_shape),
        sum(parameter.size for parameter in place.layer.parameters.values()),
        forward=rates.compare(forward, *_cost(place, samples, itemsize)),
        backward=rates.compare(backward, *_cost(place, samples, itemsize, backward=True)),
        level=place.level,
        label=place.label,
    )


class _Rates:
    """The machine's rates, measured on the backend."""

    def __init__(self, be: Backend) -> None:
        side, random = LARGE_PRODUCT[be.name], np.random.default_rng(1)
        x, weight = (be.asarray(random.standard_normal((side, side))) for _ in range(2))
        source, target = be.zeros((LARGE_COPY,)), be.zeros((LARGE_COPY,))
        self._side, self._bytes = side, 2 * LARGE_COPY * be.dtype.itemsize
        self.product = Work(be, partial(be.linear, x, weight))
        self.copy = Work(be, partial(operator.setitem, target, ..., source))

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds a second."""
        return self._side**3 / self.product.seconds

    @property
    def bytes(self) -> float:
        """Bytes read and written a second."""
        return self._bytes / self.copy.seconds

    def compare(self, work: Work, multiply_adds: int, size: int) -> PassTime:
        """Return the time of a pass next to the least that the machine would need."""
        least: dict[Roof, float] = {
            "multiply-adds": multiply_adds / self.multiply_adds,
            "memory": size / self.bytes,
        }
        roof = max(least, key=lambda name: least[name])
        share = least[roof] / work.seconds
        return PassTime(work.seconds, work.spread, multiply_adds, size, share, roof)


def _cost(place: Place, samples: int, itemsize: int, backward: bool = False) -> tuple[int, int]:
    """Return multiply-adds and bytes of a pass of a layer for ``samples`` images.

    Backward, the gradients of weights and of the input take as many multiply-adds each as forward.
    The first layer has no gradient of the input. Flatten moves nothing.
    """
    shapes = place.input_shape, place.output_shape
    source, output = (samples * math.prod(shape) for shape in shapes)
    parameters = sum(parameter.size for parameter in place.layer.parameters.values())
    elements, times, is_first = source + output + parameters, 1, place.source is None
    if backward:
        elements += parameters + (0 if is_first else source)
        times = 1 if is_first else 2
    size = 0 if isinstance(place.layer, Flatten) else elements * itemsize
    return times * samples * place.layer.multiply_adds(place.input_shape), size
