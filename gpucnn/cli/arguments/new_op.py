"""The options of ``gpucnn new-op``."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``parser``."""
    parser.add_argument("name", metavar="NAME", help="name of the operation, such as leaky_relu")
    parser.add_argument(
        "--out", default=".", metavar="DIR", help="folder of the files (default: the current one)"
    )
