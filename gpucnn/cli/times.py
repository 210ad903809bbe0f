"""``gpucnn time``."""

from __future__ import annotations

import argparse
import json

from gpucnn.cli.console import make_console, print_table
from gpucnn.cli.display import plain_json
from gpucnn.cli.inference import read_network
from gpucnn.cli.output import printable
from gpucnn.cli.sources import make_backend
from gpucnn.training.times import LayerTime, LayerTimes, PassTime, layer_times

BUSY = 0.2
"""Spread of the samples above which a note says that the times are not reliable."""

HEADINGS = ("layer", "multiply-adds", "forward", "of limit", "backward", "of limit")
"""80 characters in all; types and shapes are in ``gpucnn summary``."""


def time_command(arguments: argparse.Namespace) -> int:
    """Print the time of each layer of a network, forward and backward."""
    backend, _ = make_backend(arguments.backend, precision=arguments.precision)
    model = read_network(arguments).to(backend)
    times = layer_times(model, arguments.batch_size)
    if arguments.json:
        print(json.dumps(plain_json({"network": arguments.network, **times.as_dict()})))
        return 0
    console = make_console()
    images = "1 image" if times.batch_size == 1 else f"{times.batch_size} images"
    console.print(f"{printable(arguments.network)}, {images}, {_device(times)}")
    console.print(
        f"this machine: {times.multiply_adds_per_second / 1e9:,.1f} G multiply-adds/s,"
        f" {times.bytes_per_second / 1e9:,.1f} GB/s; times in µs"
    )
    forward = sum(each.forward.seconds for each in times.outermost)
    multiply_adds = sum(each.forward.multiply_adds for each in times.outermost)
    backward = times.seconds - forward
    totals = ("total", f"{multiply_adds:,}", _micro(forward), "", _micro(backward), "")
    rows = [_row(each) for each in times.layers]
    print_table(console, rows, HEADINGS, totals, left=1)
    console.print(
        f"forward and backward together, fused layers as one operation:"
        f" {_micro(times.network_seconds)} µs,"
        f" {times.batch_size / times.network_seconds:,.0f} images/s"
    )
    if not times.captured and times.backend != "numpy":
        console.print("note: some times have launches of the host in them")
    if times.spread > BUSY:
        console.print(
            f"note: the samples of a time differ by {times.spread:.0%}: the machine is busy"
        )
    return 0


def _device(times: LayerTimes) -> str:
    thread = ", one thread" if times.backend == "numpy" else ""
    precision = "" if times.precision == "ieee" else f", {times.precision}"
    return f"{times.backend} backend on {printable(times.device)}{thread}, {times.dtype}{precision}"


def _row(layer: LayerTime) -> tuple[str, ...]:
    return (
        "  " * layer.level + printable(layer.label),
        f"{layer.forward.multiply_adds:,}",
        *_cells(layer.forward),
        *_cells(layer.backward),
    )


def _cells(one: PassTime) -> tuple[str, str]:
    roof = "compute" if one.roof == "multiply-adds" else "memory"
    return _micro(one.seconds), f"{one.share:.0%} {roof}" if one.share else "-"


def _micro(seconds: float) -> str:
    return f"{1e6 * seconds:,.1f}"
