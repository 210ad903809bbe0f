"""metrics.csv in the folder of a run: a row for each epoch, for spreadsheets and pandas."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpucnn.files import open_to_append, write_atomically
from gpucnn.training.event_types import Event
from gpucnn.training.history import columns
from gpucnn.training.task import CLASSES

METRICS_NAME = "metrics.csv"

COLUMNS = columns(CLASSES)
"""The columns of a run on classes, those of its ``History``."""


class MetricsFile:
    """Writes metrics.csv.

    Numbers have all their digits; what is missing, NaN or infinite is empty.

    Args:
        path: the file; what it held is replaced.
        epochs: the epochs that are in it from the start, those of a resumed run: events as plain
            data.
        columns: the figures of an epoch that are written.
    """

    def __init__(
        self,
        path: Path,
        epochs: Iterable[Mapping[str, Any]] = (),
        columns: Sequence[str] = COLUMNS,
    ) -> None:
        self._columns = columns
        rows = {epoch["epoch"]: self._cells(epoch) for epoch in epochs}
        text = csv_lines([columns, *(rows[epoch] for epoch in sorted(rows))])
        write_atomically(path, text.encode())
        self._file = open_to_append(path)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def write(self, event: Event) -> None:
        """Append the row of an epoch and flush the file."""
        self._file.write(csv_lines([self._cells(event.as_dict())]))
        self._file.flush()

    def _cells(self, epoch: Mapping[str, Any]) -> list[Any]:
        values = [epoch.get(name) for name in self._columns]
        return [v if isinstance(v, int | float) and math.isfinite(v) else "" for v in values]


def csv_lines(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as lines of a CSV file (RFC 4180, but with "\\n" at their ends)."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
