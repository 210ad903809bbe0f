"""The process that decodes and prepares images: hostile ones end or occupy this process only.

It reads requests from standard input and answers on standard output, until the input ends. Both are
a line of JSON and bytes: a request is {"size", "ways", "seconds"} and the file; an answer is
{"results"} and the pixels of all inputs, or {"error"}. The first answer, {}, means: ready.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from typing import IO, Any

import numpy as np

from gpucnn.data.images.preparing import Prepared, prepare_image
from gpucnn.errors import DataError
from gpucnn.web.uploads import read_upload

MAX_SECONDS = 5.0
"""Processor time for an image: a process that takes longer ends. A busy machine takes longer."""

_MEMORY = 1 << 30


def main() -> None:
    """Answer requests until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends this process
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is not an answer
    requests = sys.stdin.buffer
    _warm_up(json.loads(sys.argv[-1]))
    _limit()
    _send(answers, {})
    while line := requests.readline():
        header = json.loads(line)
        body = requests.read(header["size"])
        _set_timer(header["seconds"])
        answer = _answer(body, header["ways"])
        _set_timer(0)
        _send(answers, *answer)


def _set_timer(seconds: float) -> None:
    """End the process after so much processor time, where the system can; 0: never."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _answer(body: bytes, ways: list[Any]) -> tuple[dict[str, Any], bytes]:
    try:
        image = read_upload(body)
        found = [prepare_image(image, *way) for way in ways]
    except DataError as error:
        return {"error": " ".join(str(error).split())}, b""
    except MemoryError:
        return {"error": "the image needs too much memory: reduce it"}, b""
    results = [
        {"status": each.status, "reason": each.reason, "size": _size(each)} for each in found
    ]
    pixels = [each.pixels.tobytes() for each in found if each.pixels is not None]
    return {"results": results}, b"".join(pixels)


def _size(prepared: Prepared) -> int:
    return 0 if prepared.pixels is None else prepared.pixels.size


def _send(answers: IO[bytes], header: dict[str, Any], pixels: bytes = b"") -> None:
    answers.write(json.dumps(header).encode() + b"\n" + pixels)
    answers.flush()


def _warm_up(ways: list[Any]) -> None:
    """Load what the first image would wait for."""
    drawing = np.full((64, 64), 255, np.uint8)
    drawing[12:52, 28:36] = 0
    for way in ways:
        prepare_image(drawing, *way)


def _limit() -> None:
    """Bound the memory of this process, and have it write no files, where the system can."""
    with suppress(ImportError, OSError, ValueError):
        resource = import_module("resource")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
