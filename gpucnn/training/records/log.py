"""Reading log.jsonl, the events of a run, of which ``gpucnn train`` writes one on each line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpucnn.errors import SettingError
from gpucnn.training.files.metadata import parse_json

_MAX_LINE = 1 << 20
"""Bytes; events are shorter."""


def read_log(path: Path, most: int | None = None) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the events in a log with their lines; what is not an event is left out.

    Of a log of more than ``most`` bytes only the beginning and the end are read, half each.
    """
    try:
        if not path.is_file():
            return
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            gap = most is not None and size > most
            while line := file.readline(_MAX_LINE):
                if gap and most is not None and file.tell() > most // 2:
                    file.seek(size - most // 2)
                    line, gap = file.readline(_MAX_LINE) and b"", False
                with suppress(ValueError):
                    event = parse_json(line)
                    if isinstance(event, dict) and isinstance(event.get("event"), str):
                        yield event, line.decode().rstrip() + "\n"
    except OSError as error:
        raise SettingError(f"cannot read {path}: {error.strerror}") from None
