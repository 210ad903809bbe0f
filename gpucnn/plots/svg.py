"""Figures as files: SVG to put into a page, and PNG."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from html import escape
from os import PathLike
from pathlib import Path

from gpucnn.errors import SettingError
from gpucnn.files import write_atomically
from gpucnn.plots.style import COLOURS, Plot

DPI = 200
"""Dots per inch of PNG files, and of images with many pixels in SVG."""


def _rule(selector: str, dark: bool) -> str:
    values = "".join(f"--plot-{name}:{pair[dark]};" for name, pair in COLOURS.items())
    return f"{selector}{{{values}}}"


STYLESHEET = (
    f"{_rule(':root', False)}\n"
    f"@media screen and (prefers-color-scheme:dark){{{_rule(':root', True)}}}\n"
)
"""CSS that gives the figures of ``to_svg`` light colours, and dark ones on a dark screen."""

_TAG = re.compile("<[^>]*>")  # names of classes are outside of tags
_ID = re.compile(r' id="([^"]*)"')
_REFERENCE = re.compile(r'(xlink:href="|url\()#')
_STYLE = re.compile(r'style="[^"]*"')
_COLOUR = re.compile("#[0-9a-f]{6}(?![0-9a-f])")
_NAMES = {light: f"var(--plot-{name}, {light})" for name, (light, _) in COLOURS.items()}
_FONTS = re.compile(r"'DejaVu Sans'[^;\"]*")


def to_svg(figure: Plot, title: str = "", *, heading: bool = True, key: str = "") -> str:
    """Return a figure as an ``<svg>`` element, to be put into an HTML page.

    It is transparent, and has text as text. Its colours are CSS variables with the colours on white
    as defaults: ``--plot-ink``, ``--plot-muted``, ``--plot-grid``, ``--plot-paper``,
    ``--plot-bad`` and ``--plot-1`` to ``--plot-8``; ``STYLESHEET`` sets them for
    dark screens. Text has the font ``--plot-font``, by default sans-serif. The same figure gives
    the same text, and no two different figures in a page share an id.

    Args:
        figure: what a function of ``gpucnn.plots`` returned.
        title: text for screen readers.
        heading: False leaves out the title at the top of a grid of images, for pages that have a
            heading of their own.
        key: gives other ids to a figure that is twice in a page.
    """
    width, height = (72 * side for side in figure.get_size_inches())
    top = 0.0
    if figure.heading is not None:
        figure.heading[0].set_visible(heading)
        top = 0 if heading else 72 * figure.heading[1]
    try:
        text = figure.render("svg", facecolor="none", dpi=DPI).decode()
    finally:
        if figure.heading is not None:
            figure.heading[0].set_visible(True)
    body = text[text.index("</defs>") + len("</defs>") : text.rindex("</svg>")]
    body = _TAG.sub(lambda tag: _STYLE.sub(lambda found: _with_variables(found[0]), tag[0]), body)
    label = f' aria-label="{escape(title)}"' if title else ""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        f' role="img"{label} width="{width:g}pt" height="{height - top:g}pt"'
        f' viewBox="0 {top:g} {width:g} {height - top:g}"'
        ' style="max-width:100%;height:auto;stroke-linejoin:round;stroke-linecap:butt">'
        f"{_with_own_ids(_without_spaces(body), key)}</svg>"
    )


def _with_variables(attribute: str) -> str:
    """Return a style attribute with the colours and the font as CSS variables."""
    attribute = _FONTS.sub("var(--plot-font, sans-serif)", attribute)
    return _COLOUR.sub(lambda match: _NAMES.get(match[0], match[0]), attribute)


def _with_own_ids(body: str, key: str) -> str:
    """Return SVG with an id only where something refers to it, and each unlike other figures'."""
    used = set(re.findall(r'(?:xlink:href="|url\()#([^")]+)', body))
    prefix = "p" + hashlib.sha256(f"{key}{body}".encode()).hexdigest()[:10] + "-"

    def in_tag(match: re.Match[str]) -> str:
        tag = _ID.sub(lambda found: f' id="{prefix}{found[1]}"' * (found[1] in used), match[0])
        return _REFERENCE.sub(rf"\g<1>#{prefix}", tag)

    return _TAG.sub(in_tag, body)


def _without_spaces(body: str) -> str:
    """Return SVG without the spaces and line ends between its elements and in its paths."""
    return re.sub(r">\s+<", "><", re.sub(r" ?\n(?=[A-Za-z\"])", " ", body)).strip()


def save_all(folder: str | PathLike[str], figures: Mapping[str, Plot]) -> list[Path]:
    """Write each figure to ``folder``/NAME.png, and return the paths; the folder is made.

    Raises SettingError if the folder cannot be made, OSError if a file cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"cannot write to {folder}: {error.strerror}") from None
    paths = []
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        write_atomically(path, figure.render("png", dpi=DPI))
        paths.append(path)
    return paths
