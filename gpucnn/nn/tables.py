"""Tables as text, for a shell, and as HTML, for a notebook."""

from __future__ import annotations

from collections.abc import Sequence

Rows = Sequence[Sequence[str]]


def text_table(headings: Sequence[str], rows: Rows, left: int = 0) -> str:
    """Return a table as lines; the first ``left`` columns are justified to the left."""
    table = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    return "\n".join(line.rstrip() for line in lines)


def html_table(
    headings: Sequence[str], rows: Rows, totals: Sequence[str] = (), *, line: str = ""
) -> str:
    """Return a table in HTML and ``line`` below it; ``totals`` is its last row, if given."""
    from html import escape  # its table of entities takes milliseconds to import

    def row(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    head, body = row("th", headings), "".join(row("td", cells) for cells in rows)
    foot = f"<tfoot>{row('th', totals)}</tfoot>" if totals else ""
    below = f"<p>{escape(line)}</p>" if line else ""
    return f"<table><thead>{head}</thead><tbody>{body}</tbody>{foot}</table>{below}"
