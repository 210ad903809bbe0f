"""The checks of tests/browser.py find what they look for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import browser
import pytest
from browser import visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BAD = """<!doctype html><title>t</title>
<p style="color: #bbb; background: #fff; width: 3000px">pale</p><img src="http://localhost:9/x.png">
<script>console.warn("careful"); throw new Error("broken")</script>"""
GOOD = """<!doctype html><html lang="en"><title>t</title><main><h1>Good</h1></main></html>"""


def test_a_bad_page_is_reported(chromium: Browser, tmp_path: Path) -> None:
    file = tmp_path / "bad.html"
    file.write_text(BAD)
    with visit(chromium, file.as_uri()) as tab:
        complaints = "\n".join(tab.complaints())
        for expected in ("warning: careful", "uncaught: broken", "http://localhost:9/x.png"):
            assert expected in complaints
        rules = {line.split(":")[0] for line in tab.violations()}
        assert {"color-contrast", "html-has-lang", "image-alt"} <= rules
        assert tab.is_too_wide()


def test_a_good_page_is_not(chromium: Browser, tmp_path: Path) -> None:
    file = tmp_path / "good.html"
    file.write_text(GOOD)
    with visit(chromium, file.as_uri()) as tab:
        assert tab.complaints() == []
        assert tab.violations() == []
        assert not tab.is_too_wide()


def test_a_missing_browser_is_a_failure_only_if_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv(browser.REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="none of chromium"), browser.launch():
        pass
    monkeypatch.setenv(browser.REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="required"), browser.launch():
        pass
