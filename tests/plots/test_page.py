"""The page that a report is: its parts, its size, and that nothing in it can act."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import small_data, small_model

import gpucnn
from gpucnn import Augmentation, Settings, plots
from gpucnn.data import Data, Split
from gpucnn.errors import SettingError
from gpucnn.plots.page import render
from gpucnn.plots.page.document import Figure, Section, Table, Text
from gpucnn.plots.page.making import make_page, write_report
from gpucnn.plots.page.settings import call_text
from gpucnn.plots.page.subject import Subject
from gpucnn.training.records.folder import read_record
from gpucnn.training.times import LayerTime, LayerTimes, PassTime, layer_times

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "</style></svg><script>alert(3)</script>",
    "{{ 7 * 7 }}",
)


class Elements(HTMLParser):
    """The elements of a page: names with attributes, and the text of some."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def names(self) -> set[str]:
        return {name for name, _ in self.found}

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == name]


@pytest.fixture(scope="module")
def trained() -> tuple[gpucnn.Sequential, Data, gpucnn.History]:
    data = small_data()
    data = Data(data.train, data.test, HOSTILE, name="<b>blobs</b>")
    model = small_model()
    return model, data, gpucnn.fit(model, data, epochs=2, batch_size=16)


@pytest.fixture(scope="module", autouse=True)
def _times() -> Iterator[None]:
    """Times of layers that take no time to measure and are always the same."""

    def times(model: gpucnn.Sequential, batch_size: int, rounds: int) -> LayerTimes:
        one = PassTime(2e-6 * batch_size, 0.1, 1, 1, 0.5, "memory")
        rows = model.summary().rows
        layers = [LayerTime(r.name, r.type, r.output_shape, r.parameters, one, one) for r in rows]
        return LayerTimes(
            *("numpy", "<i>processor", "float32", "ieee", batch_size, 1e9, 1e9, 1e-3, False),
            tuple(layers),
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gpucnn.plots.page.subject.layer_times", times)
        yield


@pytest.fixture(scope="module")
def page(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    return plots.report(*trained, out=folder / "page.html").read_text(encoding="utf-8")


def test_a_page_has_all_sections(page: str) -> None:
    headings = re.findall(r"<h2 id=[^>]+>([^<]+)</h2>", page)
    assert headings == [
        "Settings and versions",
        "Training",
        "Test images",
        "Misread images",
        "Calibration",
        "Layers",
        "Filters",
        "Feature maps",
        "Receptive fields",
    ]
    for text in ("SGD(lr=0.05, momentum=0.9)", f"gpucnn {gpucnn.__version__}", "precision", "conv"):
        assert text in page
    assert len(page.encode()) < 300_000


def test_the_table_of_layers_has_times(page: str) -> None:
    rows = re.findall(r'<tr><th scope="row">([^<]+)</th>.*?([\d.]+)</td></tr>', page)
    assert ("conv", "2.0") in rows
    assert ("total", "12.0") in rows
    assert "one image in a batch of 64, in microseconds, on &lt;i&gt;processor (numpy" in page


def test_without_times_the_table_has_no_column_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpucnn.plots.page.subject.layer_times", layer_times)
    model = small_model().to(gpucnn.get_backend("emulated"))
    text = plots.report(model, out=tmp_path / "a.html").read_text("utf-8")
    assert "multiply-adds</th>" in text
    assert "forward" not in text


def test_names_from_anybody_are_text_and_nothing_is_loaded(page: str) -> None:
    elements = Elements(page)
    assert not {"script", "img", "iframe", "object", "embed", "form"} & elements.names()
    for name, attributes in elements.found:
        assert not [key for key in attributes if key.startswith("on")], name
        for key in ("src", "href", "xlink:href"):
            value = attributes.get(key)
            assert value is None or value.startswith(("#", "data:")), (name, value)
    text = "".join(elements.text)
    for name in (*HOSTILE, "<b>blobs</b>"):
        assert name in text
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]+"|http-equiv', "", page)
    (policy,) = [m for m in elements.all("meta") if "http-equiv" in m]
    assert policy["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_tables_and_figures_are_labelled(page: str) -> None:
    elements = Elements(page)
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    for attributes in elements.all("svg"):
        assert attributes["role"] == "img"
        assert attributes["aria-label"]
    assert {attributes.get("scope") for attributes in elements.all("th")} == {"col", "row"}
    labelled = [a["aria-labelledby"] for _, a in elements.found if "aria-labelledby" in a]
    assert set(labelled) <= set(ids)
    assert len(labelled) > 8


def test_a_network_alone_has_its_layers(tmp_path: Path) -> None:
    text = plots.report(small_model(), out=tmp_path / "a.html", title="mine").read_text("utf-8")
    assert "<h1>mine</h1>" in text
    assert "Layers" in text
    assert "Misread" not in text
    assert "Training</h2>" not in text


def test_without_mistakes_there_is_a_sentence(trained: Any, tmp_path: Path) -> None:
    model, data, _ = trained
    labels = model.predict(data.test.images).argmax(1).astype(np.int64)
    test = Split(data.test.images, labels)
    write_report(
        [Subject("a", None, test, gpucnn.evaluate(model, test))], tmp_path / "a.html", None
    )
    assert "All test images were read correctly." in (tmp_path / "a.html").read_text("utf-8")


def test_figures_that_would_make_the_page_too_large_are_left_out(
    trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data, history = trained
    evaluation = gpucnn.evaluate(model, data.test)
    made = make_page([Subject("a", model, data.test, evaluation, history)])
    # The drawings are the same for each limit, and take most of the time.
    draw, drawn = render.to_svg, dict[str, str]()

    def draw_once(plot: plots.Plot, alt: str, heading: bool, key: str) -> str:
        if key not in drawn:
            drawn[key] = draw(plot, alt, heading=heading, key=key)
        return drawn[key]

    monkeypatch.setattr(render, "to_svg", draw_once)
    page = render.render(made)
    for limit in (len(page), len(page) - 1, len(page) // 2):
        monkeypatch.setattr(render, "MAX_BYTES", limit)
        small = render.render(made)
        assert len(small) <= limit
        left_out = small.count(b"A figure is left out")
        assert left_out == page.count(b"<figure>") - small.count(b"<figure>")
        assert (left_out == 0) == (small == page) == (limit == len(page))


def test_runs_on_different_images_are_compared_with_a_note(trained: Any, tmp_path: Path) -> None:
    _, data, _ = trained
    first = Subject("first", test=data.test)
    for other, noted in ((data.test, 0), (data.test.limit(20), 1)):
        write_report([first, Subject("second", test=other)], tmp_path / "both.html", None)
        text = (tmp_path / "both.html").read_text("utf-8")
        assert text.count("evaluated on different test images") == noted
    assert "<h1>2 runs</h1>" in text
    assert "first and second." in text


def test_what_differs_between_runs_is_marked(tmp_path: Path) -> None:
    subjects = [Subject(f"run {seed}", settings={"epochs": 5, "seed": seed}) for seed in (0, 2)]
    write_report(subjects, tmp_path / "a.html", None)
    text = (tmp_path / "a.html").read_text("utf-8")
    assert re.findall(r'<tr class="marked"><th scope="row">([^<]+)', text) == ["seed"]
    assert '<th scope="row">seed</th><td>0</td><td>2</td>' in text


def test_every_setting_has_a_row_and_those_without_effect_have_none(tmp_path: Path) -> None:
    settings = Settings(
        validation=7, early_stopping=3, keep_best=True, clip_grad_norm=1.5, ema=0.99, mixup=0.2,
        augment=Augmentation(shift=2), seed=0,
    )  # fmt: skip
    values = []
    for chosen in (settings, Settings()):
        write_report([Subject("a", settings=chosen.as_dict())], tmp_path / "a.html", None)
        text = (tmp_path / "a.html").read_text("utf-8")
        values.append(dict(re.findall(r'<th scope="row">([^<]+)</th><td>([^<]+)', text)))
    found, default = values
    added = {"held out for validation": "7", "early stopping after epochs": "3"}
    added |= {"keeps the best epoch": "yes", "largest norm of the gradients": "1.5"}
    added |= {"decay of the average of the weights": "0.99", "alpha of mixup": "0.2"}
    added |= {"augment": "Augmentation(shift=2)"}
    assert found == default | added
    assert len(default) == len(vars(settings)) - len(added)
    assert default["seed"] == "0"


def test_long_and_strange_settings_are_cut(tmp_path: Path) -> None:
    """Nothing in config.json is anything but text."""
    (tmp_path / "config.json").write_text(
        '{"settings": {"optimizer": {"type": ["<i>"], "lr": {"x": 1}}, "seed": "'
        + "9" * 5000
        + '"}}'
    )
    record = read_record(tmp_path)
    subject = Subject("a", settings=record.settings, run=record)
    write_report([subject], tmp_path / "a.html", None)
    text = (tmp_path / "a.html").read_text()
    assert "<i>" not in text
    assert "9" * 300 not in text


def test_descriptions_of_objects() -> None:
    assert call_text({"type": "Adam", "lr": 0.1, "betas": [0.9, 0.99]}) == (
        "Adam(lr=0.1, betas=[0.9, 0.99])"
    )
    assert call_text("text") == "text"


def test_lone_surrogates_do_not_prevent_a_page(tmp_path: Path) -> None:
    weights = plots.filters(small_model())
    parts = [Text("d\udcff"), Figure("filters", weights, "e\udcff", "f\udcff")]
    content = render.render(render.Page("a", "b\udcff", "", [], [], [Section("c", parts)]))
    assert b"<h1>b?</h1>" in content
    assert b"f?" in content


def test_an_empty_table_and_a_note(tmp_path: Path) -> None:
    page = render.Page("a", "b", "", [("x", "1")], ["n"], [Section("c", [Table("t", ["h"], [])])])
    assert b'<p class="note">n</p>' in render.render(page)


@pytest.mark.parametrize("module", ["jinja2", "matplotlib.figure"])
def test_without_the_extra_one_line_names_it(
    module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(vars(plots), "report", raising=False)
    with pytest.raises(SettingError, match=r"needs \w+: pip install 'gpucnn\[report\]'"):
        plots.report(small_model(), out=tmp_path / "a.html")
    assert not list(tmp_path.iterdir())
