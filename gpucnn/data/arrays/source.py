"""Where arrays come from, for messages: what was understood, and the line that converts them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gpucnn.data.types import OnProgress
from gpucnn.errors import DataError

_X = r"\bx\b"


@dataclass
class Source:
    """The origin of some arrays.

    Args:
        path: the file that was read; None for arrays that were passed in Python.
        loading: Python statements, ending in "; ", that read the file into the dict ``d``;
            ``n`` is NumPy.
        typed: whether uint8 was the choice of who made the arrays, so that 255 is white.

        on_progress: called with "examined", the number of images that were, and their total, while
            images are examined that are not kept in memory.

    Attributes:
        remarks: what was understood, as the parts of one line.
    """

    path: Path | None = None
    loading: str = ""
    typed: bool = True
    remarks: list[str] = field(default_factory=list)
    on_progress: OnProgress | None = None

    def error(self, text: str) -> DataError:
        """Return an error about this source."""
        return DataError(f"{self.path}: {text}" if self.path else text)

    def remark(self, text: str) -> None:
        """Add what was understood, once."""
        if text not in self.remarks:
            self.remarks.append(text)

    def progress(self, done: int, total: int) -> None:
        """Report how many images of an array are examined."""
        if self.on_progress is not None:
            self.on_progress("examined", done, total)

    def notes(self, name: str) -> tuple[str, ...]:
        """Return the remarks as one line, or nothing."""
        what = self.path or name
        return (f"{what} was read as follows: {'; '.join(self.remarks)}",) if self.remarks else ()

    def converting(self, names: Iterable[str], expression: str) -> str:
        """Return the line that replaces each of the arrays ``names``, x, by ``expression``."""
        if self.path is None:
            return "; ".join(f"{name} = {re.sub(_X, name, expression)}" for name in names)
        keys = literal(list(names))
        update = f"d.update({{k: {expression} for k, x in d.items() if k in {keys}}}); "
        return self._command(update, "**d")

    def renaming(self, roles: Mapping[str, str]) -> str:
        """Return the line that saves arrays under new names, given with the present ones."""
        return self._command("", ", ".join(f"{new}=d[{literal(roles[new])}]" for new in roles))

    def _command(self, change: str, arrays: str) -> str:
        assert self.path is not None
        target = literal(str(self.path.with_name(f"{self.path.stem}-converted.npz")))
        code = f"import numpy as n; {self.loading}{change}n.savez({target}, {arrays})"
        return f"python -c {shlex.quote(code)}"


def literal(value: object) -> str:
    """Return text, or a list of texts, as Python writes it, in double quotes."""
    return json.dumps(value, ensure_ascii=False)


def npz_source(path: Path) -> Source:
    """Return the source for the arrays of an .npz file."""
    return Source(path, f"d = dict(n.load({literal(str(path))})); ")


def listed(names: Iterable[str]) -> str:
    """Return names as in a sentence: ``x_train and x_test``."""
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last
