"""The page of ``gpucnn serve`` in Chromium, with its server."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from browser import Tab, visit
from PIL import Image
from serving import scaled, serving

import gpucnn
from gpucnn.data import mnist
from gpucnn.models import lenet5_1998
from gpucnn.web.served import Served
from gpucnn.web.uploads import MAX_BODY

pytest.importorskip("playwright")

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Route

Strokes = Sequence[Sequence[tuple[float, float]]]

# How a pen writes some digits, on paper of 100 by 100.
DIGITS: dict[int, Strokes] = {
    2: [[(33, 30), (50, 18), (66, 32), (50, 58), (30, 80), (50, 79), (72, 80)]],
    4: [[(36, 20), (30, 55), (70, 55)], [(62, 25), (60, 85)]],
    5: [[(38, 20), (36, 45), (56, 45), (66, 60), (56, 78), (34, 78)], [(38, 20), (68, 20)]],
    7: [[(30, 22), (70, 20), (58, 50), (46, 84)]],
    8: [[(60, 24), (42, 24), (42, 42), (60, 58), (60, 78), (40, 78), (40, 60), (60, 42), (60, 24)]],
}

# A copy is read: Chromium warns when the page's own canvas is.
COUNT_INK = """canvas => {
    const copy = new OffscreenCanvas(280, 280).getContext("2d", {willReadFrequently: true});
    copy.drawImage(canvas, 0, 0);
    return copy.getImageData(0, 0, 280, 280).data.filter(value => value < 99).length;
}"""

MINUS = "\N{MINUS SIGN}"

expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def trained() -> Served:
    model = gpucnn.load_model("lenet5")
    return Served("1", "trained", "lenet5", model, "digit", 0.99)


@pytest.fixture(scope="module")
def url(trained: Served) -> Iterator[str]:
    other = Served("2", "untrained", "runs/2", scaled(lenet5_1998(seed=1)), "digit", None)
    with serving([trained, other]) as address:
        yield address


@pytest.fixture(scope="module")
def desktop(chromium: Browser, url: str) -> Iterator[Tab]:
    with visit(chromium, url, reduced_motion="reduce") as opened:
        expect(networks(opened)).to_have_count(1)
        assert opened.complaints() == []
        yield opened


@pytest.fixture
def tab(desktop: Tab) -> Iterator[Tab]:
    """The page at 1280 pixels, with an empty drawing area; without complaints at the end."""
    desktop.page.locator("#paper").press("Delete")
    expect(verdict(desktop)).to_be_hidden()
    desktop.requests.clear()
    desktop.printed.clear()
    yield desktop
    assert desktop.complaints() == []


def networks(tab: Tab) -> Locator:
    return tab.page.locator("main .network")


def verdict(tab: Tab) -> Locator:
    """The class that the first network answers."""
    return tab.page.locator(".verdict b").first


def maps(tab: Tab, layer: str) -> Locator:
    return tab.page.get_by_role("application", name=f"{layer}:").first


def write(tab: Tab, strokes: Strokes) -> None:
    """Draw with the mouse."""
    box = tab.page.locator("#paper").bounding_box()
    assert box is not None
    mouse, scale = tab.page.mouse, box["width"] / 100
    for stroke in strokes:
        start, *points = [(box["x"] + x * scale, box["y"] + y * scale) for x, y in stroke]
        mouse.move(*start)
        mouse.down()
        for point in points:
            mouse.move(*point)
        mouse.up()


def png(pixels: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def as_file(content: bytes, name: str = "digit.png") -> Any:
    return {"name": name, "mimeType": "image/png", "buffer": content}


def sample(digit: int) -> Any:
    """A test image of MNIST, uint8 (28, 28)."""
    test = mnist().test
    return test.images[np.flatnonzero(test.labels == digit)[0], 0]


def numbers(table: Locator) -> Any:
    """The numbers of a table, in two decimals."""
    texts = table.locator("td").all_inner_texts()
    return np.array([float(text.replace(MINUS, "-")) for text in texts])


def test_drawn_digits_are_recognised(tab: Tab) -> None:
    for digit, strokes in DIGITS.items():
        write(tab, strokes)
        expect(verdict(tab)).to_have_text(str(digit))
        best = tab.page.locator(".bars .best")
        expect(best.locator(".name")).to_have_text(str(digit))
        expect(tab.page.get_by_role("status")).to_contain_text(f"{digit}, ")
        tab.page.get_by_role("button", name="Clear").click()
        expect(verdict(tab)).to_be_hidden()
    posted = [address for address in tab.requests if "/api/predict" in address]
    assert len(posted) > len(DIGITS), "the network answers while one draws"


def test_the_page_writes_every_digit_and_a_pen_can_add_to_it(tab: Tab) -> None:
    paper = tab.page.get_by_role("application", name="Drawing area")
    for digit in range(10):
        paper.press(str(digit))
        expect(verdict(tab)).to_have_text(str(digit))
    tab.page.get_by_role("button", name="Write a 1").click()
    expect(verdict(tab)).to_have_text("1")
    write(tab, [[(25, 52), (75, 52)], [(30, 20), (25, 52)]])
    expect(verdict(tab)).to_have_text("4")


def test_a_pen_that_is_pressed_harder_draws_a_wider_stroke(tab: Tab) -> None:
    box = tab.page.locator("#paper").bounding_box()
    assert box is not None
    pen = tab.page.context.new_cdp_session(tab.page)
    ink = []
    for force in (0.1, 0.9):
        for kind, y in (("mousePressed", 60), ("mouseMoved", 200), ("mouseReleased", 200)):
            event = {"type": kind, "x": box["x"] + 140, "y": box["y"] + y, "button": "left"}
            extra = {"buttons": 1, "clickCount": 1, "pointerType": "pen", "force": force}
            pen.send("Input.dispatchMouseEvent", {**event, **extra})
        ink.append(tab.page.locator("#paper canvas").evaluate(COUNT_INK))
        tab.page.get_by_role("button", name="Clear").click()
    assert ink[1] > 1.5 * ink[0]


def test_drawings_are_undone_redone_and_cleared(tab: Tab) -> None:
    undo, redo, clear = (
        tab.page.get_by_role("button", name=name, exact=True) for name in ("Undo", "Redo", "Clear")
    )
    tab.page.reload()
    for button in (undo, redo, clear):
        expect(button).to_be_disabled()
    write(tab, DIGITS[7])
    expect(verdict(tab)).to_have_text("7")
    tab.page.get_by_role("button", name="Write a 2").click()
    expect(verdict(tab)).to_have_text("2")
    undo.click()
    expect(verdict(tab)).to_have_text("7")
    tab.page.keyboard.press("Control+z")
    expect(verdict(tab)).to_be_hidden()
    expect(undo).to_be_disabled()
    redo.click()
    expect(verdict(tab)).to_have_text("7")
    tab.page.keyboard.press("Control+Shift+z")
    expect(verdict(tab)).to_have_text("2")
    expect(redo).to_be_disabled()
    tab.page.locator("#paper").press("Delete")
    expect(tab.page.get_by_text("Draw here")).to_be_visible()
    undo.click()
    expect(verdict(tab)).to_have_text("2")


def test_image_files_are_chosen_dropped_and_pasted(tab: Tab) -> None:
    chooser = tab.page.get_by_label("Image…")
    chooser.set_input_files(as_file(png(sample(3))))
    expect(verdict(tab)).to_have_text("3")
    give = """([event, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "digit.png", {type: "image/png"}));
        const options = {bubbles: true, cancelable: true};
        document.body.dispatchEvent(event === "drop"
            ? new DragEvent("drop", {...options, dataTransfer: data})
            : new ClipboardEvent("paste", {...options, clipboardData: data}));
    }"""
    for event, digit in (("drop", 8), ("paste", 6)):
        tab.page.evaluate(give, [event, list(png(sample(digit)))])
        expect(verdict(tab)).to_have_text(str(digit))
    chooser.set_input_files(as_file(b"no image", "notes.png"))
    expect(tab.page.get_by_role("alert")).to_have_text(re.compile("notes.png is not an image"))
    expect(verdict(tab)).to_have_text("6")
    chooser.set_input_files(as_file(png(np.full((40, 40), 255, np.uint8))))
    expect(tab.page.locator(".verdict")).to_contain_text("No digit")


def test_a_large_photo_is_made_smaller_before_it_is_sent(tab: Tab) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((1200, 1800), 200, np.uint8)).save(file, "BMP")
    assert len(file.getvalue()) > MAX_BODY
    tab.page.route("**/api/predict*", lambda route: route.fulfill(body='{"results": []}'))
    with tab.page.expect_request("**/api/predict*") as sent:
        tab.page.get_by_label("Image…").set_input_files(as_file(file.getvalue(), "photo.bmp"))
    body = sent.value.post_data_buffer
    assert body is not None
    assert len(body) < MAX_BODY
    assert Image.open(io.BytesIO(body)).size == (1600, 1067)
    tab.page.unroute("**/api/predict*")


def test_a_unit_shows_its_receptive_field_and_its_arithmetic(tab: Tab, trained: Served) -> None:
    image = sample(5)
    tab.page.get_by_label("Image…").set_input_files(as_file(png(image)))
    expect(verdict(tab)).to_have_text("5")
    canvas = tab.page.locator(".result canvas")
    read = "c => Array.from(c.getContext('2d').getImageData(0, 0, 28, 28).data)"
    seen = np.array(canvas.evaluate(read)).reshape(28, 28, 4)[..., 0].astype(np.uint8)
    outputs = trained.model.feature_maps(seen[None])
    mean, std = (values[0] for values in trained.model.normalization)
    weights = trained.model.state_dict()

    maps(tab, "conv1").focus()
    for key in ("Enter", "PageDown", "ArrowUp", "ArrowLeft"):
        tab.page.keyboard.press(key)  # unit (1, 13, 13), of the window [11:16, 11:16]
    panel = tab.page.get_by_role("region", name="Arithmetic")
    expect(panel.get_by_role("heading")).to_have_text("conv1: map 2, row 14, column 14")
    window = (seen[11:16, 11:16] / 255 - mean) / std
    kernel = weights["conv1.weight"][1, 0]
    for caption, expected in (
        ("Window", window),
        ("Weights", kernel),
        ("Products", window * kernel),
    ):
        shown = numbers(panel.get_by_role("table", name=caption))
        assert np.allclose(shown, expected.ravel(), atol=0.0051), caption
    equation = panel.locator(".equation")
    expect(equation.locator("strong")).to_have_text(
        f"{outputs['conv1'][0, 1, 13, 13]:.2f}".replace("-", MINUS)
    )
    field = tab.page.locator(".result .field")
    assert np.allclose(place(field), [11 / 28, 11 / 28, 5 / 28, 5 / 28], atol=1e-3)
    tab.page.keyboard.press("Escape")
    expect(panel).to_have_count(0)
    expect(field).to_be_hidden()


def place(overlay: Locator) -> Any:
    """Top, left, height and width of an outline, as shares of the image."""
    script = "e => ['top', 'left', 'height', 'width'].map(side => parseFloat(e.style[side]) / 100)"
    return np.array(overlay.evaluate(script))


def test_units_of_every_layer_have_an_explanation(tab: Tab, trained: Served) -> None:
    tab.page.get_by_role("button", name="Write a 5").click()
    expect(verdict(tab)).to_have_text("5")
    panel = tab.page.get_by_role("region", name="Arithmetic")
    for name in trained.model.layers:
        maps(tab, name).focus()
        tab.page.keyboard.press("Enter")
        expect(panel.get_by_role("heading")).to_have_text(re.compile(f"^{name}:"))
        expect(panel.locator(".equation strong")).to_have_text(re.compile("[0-9]"))
    expect(panel.get_by_role("heading")).to_have_text("fc3: number 1, the score of “0”")
    panel.get_by_role("button", name="Unit to the right").click()
    expect(panel.get_by_role("heading")).to_have_text("fc3: number 2, the score of “1”")
    panel.get_by_role("button", name="Close").click()
    expect(panel).to_have_count(0)


def test_a_finger_draws_and_chooses_units_on_a_phone(chromium: Browser, url: str) -> None:
    with visit(chromium, url, width=390, height=844, touch=True) as tab:
        box = tab.page.locator("#paper").bounding_box()
        assert box is not None
        touch = tab.page.context.new_cdp_session(tab.page)
        scale = box["width"] / 100
        points = [{"x": box["x"] + x * scale, "y": box["y"] + y * scale} for x, y in DIGITS[7][0]]
        for kind, point in zip(("touchStart", *3 * ("touchMove",)), points, strict=True):
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        expect(verdict(tab)).to_have_text("7")
        assert tab.page.evaluate("scrollY") == 0, "a finger on the paper does not scroll"
        canvas = maps(tab, "conv2").locator("canvas")
        corner = canvas.bounding_box()
        assert corner is not None
        # What a tap becomes; a slow machine would take a tap of the driver for a long press.
        canvas.dispatch_event("click", {"clientX": corner["x"] + 30, "clientY": corner["y"] + 30})
        panel = tab.page.get_by_role("region", name="Arithmetic")
        expect(panel.get_by_role("heading")).to_have_text(re.compile("^conv2: map 1,"))
        expect(panel.get_by_role("table")).to_have_count(3)
        assert not tab.is_too_wide()
        # Without the wish for less motion, the page takes its time to write.
        tab.page.get_by_role("button", name="Write a 3").click()
        expect(verdict(tab)).to_have_text("3")
        assert tab.complaints() == []


def test_two_networks_side_by_side(chromium: Browser, url: str) -> None:
    with visit(chromium, url, reduced_motion="reduce") as tab:
        compare_networks(tab)
        assert tab.complaints() == []


def compare_networks(tab: Tab) -> None:
    tab.page.get_by_role("button", name="Write a 4").click()
    expect(verdict(tab)).to_have_text("4")
    tab.page.get_by_role("checkbox", name="untrained").check()
    expect(networks(tab)).to_have_count(2)
    expect(tab.page.locator(".verdict")).to_have_count(2)
    expect(tab.page.locator(".verdict b").nth(1)).not_to_be_empty()
    left, right = (networks(tab).nth(index).bounding_box() for index in (0, 1))
    assert left is not None
    assert right is not None
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] < right["x"]
    shares = [networks(tab).nth(index).locator(".share").all_inner_texts() for index in (0, 1)]
    assert shares[0] != shares[1]
    tab.page.get_by_role("checkbox", name="trained", exact=True).uncheck()
    expect(networks(tab)).to_have_count(1)
    tab.page.get_by_role("checkbox", name="untrained").click()
    expect(networks(tab), "one is always shown").to_have_count(1)
    tab.page.reload()
    expect(networks(tab).get_by_role("heading", level=2)).to_have_text("untrained")


def test_errors_are_shown_in_words_until_the_server_answers_again(tab: Tab) -> None:
    alert = tab.page.get_by_role("alert")
    answers: list[tuple[int | None, str]] = [
        (503, "The server is busy. Trying again …"),
        (None, "The server does not answer. Is gpucnn serve still running? Trying again …"),
    ]
    for status, text in answers:
        tab.page.route("**/api/predict*", refusing(status, "too many requests"))
        tab.page.get_by_role("button", name="Write a 3").click()
        expect(alert).to_have_text(text)
        tab.page.get_by_role("button", name="Write a 0").click()
        tab.page.unroute("**/api/predict*")
        expect(verdict(tab)).to_have_text("0")
        expect(alert).to_be_hidden()
    tab.page.route("**/api/predict*", refusing(413, "the body is longer than 9 bytes"))
    tab.page.get_by_role("button", name="Write a 2").click()
    expect(alert).to_have_text("The server refused this: the body is longer than 9 bytes")
    tab.page.unroute("**/api/predict*")
    tab.page.get_by_role("button", name="Write a 8").click()
    expect(verdict(tab)).to_have_text("8")
    expect(alert).to_be_hidden()
    tab.page.route("**/api/models", refusing(None, ""))
    tab.page.reload()
    expect(alert).to_have_text(re.compile("The server does not answer"))
    tab.page.unroute("**/api/models")
    expect(networks(tab)).to_have_count(1)
    expect(alert).to_be_hidden()
    # Nothing but what the browser prints for each of these answers.
    assert all("Failed to load resource" in line for line in tab.complaints())
    tab.printed.clear()


def refusing(status: int | None, reason: str) -> Any:
    """A handler that refuses requests with a status, or breaks the connection."""

    def handle(route: Route) -> None:
        if status is None:
            route.abort("connectionrefused")
        else:
            body, headers = json.dumps({"error": reason}), {"Retry-After": "1"}
            route.fulfill(status=status, body=body, headers=headers, content_type="text/plain")

    return handle


def test_one_request_at_a_time_and_the_latest_drawing_wins(tab: Tab) -> None:
    held: list[Route] = []
    tab.page.route(
        "**/api/predict*", lambda route: route.continue_() if held else held.append(route)
    )
    for digit in (1, 2, 3, 4, 5):
        tab.page.get_by_role("button", name=f"Write a {digit}").click()
    expect(tab.page.get_by_role("main")).to_have_attribute("aria-busy", "true")
    held[0].continue_()
    expect(verdict(tab)).to_have_text("5")
    tab.page.unroute("**/api/predict*")
    sent = [address for address in tab.requests if "/api/predict" in address]
    assert len(sent) == 2, "the drawings between the first and the last are left out"


def test_contrast_and_labels_are_good_in_light_and_dark_at_both_widths(tab: Tab) -> None:
    tab.page.get_by_role("button", name="Write a 6").click()
    expect(verdict(tab)).to_have_text("6")
    maps(tab, "conv1").focus()
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator(".unit h5")).to_have_text(re.compile("^conv1:"))
    for width in (390, 1280):
        tab.page.set_viewport_size({"width": width, "height": 900})
        assert not tab.is_too_wide()
        for scheme in ("dark", "light"):
            tab.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            assert tab.violations() == [], (width, scheme)
