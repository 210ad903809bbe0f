"""The networks that the page shows."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.config import is_builtin
from gpucnn.data.images.inputs import SHIFTS
from gpucnn.nn.sequential import Sequential, custom_class
from gpucnn.nn.summary import SummaryRow
from gpucnn.web.arithmetic import number
from gpucnn.web.uploads import Way


@dataclass(frozen=True)
class Served:
    """A network and what the page shows about it.

    Attributes:
        id: its name in requests.
        title: its name for people.
        origin: the folder or file that it was read from.
        model: the network, with ``normalization``.
        prepare: "digit" or "plain", how an image becomes its input.
        test_accuracy: from 0 to 1, None if unknown.
    """

    id: str
    title: str
    origin: str
    model: Sequential
    prepare: str
    test_accuracy: float | None = None
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def way(self) -> Way:
        """How an image becomes an input."""
        return Way(self.model.input_shape, self.prepare, self.model.classes)

    @property
    def averaged(self) -> int:
        """How many shifted copies of an input the probabilities are the mean of."""
        return len(SHIFTS) if self.prepare == "digit" else 1

    def computing(self) -> ExitStack:
        """Return a context for the network's computations in any thread."""
        stack = ExitStack()
        be = self.model.backend
        if not (be.thread_parallel and all(map(is_builtin, self.model.every_layer().values()))):
            stack.enter_context(self.lock)
        stack.enter_context(be.limit_threads())
        return stack

    def feature_maps(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Return the outputs of each layer; none if the class computes as its layers do not."""
        return {} if custom_class(self.model) else self.model.feature_maps(images)

    def describe(self) -> dict[str, Any]:
        """Return the entry of ``/api/models``."""
        summary = self.model.summary()
        assert self.model.normalization is not None
        mean, std = self.model.normalization
        return {
            "id": self.id,
            "title": _text(self.title),
            "origin": _text(self.origin),
            "input_shape": list(self.model.input_shape),
            "classes": [_text(name) for name in self.model.output_names],
            "is_regression": self.model.targets is not None,
            "prepare": self.prepare,
            "averaged": self.averaged,
            "has_probabilities": self.model.has_probabilities,
            "normalization": {"mean": list(mean), "std": list(std)},
            "parameters": summary.parameters,
            "multiply_adds": summary.multiply_adds,
            "test_accuracy": number(self.test_accuracy),
            "layers": [_describe_layer(row) for row in _as_computed(summary.rows)],
        }


def _text(name: str) -> str:
    """Return a name as text that UTF-8 can hold: those of files may be any bytes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _as_computed(rows: Iterable[SummaryRow]) -> Iterator[SummaryRow]:
    """Yield rows in the order of the layers' outputs: those inside a layer before its own."""
    around: list[SummaryRow] = []
    for row in rows:
        while around and around[-1].level >= row.level:
            yield around.pop()
        around.append(row)
    yield from reversed(around)


def _describe_layer(row: SummaryRow) -> dict[str, Any]:
    field_ = row.receptive_field
    return {
        "name": row.name,
        "type": row.type,
        "shape": list(row.output_shape),
        "parameters": row.parameters,
        "multiply_adds": row.multiply_adds,
        "receptive_field": field_
        and [{"size": each.size, "stride": each.stride, "centre": each.centre} for each in field_],
    }
