"""The tuning table of tiles: which tables are refused, and what is chosen from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from available import BACKENDS, backend_or_skip, cases_for

from gpucnn.backends.cuda import tiles
from gpucnn.backends.cuda.sources import kernel_folder, signatures
from gpucnn.backends.cuda.tiles import PRODUCTS, Tile, Tiles, Untiled, dump, load
from gpucnn.errors import SettingError
from gpucnn.machine.doctor import examine
from gpucnn.testing.case import (
    Case,
    backward,
    forward,
    reference,
    saved_arguments,
    to_backend,
    to_numpy,
)
from gpucnn.testing.cases import CONVOLUTIONS, LINEAR, TRANSPOSED_CONVOLUTIONS
from gpucnn.testing.comparison import assert_close

Table = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def kernels() -> set[str]:
    return set(signatures(kernel_folder()))


@pytest.fixture(scope="module")
def table(kernels: set[str]) -> Tiles:
    return load(kernels)


def written() -> Table:
    plain: Table = json.loads(tiles.FILE.read_text())
    return plain


def test_the_file_is_as_the_tuner_writes_it() -> None:
    assert dump(written()) == tiles.FILE.read_text()


def test_every_shape_has_one_tile(table: Tiles) -> None:
    ends = [1, 2, 15, 16, 31, 32, 33, 63, 64, 65, 127, 128, 129, 511, 512, 2047, 2048, 10**6, 10**9]
    for product in PRODUCTS:
        for precision in ("ieee", "tf32"):
            for rows in ends:
                for columns in ends:
                    tile = table.choose(product, rows, columns, precision=precision)
                    assert isinstance(tile, Tile)
                    assert tile.kernel.startswith(product)


def test_tiles_are_chosen_by_shape(table: Tiles) -> None:
    def chosen(product: str, rows: int, columns: int, groups: int = 1, **how: Any) -> str | Untiled:
        tile = table.choose(product, rows, columns, groups, **how)
        return tile if isinstance(tile, Untiled) else tile.kernel.removeprefix(product + "_")

    assert chosen("conv2d_forward", 64, 32 * 56 * 56) == "64x128"
    assert chosen("conv2d_forward", 256, 32 * 14 * 14) == "64x64"  # as there would be few blocks
    assert chosen("conv2d_forward", 64, 14 * 14) == "16x64"
    assert chosen("conv2d_forward", 64, 14 * 14 * 256, 4) == chosen(
        "conv2d_forward", 64, 14 * 14 * 1024
    )
    assert chosen("conv2d_forward", 16, 10**6) == "16x128"  # a quarter full
    assert chosen("conv2d_forward", 16, 64 * 10 * 10) == "16x64"  # as there would be few blocks
    assert chosen("conv2d_forward", 1, 10**6, 32) is Untiled.FEW_ROWS  # depthwise
    assert chosen("conv2d_forward", 3, 10**6, 2) is Untiled.FEW_ROWS
    assert chosen("conv2d_forward", 1, 10**6) == "8x128"
    assert chosen("conv2d_forward", 4, 10**6, 32) == "8x128"
    assert chosen("conv2d_backward_weight", 64, 577) == "64x128"
    assert chosen("conv2d_forward", 64, 10**6, precision="tf32") == "tf32_64x128"
    assert chosen("conv2d_forward", 6, 10**6, precision="tf32") == "8x128"  # mostly empty
    assert chosen("linear_forward", 64, 120, precision="tf32") == "16x32"
    assert chosen("linear_forward", 512, 800) == "32x32"


def test_a_variant_overrules_the_table(table: Tiles) -> None:
    def chosen(variant: tiles.Variant, precision: str = "ieee", rows: int = 6) -> str | Untiled:
        tile = table.choose("conv2d_forward", rows, 50, 2, variant, precision)
        return tile if isinstance(tile, Untiled) else tile.name

    assert chosen("naive") is chosen("naive", rows=1) is Untiled.NAIVE
    assert chosen({"conv2d_forward": "naive"}) is Untiled.NAIVE
    assert chosen("small", rows=1) == "8x128"
    assert [chosen(name) for name in ("small", "64x64", "large")] == ["8x128", "64x64", "64x128"]
    assert chosen({"conv2d_forward": "large"}) == "64x128"
    assert chosen({"linear_forward": "large"}) == "16x64"
    assert chosen("small", "tf32") == "64x64"
    assert chosen({"conv2d_forward_tf32": "ieee"}, "tf32") == "8x128"
    with pytest.raises(
        SettingError, match=r"^unknown tile of conv2d_forward '65x64': did you mean"
    ):
        chosen("65x64")


def test_many_shapes_do_not_change_the_choice(
    kernels: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chosen tiles are cached, and the cache is limited."""
    monkeypatch.setattr(tiles, "CACHE_SIZE", 3)
    table = load(kernels)
    shapes = [(16, 100), (64, 10**6), (16, 101), (16, 102), (64, 10**5)]
    first = [table.choose("conv2d_forward", *shape) for shape in shapes]
    assert len(table._cache) <= 3
    assert [table.choose("conv2d_forward", *shape) for shape in shapes] == first
    assert first[0] != first[1]


def test_groups_and_precision_are_part_of_the_cached_shape(kernels: set[str]) -> None:
    table = load(kernels)
    found = []
    for groups in (1, 1024):
        for precision in ("ieee", "tf32"):
            tile = table.choose("conv2d_forward", 64, 14 * 14, groups, precision=precision)
            assert isinstance(tile, Tile)
            found.append(tile.kernel.removeprefix("conv2d_forward_"))
    assert found == ["16x64", "16x64", "64x128", "tf32_64x128"]


def change(product: str, index: int, **values: Any) -> Callable[[Table], None]:
    return lambda table: table[product][index].update(values)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            change("conv2d_forward", 0, tile="48x48"),
            r"^conv2d_forward: no kernel has tile '48x48'; choose one of 8x128",
        ),
        (change("conv2d_forward", 0, tile="ieee"), "no kernel has tile 'ieee'"),
        (change("linear_forward", 0, rows=[1, 31]), "^linear_forward: no entry for 32 rows and 1 "),
        (change("linear_forward", 0, rows=[2, 32]), "^linear_forward: no entry for 1 rows and 1 "),
        (change("linear_forward", 0, rows=[1, 1024]), "2 entries for 1024 rows and 1 col"),
        (
            change("conv2d_forward", 6, columns=[16384, 10**9]),
            "no entry for 33 rows and 1000000001",
        ),
        (change("conv2d_forward", 5, columns=[2049, 16383]), "no entry for 33 rows and 2048 col"),
        (
            change("conv2d_forward", 0, rows=[1, 32.0]),
            r"rows must be \[first, last\] .*32\.0",
        ),
        (change("conv2d_forward", 0, rows=[0, 32]), r"got \[0, 32\]"),
        (change("conv2d_forward", 0, rows=[9, 8]), r"got \[9, 8\]"),
        (change("conv2d_forward", 0, rows=5), "got 5"),
        (change("conv2d_forward", 0, k=5), "an entry has rows, columns and tile; got .*'k'"),
        (lambda table: table.pop("linear_forward"), "^tiles: linear_forward is missing$"),
        (lambda table: table.update(conv3d=[]), "^unknown product in the tuning table 'conv3d'"),
        (
            lambda table: table["linear_forward"].append(3),
            "^linear_forward: an entry .*; got 3",
        ),
        (lambda table: table.update(linear_forward=7), "^linear_forward: entries must .* got 7"),
        (lambda table: table["linear_forward"].clear(), "no entry for 1 rows and 1 columns"),
    ],
)
def test_a_wrong_table_is_refused(
    spoil: Callable[[Table], Any], message: str, kernels: set[str]
) -> None:
    plain = written()
    spoil(plain)
    with pytest.raises(SettingError, match=message):
        Tiles(plain, kernels)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"conv2d_forward": 3}', '{"linear_forward": [3]}']
)
def test_a_damaged_file_is_refused(text: str, tmp_path: Path, kernels: set[str]) -> None:
    file = tmp_path / "tiles.json"
    file.write_text(text)
    with pytest.raises(SettingError):
        load(kernels, file)


# --- what the kernels compute -------------------------------------------------------------------

MIDDLE = {f"conv2d_{direction}": "64x64" for direction in ("forward", "backward_input")}
NARROW = {f"conv2d_{direction}": "16x128" for direction in ("forward", "backward_input")}
VARIANTS: dict[str, tiles.Variant] = {
    **{name: name for name in ("naive", "small", "large")},
    "narrow": NARROW | dict.fromkeys((name for name in PRODUCTS if "linear" in name), "32x32"),
    "middle": {**MIDDLE, "conv2d_backward_weight": "64x64"},
}


@pytest.mark.parametrize(
    ("case", "name"),
    [
        (case, name)
        for name in BACKENDS
        if name != "numpy"
        for case in cases_for(name, [*CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS, *LINEAR])
    ],
    ids=str,
)
@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(case: Case, variant: str, name: str) -> None:
    """Each way to compute a product on every shape, whichever would be chosen."""
    backend: Any = backend_or_skip(name)
    backend.variant = VARIANTS[variant]
    known = reference(case)
    found = [(forward(backend, case, to_backend(backend, case.arrays())), known.results)]
    if case.has_backward:
        found.append((backward(backend, case, saved_arguments(backend, case)), known.grads))
    for actual, wanted in found:
        for result, value in to_numpy(backend, actual).items():
            assert_close(value, wanted[result], terms=case.terms, what=result)


def test_kernels_without_tiles(launched: list[str]) -> None:
    """A block for each element of a weight's gradient in depthwise convolutions, unless naive."""
    backend: Any = backend_or_skip("emulated")
    x, weight = backend.asarray(np.ones((2, 3, 4, 4))), backend.asarray(np.ones((3, 1, 3, 3)))
    grad = backend.asarray(np.ones((2, 3, 2, 2)))
    found = []
    for variant in ("auto", {"conv2d_backward_weight": "naive"}, "naive"):
        launched.clear()
        backend.variant = variant
        backend.conv2d_backward(grad, x, weight, groups=3, input_grad=False)
        found.append(launched[0].removeprefix("conv2d_backward_weight_"))
    assert found == ["block", "naive", "naive"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_lies_beyond_the_last_k_does_not_spread(variant: str) -> None:
    """An infinite weight makes infinite outputs, and not NaN: zero times it is never added."""
    backend: Any = backend_or_skip("emulated")
    backend.variant = VARIANTS[variant]
    x, weight = np.ones((2, 3, 4, 3), np.float32), np.ones((5, 3, 1, 1), np.float32)
    weight[1, 0] = np.inf
    x, weight = backend.asarray(x), backend.asarray(weight)
    output = backend.to_numpy(backend.conv2d(x, weight))
    np.testing.assert_array_equal(output[:, 1], np.inf)
    np.testing.assert_array_equal(output[:, [0, 2, 3, 4]], 3)
    grad = backend.to_numpy(backend.conv2d_backward(backend.asarray(output), x, weight)[1])
    np.testing.assert_array_equal(grad[1], np.inf)
    np.testing.assert_array_equal(grad[[0, 2, 3, 4]], 2 * 4 * 3 * 3)


def test_doctor_looks_at_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [(one.name, one.state) for one in examine() if one.name == "kernels"] == [
        ("kernels", "ok")
    ]
    monkeypatch.setattr(tiles, "load", lambda kernels: Tiles({}, kernels))
    (found,) = [one for one in examine() if one.name == "kernels"]
    assert (found.state, found.found) == ("bad", "tiles: conv2d_forward is missing")
