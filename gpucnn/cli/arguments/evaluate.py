"""The options of ``gpucnn evaluate``."""

from __future__ import annotations

import argparse

from gpucnn.cli.arguments.shared import RESIZE_HELP, TRANSPOSE_HELP, add_checkpoint, add_labels

EPILOG = """\
--json prints, besides loss and accuracy, the figures of each class, the confusion matrix (rows:
true classes, columns: predicted ones), and the true and the predicted class of each test image that
was not left out, as numbers from 0, or -1 where the scores contain NaN. A fraction of no images,
such as the precision of a class that is never predicted, is 0. Of a network for regression, it
prints MSE, MAE and R2, also of each target, and the true and the predicted numbers."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``parser``."""
    add_checkpoint(parser)
    parser.add_argument(
        "--data", metavar="PATH", help="data as for train (default: those of the run)"
    )
    parser.add_argument("--resize", metavar="HxW", help=RESIZE_HELP)
    parser.add_argument("--transpose", metavar="HOW", help=TRANSPOSE_HELP)
    add_labels(parser)
    parser.add_argument(
        "--skip-trained",
        action="store_true",
        help="leave out test images that the network was trained on, which are refused otherwise",
    )
    parser.add_argument(
        "--per-class",
        action="store_true",
        help="also print precision, recall and F1 of each class, and what it is most often taken "
        "for; for regression, the figures of each target",
    )
