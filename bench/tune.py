"""Tile sizes of matrix products, timed on a GPU: the fastest for each shape (--write)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from bench import gpu
from bench.harness import BenchError, Options, Peer, Report, Results, Row, compare
from bench.sides import timed
from gpucnn.backends import get_backend
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.window import conv_window
from gpucnn.backends.cuda import CudaBackend
from gpucnn.backends.cuda.graphs import MAX_STEPS_PER_GRAPH
from gpucnn.backends.cuda.grids import conv2d_struct
from gpucnn.backends.cuda.tiles import FILE, IEEE, PRODUCTS, Tiles, dump
from gpucnn.errors import BackendError, SettingError

Shape = tuple[int, int]
"""Rows and columns of a product's result, the key of the tuning table."""

Costs = Mapping[str, float]
"""Seconds by tile."""

Columns = list[tuple[list[int | None], str]]
"""Ranges of columns with a tile for each."""

WITHIN = {"ieee": 1e-4, "tf32": 1e-2}
"""The greatest error of a tile over the greatest element, by the precision of the operands."""

KEEP_WITHIN = 1.03
"""A tile at most this much slower than the fastest is kept, for a shorter table."""


@dataclass(frozen=True)
class Layer:
    """A linear layer, or a convolution of ``side`` by ``side`` pixels if ``kernel`` is not 0."""

    batch: int
    inputs: int
    outputs: int
    side: int = 1
    kernel: int = 0
    padding: int = 0

    def __str__(self) -> str:
        channels = f"{self.inputs} -> {self.outputs}, batch {self.batch}"
        if not self.kernel:
            return f"linear {channels}"
        return f"conv2d {self.side}x{self.side} {self.kernel}x{self.kernel} {channels}"

    @property
    def out(self) -> int:
        """Output positions of the window along a side."""
        return self.side + 2 * self.padding - self.kernel + 1 if self.kernel else 1

    def shape(self, product: str) -> Shape:
        """Return the rows and columns of a product's result; a weight has a column for its bias."""
        if product == "linear_forward":
            return self.batch, self.outputs
        if product == "linear_backward_input":
            return self.batch, self.inputs
        if product == "conv2d_forward":
            return self.outputs, self.batch * self.out**2
        if product == "conv2d_backward_input":
            return self.inputs, self.batch * self.side**2
        return self.outputs, self.inputs * max(self.kernel, 1) ** 2 + 1

    def call(self, backend: CudaBackend, product: str) -> tuple[Callable[[], None], list[Array]]:
        """Return the call of a product, and the arrays that it writes."""
        op, _, direction = product.partition("_")
        rng = np.random.default_rng(0)
        kernel = (self.kernel, self.kernel) if self.kernel else ()
        planes = ((self.side,) * 2, (self.out,) * 2) if self.kernel else ((), ())
        x = backend.asarray(rng.standard_normal((self.batch, self.inputs, *planes[0])))
        w = backend.asarray(rng.standard_normal((self.outputs, self.inputs, *kernel)))
        b = backend.asarray(rng.standard_normal(self.outputs))
        y = backend.asarray(rng.standard_normal((self.batch, self.outputs, *planes[1])))
        window = conv_window((self.side, self.side), kernel or (1, 1), 1, self.padding)
        sizes: tuple[Any, ...] = (
            (conv2d_struct(self.batch, self.inputs, self.outputs, 1, window),)
            if self.kernel
            else (self.batch, self.inputs, self.outputs)
        )
        rows, columns = self.shape(product)
        if direction == "forward":
            arguments: tuple[Any, ...] = (x, w, b, y, *sizes, 0)
            written = [y]
        elif direction == "backward_input":
            arguments = (y, w, *((None,) if self.kernel else ()), x, *sizes)
            written = [x]
        else:
            written = [w, b]
            if op == "conv2d":
                return lambda: backend._conv2d_weight(y, x, (w, b), window, 1), written
            arguments = (y, x, w, b, *sizes)
        return lambda: backend._product(product, rows, columns, 1, *arguments), written


LENET = [
    layer
    for batch in (64, 256, 512)
    for layer in (
        Layer(batch, 1, 6, 28, 5, 2),
        Layer(batch, 6, 16, 14, 5),
        Layer(batch, 400, 120),
        Layer(batch, 120, 84),
        Layer(batch, 84, 10),
    )
]
LARGER = [
    Layer(32, 3, 64, 64, 3, 1),
    Layer(32, 64, 64, 56, 3, 1),
    Layer(32, 128, 128, 28, 3, 1),
    Layer(32, 256, 256, 14, 3, 1),
    Layer(32, 512, 512, 7, 3, 1),
    Layer(1, 256, 256, 14, 3, 1),
    Layer(256, 1024, 1024),
    Layer(1024, 4096, 4096),
]
TINY = [Layer(2, 3, 5, 6, 3, 1), Layer(2, 5, 33, 5, 1), Layer(3, 20, 34)]
"""For the emulator, to test this command; its times mean nothing."""


def run(options: Options) -> Report:
    """Return a row for each product of each layer, and the table that results from them.

    BenchError without a GPU. ``options.write`` writes the table to the package.
    """
    if options.tiny and options.write:
        raise BenchError("--write needs a GPU and full sizes: these times mean nothing")
    report = gpu.report("a matrix product by tile", options)
    report.compares_pytorch = False
    where, backends = "emulated" if options.rehearse else "cuda", {}
    try:
        backends["ieee"] = get_backend(where)
        backends["tf32"] = get_backend(where, precision="tf32")
    except BackendError as error:
        raise BenchError(
            f"no GPU to tune for, add --rehearse to try the code without one: {error}"
        ) from None
    except SettingError as error:
        report.notes.append(f"left out: {error}")
    points = time_products(report, backends, options)
    plain = json.loads(FILE.read_text(encoding="utf-8"))
    table = plain | {name: entries(found) for name, found in points.items()}
    kernels = backends[IEEE]._kernels.signatures
    Tiles(table, kernels)  # raises for a table that could not be read back
    changed = {name: table[name] for name in points if table[name] != plain[name]}
    if options.write and changed:
        FILE.write_text(dump(table), encoding="utf-8")
    action = "written to" if options.write else "--write would write this to"
    name = FILE.name  # without the folder: results are published
    report.notes.append(f"{action} {name}:\n{dump(changed)}" if changed else f"{name} is unchanged")
    return report


def time_products(
    report: Report, backends: Mapping[str, Any], options: Options
) -> dict[str, list[tuple[Shape, Costs]]]:
    """Add a row to ``report`` for each product of each layer, and return the times by product.

    Products for which there was not enough time are left out of what is returned.
    """
    points: dict[str, list[tuple[Shape, Costs]]] = {}
    late: set[str] = set()
    for layer in options.size(LENET + LARGER, TINY):
        for product in PRODUCTS:
            if product.startswith("conv2d") != bool(layer.kernel):
                continue
            best: dict[str, str] = {}
            for precision in backends:
                name = product if precision == IEEE else f"{product}_{precision}"
                case = f"{name}, {layer}"
                if not options.selects(case):
                    continue
                if options.out_of_time():
                    late.add(name)
                    continue
                row = compared(case, layer, product, precision, backends, best, options)
                report.rows.append(row)
                options.progress(report)
                costs = {tile: row.median(tile) for tile in row.costs}
                points.setdefault(name, []).append((layer.shape(product), costs))
                best[product] = best.get(product) or min(costs, key=costs.__getitem__)
    if late:
        report.notes.append(f"no time left for a table of {', '.join(sorted(late))}")
    return {name: found for name, found in points.items() if name not in late}


def compared(
    case: str,
    layer: Layer,
    product: str,
    precision: str,
    backends: Mapping[str, Any],
    best: Mapping[str, str],
    options: Options,
) -> Row:
    """Return the times of a product's tiles; ``best`` has the tile of "ieee" for TF32's rows."""
    plain, backend = backends[IEEE], backends[precision]
    name = product if precision == IEEE else f"{product}_{precision}"
    times = options.size(MAX_STEPS_PER_GRAPH, 1)
    peers = [
        peer(tile.name, layer, product, backend, {name: tile.name}, times)
        for tile in backend.tiles.tiles[name]
    ]
    if precision != IEEE:
        tile = best.get(product, "auto")
        peers.append(peer(IEEE, layer, product, plain, {product: tile}, times))
    reference = peer("naive", layer, product, plain, "naive", times).check()
    block, rounds = options.size((0.02, 9), (0.0, 1))
    row = compare(
        case, peers, reference, rounds=options.pick(rounds), block=block,
        tolerance=WITHIN[precision], out_of_time=options.out_of_time,
    )  # fmt: skip
    if not row.costs:
        raise BenchError(f"{case}: every tile is refused: {row.refused}")
    return row


def peer(
    name: str, layer: Layer, product: str, backend: CudaBackend, variant: Any, times: int
) -> Peer:
    """Return a variant of a product as a peer, timed in a graph of ``times`` calls."""
    made: list[Any] = []

    def call() -> tuple[Callable[[], None], list[Array]]:
        if not made:
            made.extend(layer.call(backend, product))
        backend.variant = variant
        return made[0], made[1]

    def check() -> Results:
        compute, written = call()
        for array in written:  # so that old values are not taken for results
            array[...] = np.nan
        compute()
        return {str(index): backend.to_numpy(array) for index, array in enumerate(written)}

    repeats: list[Callable[[int], None]] = []

    def seconds(count: int) -> float:
        compute, _ = call()
        if not repeats:
            repeats.append(backend.capture(compute))
            repeats[0](1 + times)  # compiles and records
        backend.synchronize()
        return timed(lambda: (repeats[0](times), backend.synchronize()))(count)

    def guarded(function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:  # of CUDA and CuPy: this tile is refused, the others are timed
            raise BenchError(f"{type(error).__name__}: {error}") from error

    return Peer(
        name,
        lambda: guarded(check),
        lambda count: guarded(seconds, count) / times,
    )


# --- from times to a table ----------------------------------------------------------------------


def entries(points: list[tuple[Shape, Costs]]) -> list[dict[str, Any]]:
    """Return a product's entries in the table: the fastest tile for each range of shapes.

    Rows are divided into bands around those measured, and columns likewise in each band; ranges
    meet at the geometric mean. Times of equal shapes are added.
    """
    bands: dict[int, dict[int, Costs]] = {}
    for (rows, columns), costs in points:
        previous = bands.setdefault(rows, {}).get(columns, dict.fromkeys(costs, 0.0))
        bands[rows][columns] = {tile: cost + previous[tile] for tile, cost in costs.items()}
    chosen = {rows: _chosen(bands[rows]) for rows in sorted(bands)}
    merged: list[tuple[int, int, Columns]] = []  # first and last rows of equal bands
    for rows, found in chosen.items():
        if merged and merged[-1][2] == found:
            merged[-1] = (merged[-1][0], rows, found)
        else:
            merged.append((rows, rows, found))
    spans = _spans([(least, greatest) for least, greatest, _ in merged])
    return [
        {"rows": span, "columns": columns, "tile": tile}
        for span, (_, _, found) in zip(spans, merged, strict=True)
        for columns, tile in found
    ]


def _chosen(costs: Mapping[int, Costs]) -> Columns:
    """Return ranges of columns with a tile for each, from the costs at some columns."""
    runs: list[tuple[int, int, str]] = []
    for columns in sorted(costs):
        of = costs[columns]
        fastest = min(of, key=of.__getitem__)
        before = runs[-1][2] if runs else fastest
        if before in of and of[before] <= KEEP_WITHIN * of[fastest]:
            fastest = before
        if runs and fastest == before:
            runs[-1] = (runs[-1][0], columns, before)
        else:
            runs.append((columns, columns, fastest))
    spans = _spans([(first, last) for first, last, _ in runs])
    return [(span, tile) for span, (_, _, tile) in zip(spans, runs, strict=True)]


def _spans(ranges: list[tuple[int, int]]) -> list[list[int | None]]:
    """Return ranges without gaps, from 1 to infinity (None)."""
    borders = [math.isqrt(one[1] * other[0]) for one, other in pairwise(ranges)]
    starts = [1, *(border + 1 for border in borders)]
    return [[start, end] for start, end in zip(starts, [*borders, None], strict=True)]
