"""A report in Chromium: on a desk, on a phone and on paper."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import Tab, visit
from small import small_data, small_model

import gpucnn
from gpucnn.data import Data
from gpucnn.plots.page.making import make_page
from gpucnn.plots.page.render import render
from gpucnn.plots.page.subject import Subject

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("<script>document.title = 1</script>", "</svg><b onclick=x>", "a long name " * 5, "d")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A report on a run, and one on two runs, as addresses."""
    folder = tmp_path_factory.mktemp("pages")
    data = small_data()
    data = Data(data.train, data.test, NAMES, name="blobs")
    model = small_model()
    history = gpucnn.fit(model, data, epochs=1, batch_size=16)
    found = gpucnn.evaluate(model, data.test)
    first = Subject(
        "a name without a space, " + "x" * 60,
        *(model, data.test, found, history),
        settings=history.started.settings,
        notes=("something is missing",),
    )
    (folder / "single.html").write_bytes(render(make_page([first])))
    second = Subject("second", model, run=history, settings={"seed": 1}, data="<i>other</i>")
    third = replace(first, title="third", test=None, evaluation=None)
    (folder / "both.html").write_bytes(render(make_page([second, third])))
    return (folder / "single.html").as_uri(), (folder / "both.html").as_uri()


@pytest.mark.parametrize(("number", "width", "dark"), [(0, 1280, False), (1, 390, True)])
def test_a_report_is_readable(
    chromium: Browser, pages: tuple[str, str], number: int, width: int, dark: bool
) -> None:
    with visit(chromium, pages[number], width=width, dark=dark, touch=width < 500) as tab:
        assert tab.page.get_by_role("heading", level=1).is_visible()
        assert "gpucnn report" in tab.page.title()
        for name in NAMES[:2] if number == 0 else ():
            assert tab.page.get_by_role("rowheader", name=name, exact=True).first.is_visible()
        assert (red_of(tab, "backgroundColor") < 100) == dark
        assert tab.violations() == []
        assert tab.complaints() == []
        assert tab.requests == [pages[number]]
        for other in (1600, 1100, 640, width, 320):
            tab.page.set_viewport_size({"width": other, "height": 800})
            assert not tab.is_too_wide(), other


def red_of(tab: Tab, style: str) -> int:
    """The red of a colour of the page, 0 to 255."""
    colour = tab.page.evaluate(f"() => getComputedStyle(document.documentElement).{style}")
    return int(colour.partition("(")[2].partition(",")[0])


def test_on_paper_a_report_is_light_and_complete(
    chromium: Browser, pages: tuple[str, str], tmp_path: Path
) -> None:
    with visit(chromium, pages[0], width=690, dark=True) as tab:  # the width of A4 without margins
        tab.page.emulate_media(media="print")
        assert not tab.is_too_wide()
        assert not tab.page.get_by_role("navigation").is_visible()
        excess = "() => [...document.querySelectorAll('.scroll')].map("
        excess += "box => box.scrollWidth - box.clientWidth)"
        assert max(tab.page.evaluate(excess)) <= 1
        assert red_of(tab, "color") < 100
        assert tab.page.pdf(format="A4").count(b"/Type /Page\n") >= 2
