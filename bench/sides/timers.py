"""Timers around the operations of a backend, put there without a change to it."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

OTHER = "between operations"


class Timers:
    """Seconds by operation and shape; what an operation calls in its turn is counted there."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner = [0.0]  # of each call that is open: what its own calls took

    def wrap(self, thing: Any, prefix: str = "") -> None:
        """Have every method of ``thing`` timed from now on, but for those that only check."""
        for name, method in inspect.getmembers(thing, inspect.ismethod):
            if not name.startswith(("__", "_check")):
                setattr(thing, name, self._timed(prefix + name.lstrip("_"), method))

    def _timed(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            began = time.perf_counter()
            result = method(*args, **kwargs)
            took = time.perf_counter() - began
            own = took - self._inner.pop()
            self._inner[-1] += took
            title = label(name, args)
            self.seconds[title] = self.seconds.get(title, 0.0) + own
            if name.startswith("fuse_") and result is not None:
                self.wrap(result, name.removeprefix("fuse_") + " ")  # several operations in one
            return result

        return call

    def take(self, whole: float) -> dict[str, float]:
        """Return the seconds by operation of ``whole`` seconds, and begin anew."""
        result = {**self.seconds, OTHER: max(0.0, whole - self._inner[0])}
        self.seconds, self._inner = {}, [0.0]
        return result


def label(name: str, args: tuple[Any, ...]) -> str:
    """Return an operation's title: a method and the one that it hands its arguments to share it."""
    if args and isinstance(args[0], str):  # one method for many: _activation("relu", input)
        name, args = name.replace("activation", args[0]), args[1:]
    shape = getattr(args[0], "shape", None) if args else None
    return f"{name} {'x'.join(map(str, shape))}" if shape else name
