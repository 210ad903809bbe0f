"""The page as a file: HTML that needs nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gpucnn.config import import_extra
from gpucnn.plots.page.document import Block, Figure, Section, Text
from gpucnn.plots.svg import STYLESHEET, to_svg
from gpucnn.version import __version__

MAX_BYTES = 2_000_000
"""The size of a page. Figures that would make it larger are left out, each with a note."""

LEAST = 0.7
"""How small a figure becomes on a narrow screen, so that its text stays readable."""


@dataclass(frozen=True)
class Page:
    """A page: its head, and its sections.

    Attributes:
        kind: what it is, above the title.
        title: the title.
        lead: a sentence below it.
        figures: the names and values of a few figures.
        notes: what is missing or unusual.
        sections: all others.
    """

    kind: str
    title: str
    lead: str
    figures: Sequence[tuple[str, str]]
    notes: Sequence[str]
    sections: Sequence[Section]


def render(page: Page) -> bytes:
    """Return a page as HTML in UTF-8, of at most ``MAX_BYTES`` if its text allows it.

    All text is escaped: names of classes, files and settings may come from anybody.
    """
    figures = [figure for section in page.sections for figure in section.figures()]
    room = MAX_BYTES - len(_fill(page, {figure.name: "" for figure in figures}))
    drawn: dict[str, str] = {}
    for figure in figures:
        svg = to_svg(figure.plot, figure.alt, heading=False, key=figure.name)
        if (size := len(_encoded(svg))) <= room:
            drawn[figure.name] = svg
            room -= size
    content = _fill(page, drawn)
    while len(content) > MAX_BYTES and drawn:  # with the notes on figures that are left out
        drawn.popitem()
        content = _fill(page, drawn)
    return content


def _fill(page: Page, drawn: Mapping[str, str]) -> bytes:
    """Return the HTML of a page; ``drawn`` has the figures by their names."""
    labels = _Labels(drawn)
    text: str = _template().render(
        vars(page)
        | {
            "css": labels.markup(f"{STYLESHEET}{_read('style.css')}"),
            "sections": [
                labels.section(section, f"s{number}")
                for number, section in enumerate(page.sections, 1)
            ],
            "version": __version__,
        }
    )
    return _encoded(text)


def _encoded(text: str) -> bytes:
    # A lone surrogate, as in the name of a file that is not UTF-8, has no encoding.
    return text.encode(errors="replace")


class _Labels:
    """Numbers tables and figures, and gives sections and captions their ids."""

    def __init__(self, drawn: Mapping[str, str]) -> None:
        self.drawn = drawn
        self.counts = Counter[str]()
        # What is marked up is put into the page as it is.
        self.markup = import_extra("markupsafe", "Jinja2", "making a report", "report").Markup

    def section(self, section: Section, key: str) -> dict[str, Any]:
        """Return a section as the template takes it."""
        return {
            "id": key,
            "title": section.title,
            "blocks": [self.block(block) for block in section.blocks],
            "parts": [
                self.section(part, f"{key}-{number}")
                for number, part in enumerate(section.parts, 1)
            ],
        }

    def block(self, block: Block) -> dict[str, Any]:
        """Return a block as the template takes it."""
        if isinstance(block, Figure) and block.name not in self.drawn:
            block = Text(
                f"A figure is left out, because the page would be larger than {MAX_BYTES / 1e6:g}"
                f" MB: {block.caption} The option --png DIR saves it as an image.",
                note=True,
            )
        kind = type(block).__name__
        values = vars(block) | {"kind": kind}
        if isinstance(block, Text):
            return values
        self.counts[kind] += 1
        values["id"] = f"{kind.lower()}-{self.counts[kind]}"
        values["label"] = f"{kind} {self.counts[kind]}"
        if isinstance(block, Figure):
            values["svg"] = self.markup(self.drawn[block.name])
            values["least"] = round(LEAST * 96 * block.plot.get_size_inches()[0])
        return values


@cache
def _template() -> Any:
    jinja = import_extra("jinja2", "Jinja2", "making a report", "report")
    environment = jinja.Environment(autoescape=True, undefined=jinja.StrictUndefined)
    return environment.from_string(_read("page.html"))


def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
