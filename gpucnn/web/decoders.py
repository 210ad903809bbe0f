"""The processes that decode uploads: the server's side."""

from __future__ import annotations

import json
import math
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any, get_args

import numpy as np

from gpucnn.data.images.preparing import Prepared, Status
from gpucnn.errors import DataError, WorkerError
from gpucnn.web.uploads import Way
from gpucnn.web.worker import MAX_SECONDS

COUNT = 2
"""Processes, and so the number of images that are decoded at once."""

# Importing NumPy and SciPy takes a second, on a busy machine several.
_START_SECONDS = 60.0
# Of the time on the clock, for each second of processor time.
_PATIENCE = 6
_MAX_LINE = 1 << 16
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from gpucnn.web.worker import main; main()"
)


class Decoders:
    """Decodes images in processes of their own, each of which is replaced when it takes too long.

    Args:
        ways: how images will be prepared; what that needs is loaded at the start.
        seconds: processor time that an image may take.
        count: number of processes.
    """

    def __init__(
        self, ways: Sequence[Way], seconds: float = MAX_SECONDS, count: int = COUNT
    ) -> None:
        self.count, self.closed = count, False
        self._all = [_Decoder(ways, seconds) for _ in range(count)]
        self._free: queue.SimpleQueue[_Decoder] = queue.SimpleQueue()

    def __enter__(self) -> Decoders:
        for decoder in self._all:
            decoder.start()
            self._free.put(decoder)
        return self

    def __exit__(self, *exception: object) -> None:
        self.closed = True
        for decoder in self._all:
            decoder.end()

    def processes(self) -> list[int]:
        """Return the identifiers of the processes."""
        return [each.process.pid for each in self._all if each.process is not None]

    def prepare(self, body: bytes, ways: Sequence[Way]) -> list[Prepared]:
        """Return an image file as an input in each of the ways, in any thread.

        Raises:
            DataError: the file is refused, or takes too long.
            WorkerError: no process can be started.
        """
        decoder = self._free.get()
        try:
            return decoder.prepare(body, ways)
        finally:
            if decoder.process is None and not self.closed:
                with suppress(OSError):  # the next image tries again
                    decoder.start()
            self._free.put(decoder)


class _Decoder:
    """One process, used by one thread at a time."""

    def __init__(self, ways: Sequence[Way], seconds: float) -> None:
        self.ways, self.seconds = json.dumps(ways), seconds
        self.process: subprocess.Popen[bytes] | None = None
        self.ready = False

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process, without waiting until it is ready."""
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self.ready = False
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), self.ways],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C in the terminal is for the server
        )
        return self.process

    def end(self) -> None:
        """Kill the process; a thread that waits for it gets an error."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in _streams(process):
                with suppress(OSError):  # what was not sent
                    stream.close()

    def prepare(self, body: bytes, ways: Sequence[Way]) -> list[Prepared]:
        """As ``Decoders.prepare``."""
        try:
            if self.process is not None and self.process.poll() is not None:
                self.end()
            process = self.process or self.start()
            if not self.ready:
                _ask(process, _START_SECONDS, b"", ())
                self.ready = True
        except (OSError, EOFError, ValueError) as error:
            self.end()
            raise WorkerError(f"the process that decodes images does not start: {error}") from None
        header = {"size": len(body), "ways": ways, "seconds": self.seconds}
        request = json.dumps(header).encode() + b"\n" + body
        try:
            header, prepared = _ask(process, _PATIENCE * self.seconds, request, ways)
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            self.end()
            raise DataError(
                f"the image needs more than {self.seconds:g} seconds or too much memory: reduce it"
            ) from None
        if "error" in header:
            raise DataError(str(header["error"]))
        return prepared


def _ask(
    process: subprocess.Popen[bytes], seconds: float, request: bytes, ways: Sequence[Way]
) -> tuple[dict[str, Any], list[Prepared]]:
    """Send a request and return the answer; EOFError or OSError after ``seconds``.

    What a process answers that has decoded hostile files may be anything: ValueError, KeyError or
    TypeError if it is not what it should be.
    """
    requests, answers = _streams(process)
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    try:
        requests.write(request)
        requests.flush()
        line = answers.readline(_MAX_LINE)
        if not line.endswith(b"\n"):
            raise EOFError("it has ended")
        header: dict[str, Any] = json.loads(line)
        rows = header.get("results", ())
        if "error" in header:
            return header, []
        return header, [_read(answers, way, row) for way, row in zip(ways, rows, strict=True)]
    finally:
        timer.cancel()


def _read(answers: IO[bytes], way: Way, row: dict[str, Any]) -> Prepared:
    """Return one result; the pixels of all follow the header."""
    pixels = None
    if row["size"]:
        size = math.prod(way.shape)
        read = answers.read(size)
        if row["size"] != size or len(read) != size:
            raise EOFError("it has ended")
        pixels = np.frombuffer(read, np.uint8).reshape(way.shape)
    status = row["status"]
    if status not in get_args(Status):
        raise ValueError("unknown status")
    return Prepared(status, str(row["reason"]), pixels)


def _streams(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout
