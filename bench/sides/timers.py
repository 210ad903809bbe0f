"""Timers around the methods of a backend, added at run time."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

OTHER = "between operations"


class Timers:
    """Seconds by operation and shape, without the time of nested timed calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._nested = [0.0]  # seconds of nested calls, for each call in progress

    def wrap(self, thing: Any, prefix: str = "") -> None:
        """Time every method of ``thing`` from now on, except argument checks."""
        for name, method in inspect.getmembers(thing, inspect.ismethod):
            if not name.startswith(("__", "_check")):
                setattr(thing, name, self._timed(prefix + name.lstrip("_"), method))

    def _timed(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            self._nested.append(0.0)
            began = time.perf_counter()
            result = method(*args, **kwargs)
            took = time.perf_counter() - began
            own = took - self._nested.pop()
            self._nested[-1] += took
            title = label(name, args)
            self.seconds[title] = self.seconds.get(title, 0.0) + own
            if name.startswith("fuse_") and result is not None:
                self.wrap(result, name.removeprefix("fuse_") + " ")  # a fused operation
            return result

        return call

    def collect(self, total: float) -> dict[str, float]:
        """Return the seconds by operation out of ``total``, and reset all to 0."""
        result = {**self.seconds, OTHER: max(0.0, total - self._nested[0])}
        self.seconds, self._nested = {}, [0.0]
        return result


def label(name: str, args: tuple[Any, ...]) -> str:
    """Return the title of an operation, shared by a method and the one that it delegates to."""
    if args and isinstance(args[0], str):  # shared helpers: _map("relu_forward", input)
        args = args[1:]
    shape = getattr(args[0], "shape", None) if args else None
    return f"{name} {'x'.join(map(str, shape))}" if shape else name
