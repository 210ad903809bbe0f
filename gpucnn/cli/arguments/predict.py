"""The options of ``gpucnn predict``."""

from __future__ import annotations

import argparse

from gpucnn.cli.arguments.shared import add_checkpoint

INTERMIXED = True

EPILOG = """\
examples:
  gpucnn predict digit.png                      with the ready-trained network for digits
  gpucnn predict runs/mine photos/ more.jpg     with the network of a run

The exit status is 0 if every image has a class, 1 if an image shows no digit or several digits, and
2 if a file cannot be read. The other images are classified in any case."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``parser``."""
    add_checkpoint(parser, optional=True)
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="image file, or a folder of them"
    )
    parser.add_argument(
        "--show", action="store_true", help="draw the steps of the preparation and the input"
    )
    parser.add_argument(
        "--prepare",
        default="auto",
        metavar="HOW",
        help="digit: crop, scale and centre as for MNIST; plain: only resize; "
        "auto (default): digit if the training images were those of MNIST or like them, else plain",
    )
