"""The options of ``gpucnn summary``."""

from __future__ import annotations

import argparse

from gpucnn.cli.arguments.shared import SOURCE_HELP, add_network


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``parser``."""
    add_network(parser, "network as for train --model, or a checkpoint (default: lenet5)")
    parser.add_argument("--model", metavar="FILE.py:FUNCTION", help=SOURCE_HELP)
