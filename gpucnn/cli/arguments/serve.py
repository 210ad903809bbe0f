"""The options of ``gpucnn serve``."""

from __future__ import annotations

import argparse

from gpucnn.cli.arguments.shared import add_computation

EPILOG = """\
The page is for this computer only, unless --host gives another address. End it with Ctrl-C."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``parser``."""
    parser.add_argument(
        "checkpoints",
        nargs="*",
        metavar="CHECKPOINT",
        help="folders of runs, or .npz files, several side by side (default: the ready-trained "
        "LeNet-5)",
    )
    add_computation(parser)
    parser.add_argument(
        "--prepare",
        default="auto",
        metavar="HOW",
        help="digit, plain or auto (default), as for gpucnn predict",
    )
    parser.add_argument(
        "--port", type=int, default=8000, metavar="N", help="port (default: 8000); 0: any free one"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="address (default: 127.0.0.1)"
    )
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
