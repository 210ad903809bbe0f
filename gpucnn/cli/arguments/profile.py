"""The options of ``gpucnn profile``."""

from __future__ import annotations

import argparse

from gpucnn.cli.arguments.shared import add_network

EPILOG = """\
examples:
  gpucnn profile lenet5 --gpu a100
  gpucnn profile small_cnn --input 3x32x32 --batch-size 16
  gpucnn profile mynet.py:build --general --json

The counts are of loads and stores of warps: sectors of global memory, bank conflicts of shared
memory, active lanes, floating-point operations. Registers, spills and occupancy need NVRTC (pip
install 'gpucnn[nvrtc]'), which needs no GPU. gpucnn/emulator/README.md describes what is counted,
and what cannot be known without a GPU."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``parser``."""
    add_network(parser, "network as for train --model (default: lenet5)")
    parser.add_argument(
        "--backend",
        default="emulated",
        metavar="NAME",
        help="emulated (default), which counts what a GPU would do; no other counts",
    )
    parser.add_argument(
        "--gpu", default="h100", metavar="NAME", help="GPU of the estimates: {gpus} (default: h100)"
    )
    parser.add_argument(
        "--batch-size", type=int, default=64, metavar="N", help="images in the step (default: 64)"
    )
    parser.add_argument(
        "--general",
        action="store_true",
        help="use each layer's own kernels, not those that compute several layers together",
    )
    parser.add_argument(
        "--lines",
        type=int,
        default=10,
        metavar="N",
        help="show the N source lines that waste most (default: 10)",
    )
