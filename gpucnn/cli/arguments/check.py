"""The options of ``gpucnn check``."""

from __future__ import annotations

import argparse

from gpucnn.cli.arguments.shared import BACKEND_HELP

NAME_HELP = "operation, such as conv2d, or a pattern, such as '*pool2d' or 'conv2d-*stride*' for "
NAME_HELP += "cases, or FILE.py:CLASS for a custom operation (default: all of gpucnn's)"
EPILOG = """\
Each operation is run on small arrays: with negative numbers, zeros, ties, large numbers, NaN and
infinities, of sizes next to those of blocks and tiles, with strides and paddings. Its results are
compared with plain loops in float64. On the emulated backend the kernels run in check mode, which
also finds invalid accesses, races and uninitialised reads.

examples:
  gpucnn check --backend emulated               every kernel, without a GPU
  gpucnn check conv2d relu --backend cuda       two operations on a GPU
  gpucnn check leaky_relu.py:LeakyRelu          an operation of your own (gpucnn new-op)
  gpucnn check --backend emulated --json        every run that failed, for a program

The exit status is 0 if all results are correct, 1 if one is wrong or a kernel has a fault, and 2 if
an option is wrong."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``parser``."""
    parser.add_argument("names", nargs="*", metavar="NAME", help=NAME_HELP)
    parser.add_argument("--backend", default="auto", metavar="NAME", help=BACKEND_HELP)
    parser.add_argument(
        "--dtype", default="float32", metavar="NAME", help="float32 (default) or float64"
    )
    parser.add_argument(
        "--precision",
        metavar="NAME",
        help="precision of matrix products: {precisions} (default: each that the backend has)",
    )
    parser.add_argument(
        "--fast",
        action="store_true",
        help="run the emulator in its fast mode, with guards around arrays, instead of check mode",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
