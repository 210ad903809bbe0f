"""The options of ``gpucnn report``."""

from __future__ import annotations

import argparse

from gpucnn.cli.arguments.shared import RESIZE_HELP, TRANSPOSE_HELP, add_computation, add_labels

EPILOG = """\
The test images are those of the data that the run was trained on, if they are still where they
were. Without them, the report has what can be shown without images. Test images that the network
was trained on are left out.

examples:
  gpucnn report runs/lenet5-mnist-1                    writes runs/lenet5-mnist-1/report.html
  gpucnn report runs/seed1 runs/seed2 --out both.html  compares two runs
  gpucnn report runs/mine --data mine/ --png figures   also saves the figures as images"""

INTERMIXED = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``parser``."""
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="folder of a run, or .npz file of a network"
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="the HTML file (default: report.html in the folder of the run; for several runs or a "
        "file, in the current folder)",
    )
    parser.add_argument("--png", metavar="DIR", help="also save the figures as images in DIR")
    parser.add_argument(
        "--data", metavar="PATH", help="data as for train (default: those of each run)"
    )
    parser.add_argument("--resize", metavar="HxW", help=RESIZE_HELP)
    parser.add_argument("--transpose", metavar="HOW", help=TRANSPOSE_HELP)
    add_labels(parser)
    add_computation(parser)
