"""Pages in Chromium: what they print, request and look like to a screen reader.

Tests use the fixture ``chromium``, and ``visit`` to open a page::

    with visit(chromium, path.as_uri(), width=390, dark=True) as tab:
        assert tab.page.get_by_role("heading", level=1).is_visible()
        assert tab.complaints() == []
        assert tab.violations() == []
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
REQUIRED = "GPUCNN_REQUIRE_BROWSER"
"""The environment variable with which a missing browser is a failure."""


@contextmanager
def launch() -> Iterator[Browser]:
    """Start Chromium; skip the test where there is none, or fail if one is required."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        _give_up(f"no browser: none of {', '.join(NAMES)} is on the PATH")
    for module in ("playwright", "axe_core_python"):
        if importlib.util.find_spec(module) is None:
            _give_up(f"the package {module} is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def _give_up(reason: str) -> NoReturn:
    if os.environ.get(REQUIRED):
        pytest.fail(f"a browser is required: {reason}", pytrace=False)
    pytest.skip(reason)


@dataclass
class Tab:
    """A page that was opened by ``visit``, and what it printed and requested."""

    page: Page
    printed: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def complaints(self) -> list[str]:
        """Return all that was printed to the console, uncaught errors, and foreign requests.

        A violation of the Content-Security-Policy is printed too.
        """
        home = urlsplit(self.page.url)
        return [*self.printed, *(url for url in self.requests if _is_foreign(url, home))]

    def violations(self) -> list[str]:
        """Return what axe-core finds in the page as it is now: rule, element, summary."""
        # As in the developer tools, the page's Content-Security-Policy does not apply.
        self.page.evaluate(_axe())
        script = "() => axe.run(document, {resultTypes: ['violations'], preload: false})"
        found = self.page.evaluate(script)["violations"]
        return [
            f"{rule['id']}: {node['target']}: {node['failureSummary']}"
            for rule in found
            for node in rule["nodes"]
        ]

    def is_too_wide(self) -> bool:
        """Return whether one must scroll sideways to read the page."""
        script = "() => document.documentElement.scrollWidth > document.documentElement.clientWidth"
        return bool(self.page.evaluate(script))


def _is_foreign(url: str, home: Any) -> bool:
    parts = urlsplit(url)
    inside = parts.scheme in ("data", "blob", "about")
    return not inside and (parts.scheme, parts.netloc) != (home.scheme, home.netloc)


@cache
def _axe() -> str:
    found = importlib.util.find_spec("axe_core_python")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).with_name("axe.min.js").read_text(encoding="utf-8")


@contextmanager
def visit(
    browser: Browser,
    url: str,
    *,
    width: int = 1280,
    height: int = 900,
    dark: bool = False,
    touch: bool = False,
    **options: Any,
) -> Iterator[Tab]:
    """Open ``url`` in a window of its own; ``options`` are those of ``Browser.new_context``."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        has_touch=touch,
        is_mobile=touch,
        **options,
    )
    context.set_default_timeout(30_000)
    tab = Tab(context.new_page())
    tab.page.on("console", lambda message: tab.printed.append(f"{message.type}: {message.text}"))
    tab.page.on("pageerror", lambda error: tab.printed.append(f"uncaught: {error}"))
    tab.page.on("request", lambda request: tab.requests.append(request.url))
    try:
        tab.page.goto(url)
        yield tab
    finally:
        context.close()
