"""The networks that the page shows."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from gpucnn.config import is_builtin
from gpucnn.data.images.inputs import SHIFTS
from gpucnn.nn import Sequential
from gpucnn.nn.summary import SummaryRow
from gpucnn.web.uploads import Way

DIGITS = tuple("0123456789")


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
    def classes(self) -> tuple[str, ...]:
        """The names of the outputs; those without a class of the data have numbers."""
        names = self.model.classes or ()
        outputs = self.model.output_shape[0]
        return (*names, *map(str, range(len(names), outputs)))

    @property
    def way(self) -> Way:
        """How an image becomes an input."""
        # Networks for letters have the same preparation, but are no reason to doubt a letter.
        digits = self.model.classes is None or tuple(self.model.classes) == DIGITS
        return Way(self.prepare, self.model.input_shape, digits)

    @property
    def averaged(self) -> int:
        """How many shifted copies of an input the probabilities are the mean of."""
        return len(SHIFTS) if self.prepare == "digit" else 1

    def computing(self) -> ExitStack:
        """Return a context for the network's computations in any thread."""
        stack = ExitStack()
        be = self.model.backend
        if not (be.thread_parallel and all(map(is_builtin, self.model.layers.values()))):
            stack.enter_context(self.lock)
        stack.enter_context(be.limit_threads())
        return stack

    def describe(self) -> dict[str, Any]:
        """Return the entry of ``/api/models``."""
        summary = self.model.summary()
        assert self.model.normalization is not None
        mean, std = self.model.normalization
        return {
            "id": self.id,
            "title": self.title,
            "origin": self.origin,
            "input_shape": list(self.model.input_shape),
            "classes": list(self.classes),
            "prepare": self.prepare,
            "averaged": self.averaged,
            "normalization": {"mean": list(mean), "std": list(std)},
            "parameters": summary.parameters,
            "multiply_adds": summary.multiply_adds,
            "test_accuracy": self.test_accuracy,
            "layers": [_describe_layer(row) for row in summary.rows],
        }


def find_served(served: Sequence[Served], names: Sequence[str]) -> list[Served]:
    """Return the networks with these ids, all if there are none; KeyError for an unknown id."""
    known = {each.id: each for each in served}
    return [known[name] for name in dict.fromkeys(names)] if names else list(served)


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
