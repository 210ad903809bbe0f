from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest
from plotting import evaluation, history, many_classes

from gpucnn import models, plots
from gpucnn.errors import SettingError


def test_svg_is_an_element_with_text_and_a_label() -> None:
    result = evaluation([1, 0], [[0.9, 0.1], [0.2, 0.8]], ['<a id="x">$', "#1f2328"])
    text = plots.to_svg(plots.confusion_matrix(result), 'the "matrix" & more')
    root = ElementTree.fromstring(text)
    assert root.attrib["aria-label"] == 'the "matrix" & more'
    assert root.attrib["role"] == "img"
    written = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "true class" in written
    assert written.count('<a id="x">$') == written.count("#1f2328") == 2
    assert "<style" not in text
    assert "Matplotlib" not in text


def test_svg_has_the_colours_of_the_page_and_no_background() -> None:
    text = plots.to_svg(plots.curves(history([0.9, 0.4], [0.5, 0.8])))
    variables = set(re.findall(r"var\(--plot-([a-z0-9]+), #[0-9a-f]{6}\)", text))
    assert {"ink", "muted", "grid", "1", "3"} <= variables
    assert variables <= set(re.findall(r"--plot-([a-z0-9]+):", plots.STYLESHEET))
    assert "var(--plot-font, sans-serif)" in text
    assert "DejaVu" not in text
    alone = re.sub(r"var\(--plot-[a-z0-9]+, #[0-9a-f]{6}\)", "", text)
    assert not re.findall("#[0-9a-f]{6}", re.sub(r"#p[0-9a-f]{10}-\w+", "", alone))


def test_svg_is_the_same_each_time_and_shares_no_id_with_others() -> None:
    # Their axes and markers are the same, so Matplotlib gives them the same ids.
    figures = [plots.curves(history([loss], [0.5])) for loss in (0.8, 0.8, 0.801)]
    texts = [plots.to_svg(figure) for figure in figures]
    assert texts[0] == texts[1]
    ids = [set(re.findall(' id="([^"]+)"', text)) for text in texts]
    assert ids[0]
    assert not ids[0] & ids[2]
    for text, own in zip(texts, ids, strict=True):
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) == own


def test_svg_without_its_heading_is_cut_off_below_it() -> None:
    figure = plots.filters(models.lenet5(seed=0))
    whole, cut = (ElementTree.fromstring(plots.to_svg(figure, heading=at)) for at in (True, False))
    heights = [float(root.attrib["height"].removesuffix("pt")) for root in (whole, cut)]
    assert heights[0] - heights[1] == pytest.approx(72 * 0.28)
    assert cut.attrib["viewBox"].split()[1] == f"{heights[0] - heights[1]:g}"
    written = [[element.text for element in root.iter() if element.text] for root in (whole, cut)]
    assert [texts.count("Filters of conv1") for texts in written] == [1, 0]
    assert [texts.count("6 filters of 1x5x5") for texts in written] == [1, 1]
    assert figure.heading is not None
    assert figure.heading[0].get_visible()
    curves = plots.curves(history([0.9], [0.5]))  # its axes have titles, which stay
    assert plots.to_svg(curves) == plots.to_svg(curves, heading=False)
    assert plots.to_svg(figure) == plots.to_svg(figure)


def test_a_figure_that_is_twice_in_a_page_has_other_ids_with_a_key() -> None:
    figure = plots.confusion_matrix(many_classes(3))
    ids = [set(re.findall(' id="([^"]+)"', plots.to_svg(figure, key=key))) for key in ("", "a")]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_png_is_the_same_each_time() -> None:
    first, second = (plots.curves(history([0.9], [0.5])).render("png") for _ in range(2))
    assert first == second


def test_a_notebook_shows_the_image_in_its_size() -> None:
    data, size = plots.curves(history([0.9], [0.5]))._repr_png_()
    assert data.startswith(b"\x89PNG")
    width, height = (int.from_bytes(data[start : start + 4]) for start in (16, 20))
    assert (width, height) == (2 * size["width"], 2 * size["height"])


def test_a_notebook_takes_the_image() -> None:
    shell = pytest.importorskip("IPython.core.formatters")
    data, metadata = shell.DisplayFormatter().format(plots.curves(history([0.9], [0.5])))
    assert data["image/png"].startswith(b"\x89PNG")
    assert metadata["image/png"].keys() == {"width", "height"}


def test_plots_change_no_setting_and_do_not_depend_on_any() -> None:
    expected = plots.to_svg(plots.confusion_matrix(many_classes(3)))
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        before = dict(matplotlib.rcParams)
        assert plots.to_svg(plots.confusion_matrix(many_classes(3))) == expected
        assert dict(matplotlib.rcParams) == before


def test_plots_need_no_pyplot_and_the_package_no_matplotlib() -> None:
    code = (
        "import sys, gpucnn, gpucnn.plots\n"
        "assert 'matplotlib' not in sys.modules\n"
        "gpucnn.plots.curves, gpucnn.plots.misread, gpucnn.plots.to_svg\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_one_line_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None; import gpucnn\n"
        "try: gpucnn.plots.curves\n"
        "except gpucnn.errors.SettingError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "drawing plots needs Matplotlib: pip install 'gpucnn[report]'\n"


def test_all_names_of_the_package_are_there() -> None:
    assert sorted(plots.__all__) == dir(plots)
    assert all(getattr(plots, name) is not None for name in plots.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = plots.nothing


def test_save_all_writes_a_file_for_each_figure(tmp_path: Path) -> None:
    figures = {"curves": plots.curves(history([0.9], [0.5]))}
    paths = plots.save_all(tmp_path / "new" / "folder", figures)
    assert paths == [tmp_path / "new" / "folder" / "curves.png"]
    assert paths[0].read_bytes() == figures["curves"].render("png", dpi=200)
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="cannot write to"):
        plots.save_all(tmp_path / "file", figures)
    (tmp_path / "b" / "curves.png").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        plots.save_all(tmp_path / "b", figures)
