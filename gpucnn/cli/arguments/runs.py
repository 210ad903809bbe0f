"""The options of ``gpucnn runs``."""

from __future__ import annotations

import argparse

EPILOG = """\
The states of runs: "finished", "early stopping" and "running"; "interrupted", by a signal or
because its process has ended: gpucnn train --resume continues it; and "damaged", if neither its
config.json nor its log.jsonl can be read.

examples:
  gpucnn runs
  gpucnn runs experiments/ --sort test_accuracy --reverse
  gpucnn runs --csv > runs.csv                  all settings and results, a column each
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``parser``."""
    parser.add_argument(
        "folder",
        nargs="?",
        default="runs",
        metavar="DIR",
        help="folder with the folders of runs, at any depth up to 4 (default: runs)",
    )
    parser.add_argument(
        "--sort",
        metavar="COLUMN",
        help="sort by a column of --csv, such as test_accuracy (default: by name)",
    )
    parser.add_argument("--reverse", action="store_true", help="sort the greatest first")
    parser.add_argument("--csv", action="store_true", help="print CSV with all settings")
    parser.add_argument("--json", action="store_true", help="print JSON with all settings")
