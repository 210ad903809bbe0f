"""Single operations while a stream captures."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from agreement.common import add, assign, attempt, floats

Outcome = tuple[str | None, str]
"""The error of an operation, if any, and what the end of the capture gives."""

SITUATIONS = ("own", "null", "blocking")


@dataclass(frozen=True)
class Operation:
    """An operation and its outcome in the capturing stream and in the null stream.

    ``own``: in the stream that captures. ``null``: in the null stream while a non-blocking stream
    captures. ``blocking``: in the null stream while a blocking stream captures.
    """

    run: Callable[[Any, Any], object]
    own: Outcome
    null: Outcome
    blocking: Outcome


ALLOWED = (None, "graph")
# CuPy refuses copies of the host itself, before it asks CUDA.
REFUSED = ("RuntimeError", "graph")
# The null stream waits for blocking streams, so it cannot be used while one captures.
IMPLICIT = ("cudaErrorStreamCaptureImplicit", "cudaErrorStreamCaptureInvalidated")
# To ask whether the null stream captures is an error, which invalidates nothing.
ASKED = ("cudaErrorStreamCaptureImplicit", "graph")
UNSUPPORTED = ("cudaErrorStreamCaptureUnsupported", "cudaErrorStreamCaptureInvalidated")

QUEUED = (ALLOWED, ALLOWED, IMPLICIT)
COPIED = (REFUSED, ALLOWED, ASKED)
FREE = (ALLOWED, ALLOWED, ALLOWED)

HOST = np.ones(2, np.float32)
_numbers = itertools.count()


def captured(xp: Any, x: Any) -> Any:
    """Return a graph that adds x to itself."""
    stream = xp.cuda.Stream(non_blocking=True)
    stream.begin_capture()
    add(xp, x, x, stream=stream)
    return stream.end_capture()


def load(xp: Any) -> None:
    """Compile and load a kernel that is new to this process."""
    code = f'extern "C" __global__ void number(int* x) {{ x[0] = {next(_numbers)}; }}'
    xp.RawModule(code=code).get_function("number")


OPERATIONS = {
    "launch": Operation(lambda xp, x: add(xp, x, x), *QUEUED),
    "launch a graph": Operation(
        lambda xp, x: captured(xp, x).launch(), UNSUPPORTED, ALLOWED, IMPLICIT
    ),
    "fill with 0": Operation(lambda xp, x: x.fill(0), *QUEUED),
    "fill": Operation(lambda xp, x: x.fill(5), *QUEUED),
    "assign a number": Operation(lambda xp, x: assign(x, 0, 5), *QUEUED),
    "assign an array": Operation(lambda xp, x: assign(x, ..., x[::-1]), *QUEUED),
    "copy": Operation(lambda xp, x: x.copy(), *QUEUED),
    "reshape that copies": Operation(lambda xp, x: xp.empty((2, 2)).T.reshape(4), *QUEUED),
    "zeros": Operation(lambda xp, x: xp.zeros(3), *QUEUED),
    "asarray of a number": Operation(lambda xp, x: xp.asarray(1.5), *QUEUED),
    "asarray that casts": Operation(lambda xp, x: xp.asarray(x, "float64"), *QUEUED),
    "record an event": Operation(lambda xp, x: xp.cuda.Event().record(), *QUEUED),
    "asarray": Operation(lambda xp, x: xp.asarray(HOST), *COPIED),
    "asarray of a list": Operation(lambda xp, x: xp.asarray([1, 2]), *COPIED),
    "asarray of nothing": Operation(lambda xp, x: xp.asarray([]), *COPIED),
    "set": Operation(lambda xp, x: x.set(HOST), *COPIED),
    "get": Operation(lambda xp, x: x.get(), *COPIED),
    "asnumpy": Operation(lambda xp, x: xp.asnumpy(x), *COPIED),
    "item": Operation(lambda xp, x: x[:1].item(), *COPIED),
    "float": Operation(lambda xp, x: float(x[0]), *COPIED),
    "int": Operation(lambda xp, x: int(x[0]), *COPIED),
    "bool": Operation(lambda xp, x: bool(x[0]), *COPIED),
    "get nothing": Operation(lambda xp, x: x[:0].get(), *FREE),
    "asnumpy of a host array": Operation(lambda xp, x: xp.asnumpy(HOST), *FREE),
    "asarray of a device array": Operation(lambda xp, x: xp.asarray(x), *FREE),
    "view": Operation(lambda xp, x: x[1:].reshape(1, 1).T, *FREE),
    "attributes": Operation(lambda xp, x: (x.shape, len(x), x.data.ptr, x.device.id), *FREE),
    "empty": Operation(lambda xp, x: xp.empty(3), *FREE),
    "zeros of no elements": Operation(lambda xp, x: xp.zeros(0), *FREE),
    "create a stream": Operation(lambda xp, x: xp.cuda.Stream(), *FREE),
    "compile and load": Operation(lambda xp, x: load(xp), *FREE),
    "allocate": Operation(lambda xp, x: xp.cuda.MemoryPool().malloc(8), *FREE),
    "wait for another stream": Operation(
        lambda xp, x: xp.cuda.Stream(non_blocking=True).synchronize(), *FREE
    ),
    "wait for the stream": Operation(
        lambda xp, x: xp.cuda.get_current_stream().synchronize(), UNSUPPORTED, ALLOWED, IMPLICIT
    ),
    "wait for the device": Operation(
        lambda xp, x: xp.cuda.Device().synchronize(), UNSUPPORTED, UNSUPPORTED, UNSUPPORTED
    ),
    "ask whether it captures": Operation(
        lambda xp, x: xp.cuda.get_current_stream().is_capturing(), ALLOWED, ALLOWED, ASKED
    ),
}


def while_capturing(xp: Any, operation: Operation, situation: str) -> Outcome:
    """Return the outcome of an operation in one of the SITUATIONS."""
    x = floats(xp, 1, 2)
    add(xp, x, floats(xp, 0, 0))  # compiled and loaded
    x.get()
    stream = xp.cuda.Stream(non_blocking=situation != "blocking")

    def run() -> None:
        operation.run(xp, x)

    stream.begin_capture()
    try:
        if situation == "own":
            with stream:
                error = attempt(run)
        else:
            error = attempt(run)
    finally:
        end = attempt(stream.end_capture)
    return error, end
