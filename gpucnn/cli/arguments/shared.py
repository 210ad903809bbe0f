"""Options that several commands have."""

from __future__ import annotations

import argparse

BACKEND_HELP = "backend: {backends} (default: auto, which is cuda if available, else numpy)"
PRECISION_HELP = "precision of float32 matrix products: {precisions} (default: ieee); tf32 rounds "
PRECISION_HELP += "the operands of large products for the tensor cores of a GPU"
RESIZE_HELP = "resize the images of a folder or of Parquet files to HEIGHTxWIDTH pixels"
TRANSPOSE_HELP = "exchange rows and columns of the images: yes, no or auto (default: auto, which "
TRANSPOSE_HELP += "recognises digits that are stored transposed, and EMNIST's files); no also "
TRANSPOSE_HELP += "leaves EMNIST's labels as they are"
REGRESSION_HELP = (
    "the labels of the .npz, .csv or .parquet file are numbers to predict, not classes "
)
REGRESSION_HELP += "(default for an .npz file: if they are floats with fractions)"
TARGETS_HELP = (
    "the columns of a .csv or .parquet file that are numbers to predict, by their headings; of an "
)
TARGETS_HELP += ".npz file, names for its numbers"
SOURCE_HELP = "Python function that builds the network, needed if it has custom layers"


CHECKPOINT_HELP = "folder of a run, .npz file, or lenet5, which is ready-trained on mnist"


def add_checkpoint(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    """Add a checkpoint, which may be ``optional``, and how it is run."""
    parser.add_argument(
        "checkpoint",
        nargs="?" if optional else None,
        metavar="CHECKPOINT",
        help=CHECKPOINT_HELP + " (default)" * optional,
    )
    add_computation(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_computation(parser: argparse.ArgumentParser) -> None:
    """Add how a saved network is built and computed."""
    parser.add_argument("--backend", default="auto", metavar="NAME", help=BACKEND_HELP)
    parser.add_argument("--precision", default="ieee", metavar="NAME", help=PRECISION_HELP)
    parser.add_argument("--model", metavar="FILE.py:FUNCTION", help=SOURCE_HELP)


def add_labels(parser: argparse.ArgumentParser) -> None:
    """Add what the labels of the data are."""
    parser.add_argument("--regression", action="store_true", help=REGRESSION_HELP)
    parser.add_argument("--targets", metavar="COLUMN[,COLUMN]", help=TARGETS_HELP)


def add_network(parser: argparse.ArgumentParser, network: str) -> None:
    """Add a network, with the help text ``network``, and the shape of its images."""
    parser.add_argument("network", nargs="?", default="lenet5", metavar="MODEL", help=network)
    parser.add_argument("--data", metavar="PATH", help="data, as for train, that sets the shape")
    parser.add_argument("--input", metavar="CxHxW", help="shape of the images, such as 3x32x32")
    parser.add_argument("--classes", type=int, metavar="N", help="number of classes")
    parser.add_argument("--resize", metavar="HxW", help=RESIZE_HELP)
    add_labels(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
