"""Which kernel computes a matrix product: the table of tiles.json, by the shape of its result.

``python -m bench tune`` measures on a GPU and fills the table. The choice follows from shapes
alone, and never from the device at hand: it decides how some sums are divided, so the same shapes
give the same bits on every device.

The table has a list of entries for each product, such as ``{"rows": [33, null], "columns": [1,
511], "tile": "64x64"}``: results of 33 rows or more and up to 511 columns are computed in tiles of
64 by 64. Columns are those of all groups, and of all phases of a stride, together. A product with
"_tf32" behind its name is chosen from first where the precision is TF32; its tile "ieee" stands for
what the plain product has there. Entries cover every shape, and none twice.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import product as pairs
from pathlib import Path
from typing import Any

from gpucnn.errors import SettingError, unknown

FILE = Path(__file__).with_name("tiles.json")
PRODUCTS = tuple(
    f"{op}_{direction}"
    for op in ("conv2d", "linear")
    for direction in ("forward", "backward_input", "backward_weight")
)
IEEE = "ieee"
FEW_ROWS = 4
"""A group of several that has fewer rows, as in depthwise convolutions, would leave most of any
tile empty: no entry is asked, and a thread or block computes each element."""
MOST_KNOWN = 1024

Variant = str | Mapping[str, str]
"""A way to choose: "auto", "naive", "small", "large", or tiles by product ("auto" for others)."""


@dataclass(frozen=True)
class Tile:
    """A kernel, and how many rows and columns of the result a block of it computes."""

    kernel: str
    rows: int
    columns: int

    @property
    def name(self) -> str:
        """The tile as the table writes it."""
        return f"{self.rows}x{self.columns}"


@dataclass(frozen=True)
class Entry:
    """Shapes, from the first to the last of each number, and the name of a tile for them."""

    rows: tuple[int, float]
    columns: tuple[int, float]
    tile: str

    def covers(self, rows: int, columns: int) -> bool:
        """Return whether the entry is for results of this shape."""
        return (
            self.rows[0] <= rows <= self.rows[1] and self.columns[0] <= columns <= self.columns[1]
        )


def tiles_of(product: str, kernels: Collection[str]) -> list[Tile]:
    """Return the tiles that a product has kernels for, the smallest first."""
    found = []
    for kernel in kernels:
        match = re.fullmatch(rf"{product}_(\d+)x(\d+)", kernel)
        if match:
            found.append(Tile(kernel, int(match[1]), int(match[2])))
    return sorted(found, key=lambda tile: (tile.rows * tile.columns, tile.rows))


class Tiles:
    """The table, read from plain data and checked against the kernels that there are.

    SettingError says what is wrong: an unknown product, a tile that has no kernel, a range that is
    none, shapes without an entry or with two.
    """

    def __init__(self, table: Mapping[str, Any], kernels: Collection[str]) -> None:
        wanted = [product + kind for product in PRODUCTS for kind in ("", "_tf32")]
        if not isinstance(table, dict):
            raise SettingError(f"tiles: the table must be an object, not {table!r}")
        for product in table:
            if product not in wanted:
                raise unknown("product in the table of tiles", product, wanted)
        self.tiles = {product: tiles_of(product, kernels) for product in wanted}
        self.entries: dict[str, list[Entry]] = {}
        for product in wanted:
            if product not in table:
                raise SettingError(f"tiles: {product} is missing")
            if not isinstance(table[product], list):
                raise SettingError(f"{product}: its entries must be a list, not {table[product]!r}")
            names = [tile.name for tile in self.tiles[product]]
            names += [IEEE] if product.endswith("_tf32") else []
            self.entries[product] = [_entry(product, given, names) for given in table[product]]
            _check_cover(product, self.entries[product])
        self._known: dict[tuple[str, str, int, int], Tile] = {}

    def choose(
        self,
        product: str,
        rows: int,
        columns: int,
        groups: int = 1,
        variant: Variant = "auto",
        precision: str = IEEE,
    ) -> Tile | None:
        """Return the tile for a product of ``rows`` by ``columns``, once a group.

        None, one thread or block an element, is for FEW_ROWS and the variant "naive". "small" and
        "large" are the product's least and greatest tile.
        """
        if variant != "auto":
            name = product if precision == IEEE else f"{product}_{precision}"
            chosen = variant if isinstance(variant, str) else variant.get(name, "auto")
            if chosen != "auto":
                return None if chosen == "naive" else self._named(name, chosen)
        if groups > 1 and rows < FEW_ROWS:
            return None
        key = (product, precision, rows, columns * groups)
        tile = self._known.get(key)
        if tile is None:
            name = product if precision == IEEE else f"{product}_{precision}"
            tile = self._covering(name, rows, columns * groups)
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[key] = tile
        return tile

    def _named(self, product: str, name: str) -> Tile:
        if name == IEEE:
            product, name = product.removesuffix("_tf32"), "small"
        tiles = self.tiles[product]
        ends = {"small": tiles[0], "large": tiles[-1]}
        known = ends | {tile.name: tile for tile in tiles}
        if name not in known:
            raise unknown(f"tile of {product}", name, known)
        return known[name]

    def _covering(self, product: str, rows: int, columns: int) -> Tile:
        (name,) = (e.tile for e in self.entries[product] if e.covers(rows, columns))
        if name == IEEE:
            return self._covering(product.removesuffix("_tf32"), rows, columns)
        return self._named(product, name)


def load(kernels: Collection[str], file: Path = FILE) -> Tiles:
    """Return the table of a file; SettingError says what is wrong with it."""
    try:
        return Tiles(json.loads(file.read_text(encoding="utf-8")), kernels)
    except (ValueError, TypeError, RecursionError, OSError) as error:
        raise SettingError(f"{file.name}: {error}") from None


def dump(table: Mapping[str, list[dict[str, Any]]]) -> str:
    """Return a table as the text of tiles.json, an entry a line."""
    products = []
    for product, entries in table.items():
        lines = ",\n    ".join(json.dumps(entry) for entry in entries)
        products.append(f'  "{product}": [\n    {lines}\n  ]')
    return "{\n" + ",\n".join(products) + "\n}\n"


def _entry(product: str, given: Mapping[str, Any], names: Collection[str]) -> Entry:
    if not isinstance(given, dict) or set(given) != {"rows", "columns", "tile"}:
        raise SettingError(f"{product}: an entry has rows, columns and a tile: {given!r}")
    if given["tile"] not in names:
        raise SettingError(
            f"{product}: there is no kernel for tile {given['tile']!r}; "
            f"there are {', '.join(names)}"
        )
    rows, columns = (_range(product, name, given[name]) for name in ("rows", "columns"))
    return Entry(rows, columns, given["tile"])


def _range(product: str, name: str, given: Any) -> tuple[int, float]:
    first, last = given if isinstance(given, list) and len(given) == 2 else (0, 0)
    last = math.inf if last is None else last
    if type(first) is not int or not (type(last) is int or last == math.inf):
        first = 0
    if not 1 <= first <= last:
        raise SettingError(
            f"{product}: {name} are [first, last] from 1 on, the last null for no end, not {given}"
        )
    return first, last


def _check_cover(product: str, entries: list[Entry]) -> None:
    """Refuse a gap and an overlap: both show at the beginning of some range."""
    starts = [
        {1, *_boundaries(e.rows for e in entries)},
        {1, *_boundaries(e.columns for e in entries)},
    ]
    for rows, columns in pairs(*map(sorted, starts)):
        found = [entry for entry in entries if entry.covers(rows, columns)]
        if len(found) != 1:
            many = "no entry" if not found else f"{len(found)} entries"
            raise SettingError(f"{product}: {many} for {rows} rows and {columns} columns")


def _boundaries(ranges: Iterator[tuple[int, float]]) -> Iterator[int]:
    """Go through where ranges begin, and where others must behind their ends."""
    for first, last in ranges:
        yield first
        if last < math.inf:
            yield int(last) + 1
