"""The tables of README.md name tests that exist, in the files that they name."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent


def test_the_tests_that_the_rules_name_exist():
    section = (HERE / "README.md").read_text(encoding="utf-8").split("\n## Rules")[1]
    section = section.split("\n## ")[0]
    checked = 0
    for part in section.split("\n### ")[1:]:
        title, _, table = part.partition("\n")
        files = re.findall(r"`(test_\w+\.py)`", title)
        for row in table.splitlines():
            named = re.findall(r"`([a-z]\w+_\w+)(…?)`", row.rsplit(" | ", 1)[-1])
            text = "".join((HERE / file).read_text() for file in [*files, *extra(row)])
            for name, more in named:
                checked += 1
                assert re.search(rf"def test_{name}{'' if more else '[(]'}", text), name
    assert checked > 50


def extra(row: str) -> list[str]:
    """Return the files that a row names itself."""
    return re.findall(r"`(test_\w+\.py)`", row)
