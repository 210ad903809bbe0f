"""The options of ``gpucnn time``."""

from __future__ import annotations

import argparse

from gpucnn.cli.arguments.shared import PRECISION_HELP, SOURCE_HELP, add_network

EPILOG = """\
examples:
  gpucnn time lenet5
  gpucnn time runs/mine --backend cuda --batch-size 256
  gpucnn time mynet.py:build --input 3x64x64 --json

Each layer is computed by itself, forward as in training, then backward. "of limit" is the least
time that this machine could need over the time measured, by the slower of two rates that are
measured in the same run: multiply-adds (a large matrix product of the backend) and memory (a copy
of a large array). Above 100 % the data were in a cache. Times are medians; on a GPU events measure
them, without the host's launches."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``parser``."""
    add_network(parser, "network as for train --model, or a checkpoint (default: lenet5)")
    parser.add_argument(
        "--backend",
        default="auto",
        metavar="NAME",
        help="numpy or cuda (default: auto, which is cuda if available, else numpy)",
    )
    parser.add_argument("--precision", default="ieee", metavar="NAME", help=PRECISION_HELP)
    parser.add_argument("--model", metavar="FILE.py:FUNCTION", help=SOURCE_HELP)
    parser.add_argument(
        "--batch-size", type=int, default=64, metavar="N", help="images in the batch (default: 64)"
    )
