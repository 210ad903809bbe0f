"""The options of ``gpucnn pack``."""

from __future__ import annotations

import argparse

from gpucnn.cli.arguments.shared import RESIZE_HELP, TRANSPOSE_HELP, add_labels

EPILOG = """\
FOLDER gets the images of each split in .npy files that NumPy maps into memory
(numpy.load(file, mmap_mode="r")), its labels, and dataset.json with shapes, names and checksums.
gpucnn train --data FOLDER and all other commands then read images as they need them, so that a data
set may be larger than memory. If packing is interrupted, the same command continues it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``parser``."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="data as for train, of any size: a folder of images, IDX, .npz, .csv or Parquet files",
    )
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="a new folder to pack into")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare all files of the packed data set SOURCE with their checksums",
    )
    parser.add_argument("--resize", metavar="HxW", help=RESIZE_HELP)
    parser.add_argument("--transpose", metavar="HOW", help=TRANSPOSE_HELP)
    add_labels(parser)
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="which images of a folder without train/ and test/ are for testing (default: 0)",
    )
