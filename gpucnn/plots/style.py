"""The style of all plots: colours, text, and figures made without pyplot.

A plot changes none of Matplotlib's settings, opens no window, and looks the same whatever the
settings are. Its colours differ for colour-blind readers as well: they are those of Okabe and Ito
(2008, "Color Universal Design"), somewhat darkened.
"""

from __future__ import annotations

import io
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

import matplotlib
import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogLocator

COLOURS = {
    "ink": ("#1f2328", "#e6edf3"),
    "muted": ("#59636e", "#a5afba"),
    "grid": ("#d1d9e0", "#3a424b"),
    "paper": ("#ffffff", "#0d1117"),
    "bad": ("#b5460f", "#ff9d66"),
    "1": ("#0072b2", "#58b4f0"),
    "2": ("#d55e00", "#ff8f52"),
    "3": ("#009e73", "#2fcb9d"),
    "4": ("#c2619a", "#ec9cc8"),
    "5": ("#57606a", "#b1bac4"),
    "6": ("#3d9bdc", "#8ccbff"),
    "7": ("#b47a00", "#f2b94b"),
    "8": ("#7a52c7", "#b79cff"),
}
"""The colours by their names, each for a white page and for a dark one."""

INK, MUTED, GRID, PAPER, BAD, *SERIES = (light for light, _ in COLOURS.values())

WHITE = "#fefefe"
"""White that is white in a dark page, too."""

WIDTH = 7.2
"""Width of a figure in inches."""

SMALL = 8.5
"""Size in points of notes and of names in a grid; other text has 10 points."""

_SETTINGS: dict[str, Any] = {
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "font.size": 10,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "image.composite_image": False,
    "legend.edgecolor": GRID,
    "legend.facecolor": PAPER,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "savefig.facecolor": "auto",
    "svg.fonttype": "none",
    "svg.hashsalt": "gpucnn",
    "text.color": INK,
    "text.parse_math": False,  # a class may be named "$5"
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 9,
}

_FALLBACK_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Source Han Sans",
    "Hiragino Sans",
    "Yu Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
    "WenQuanYi Zen Hei",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
)
"""Fonts with letters that Matplotlib's own font lacks; those that are installed are used."""

_LOCK = RLock()
"""Matplotlib's settings belong to the process: one thread at a time draws with those above."""


@contextmanager
def style() -> Iterator[None]:
    """Set Matplotlib's settings to those of the plots; afterwards they are as before."""
    with (
        _LOCK,
        matplotlib.style.context(["default", _SETTINGS]),
        warnings.catch_warnings(),
    ):
        # A letter that no font has is drawn as a box.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        matplotlib.rcParams["font.sans-serif"] = ["DejaVu Sans", *_installed(_FALLBACK_FONTS)]
        yield


def number_ticks(axis: Any) -> None:
    """Write the numbers of a logarithmic axis without powers, at 1, 2 and 5 of each decade.

    Of many decades only the first number is written. Matplotlib's own labels are powers in the
    notation for formulas, which ``style`` turns off. What the axis shows is to be drawn before.
    """
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(10, (1, 2, 5) if high <= 1e4 * low else (1,)))
    axis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    axis.set_minor_formatter("")


def _installed(names: tuple[str, ...]) -> list[str]:
    from matplotlib.font_manager import fontManager

    there = {font.name for font in fontManager.ttflist}
    return [name for name in names if name in there]


class Plot(Figure):
    """A figure of Matplotlib that a notebook shows, although it is not one of pyplot's."""

    heading: tuple[Text, float] | None = None
    """The title at the top of the figure, if it has one, and the inches that it takes."""

    def lay_out(self) -> Plot:
        """Place the axes once and for all, so that every file has them where the first has."""
        engine = self.get_layout_engine()
        if engine is not None:
            engine.execute(self)
        self.set_layout_engine("none")
        return self

    def render(self, format: str, **options: Any) -> bytes:
        """Return the figure as a file's contents, the same for the same figure.

        ``format`` is "png" or "svg"; ``options`` are those of ``savefig``.
        """
        stream = io.BytesIO()
        metadata = {"Date": None} if format == "svg" else {"Software": None}
        with style():
            self.savefig(stream, format=format, metadata=metadata, **options)
        return stream.getvalue()

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return the image that a notebook shows, in twice its resolution for sharp screens."""
        width, height = (round(100 * side) for side in self.get_size_inches())
        return self.render("png", dpi=200), {"width": width, "height": height}


def clean(text: object, limit: int = 24) -> str:
    """Return a name in one line of at most ``limit`` characters that can be drawn.

    Spaces and line ends become one space, other control characters the sign U+FFFD; of a long name
    the middle is left out.
    """
    line = " ".join(str(text).split())
    letters = (letter for letter in line if unicodedata.category(letter) != "Cf")
    line = "".join(letter if letter.isprintable() else "\ufffd" for letter in letters)
    if len(line) > limit:
        end = (limit - 1) // 2
        line = f"{line[: limit - 1 - end]}…{line[len(line) - end :]}"
    return line or "(no name)"


def percent(fraction: float) -> str:
    """Return a fraction as "97.3 %"; only 1 itself is "100 %", only 0 is "0 %"."""
    if fraction in (0, 1):
        return f"{100 * fraction:.0f} %"
    return f"{min(max(100 * fraction, 0.1), 99.9):.1f} %"


def short(value: float, digits: int = 2) -> str:
    """Return a number with so many digits."""
    return f"{value:.{digits}g}".replace("-", "\u2212")


def sides(shape: tuple[int, ...]) -> str:
    """Return a shape as "6x28x28"."""
    return "x".join(f"{side:,}" for side in shape)
