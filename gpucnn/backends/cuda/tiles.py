"""Tile sizes of matrix products: the tuning table tiles.json, by the shape of the result.

``python -m bench tune`` measures on a GPU and writes the table. The choice depends on shapes only,
not on the device: it determines how some sums are divided, so that the same shapes give the same
bits on every device.

The table has a list of entries for each product, such as ``{"rows": [33, null], "columns": [1,
511], "tile": "64x64"}``: results with 33 rows or more and up to 511 columns are computed in tiles
of 64 by 64. Columns are counted over all groups, and over all stride classes. At precision
"tf32" the entries of the product with the suffix "_tf32" apply; its tile "ieee" refers to the entry
of the product without the suffix. Entries cover every shape exactly once.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
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
MIN_GROUP_ROWS = 4
"""With fewer rows in each of several groups, as in depthwise convolutions, most of any tile would
be empty."""
CACHE_SIZE = 1024
"""Shapes whose tiles are kept at most."""

Variant = str | Mapping[str, str]
"""How to choose: "auto", "naive", "small", "large", or a tile for each product ("auto" for products
that are not in the mapping)."""


@dataclass(frozen=True)
class Tile:
    """A kernel, and the rows and columns of the result that one of its blocks computes."""

    kernel: str
    rows: int
    columns: int

    @property
    def name(self) -> str:
        """The tile's name in the table."""
        return f"{self.rows}x{self.columns}"


class Untiled(Enum):
    """Why a product is computed without tiles, each element of the result by itself."""

    NAIVE = "the variant is naive"
    FEW_ROWS = "the groups have fewer than MIN_GROUP_ROWS rows"


@dataclass(frozen=True)
class Entry:
    """Ranges of rows and columns, both ends included, and the name of the tile for them."""

    rows: tuple[int, float]
    columns: tuple[int, float]
    tile: str

    def covers(self, rows: int, columns: int) -> bool:
        """Return whether the entry applies to results of this shape."""
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
    """The tuning table, validated against the kernels.

    Raises SettingError for an unknown or missing product, a tile without a kernel, an invalid
    range, and shapes with no entry or several.
    """

    def __init__(self, table: Mapping[str, Any], kernels: Collection[str]) -> None:
        wanted = [product + kind for product in PRODUCTS for kind in ("", "_tf32")]
        if not isinstance(table, dict):
            raise SettingError(f"tiles: the table must be an object; got {table!r}")
        for product in table:
            if product not in wanted:
                raise unknown("product in the tuning table", product, wanted)
        self.tiles = {product: tiles_of(product, kernels) for product in wanted}
        self.entries: dict[str, list[Entry]] = {}
        for product in wanted:
            if product not in table:
                raise SettingError(f"tiles: {product} is missing")
            if not isinstance(table[product], list):
                raise SettingError(f"{product}: entries must be a list; got {table[product]!r}")
            names = [tile.name for tile in self.tiles[product]]
            names += [IEEE] if product.endswith("_tf32") else []
            self.entries[product] = [_entry(product, given, names) for given in table[product]]
            _check_cover(product, self.entries[product])
        self._cache: dict[tuple[str, str, int, int], Tile] = {}

    def choose(
        self,
        product: str,
        rows: int,
        columns: int,
        groups: int = 1,
        variant: Variant = "auto",
        precision: str = IEEE,
    ) -> Tile | Untiled:
        """Return the tile for a product of ``rows`` by ``columns`` in each group, or why none.

        "small" and "large" are the product's smallest and largest tile.
        """
        if variant != "auto":
            name = product if precision == IEEE else f"{product}_{precision}"
            chosen = variant if isinstance(variant, str) else variant.get(name, "auto")
            if chosen != "auto":
                return Untiled.NAIVE if chosen == "naive" else self._named(name, chosen)
        if groups > 1 and rows < MIN_GROUP_ROWS:
            return Untiled.FEW_ROWS
        key = (product, precision, rows, columns * groups)
        tile = self._cache.get(key)
        if tile is None:
            name = product if precision == IEEE else f"{product}_{precision}"
            tile = self._covering(name, rows, columns * groups)
            if len(self._cache) >= CACHE_SIZE:
                self._cache.clear()
            self._cache[key] = tile
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
    """Return the table of a file; raise SettingError if it is invalid."""
    try:
        return Tiles(json.loads(file.read_text(encoding="utf-8")), kernels)
    except (ValueError, TypeError, RecursionError, OSError) as error:
        raise SettingError(f"{file.name}: {error}") from None


def dump(table: Mapping[str, list[dict[str, Any]]]) -> str:
    """Return a table as the text of tiles.json, with one entry per line."""
    products = []
    for product, entries in table.items():
        lines = ",\n    ".join(json.dumps(entry) for entry in entries)
        products.append(f'  "{product}": [\n    {lines}\n  ]')
    return "{\n" + ",\n".join(products) + "\n}\n"


def _entry(product: str, given: Mapping[str, Any], names: Collection[str]) -> Entry:
    if not isinstance(given, dict) or set(given) != {"rows", "columns", "tile"}:
        raise SettingError(f"{product}: an entry has rows, columns and tile; got {given!r}")
    if given["tile"] not in names:
        raise SettingError(
            f"{product}: no kernel has tile {given['tile']!r}; choose one of {', '.join(names)}"
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
            f"{product}: {name} must be [first, last] with 1 <= first <= last, or last null for "
            f"no limit; got {given}"
        )
    return first, last


def _check_cover(product: str, entries: list[Entry]) -> None:
    """Raise SettingError for gaps and overlaps; each begins where some range begins or ends."""
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
    """Yield the first number of each range, and the number after its last."""
    for first, last in ranges:
        yield first
        if last < math.inf:
            yield int(last) + 1
