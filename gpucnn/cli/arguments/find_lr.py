"""The options of ``gpucnn find-lr``."""

from __future__ import annotations

import argparse

from gpucnn.cli.arguments.train import data_and_model_options, step_options

EPILOG = """\
examples:
  gpucnn find-lr
  gpucnn find-lr --optimizer adam --batch-size 128
  gpucnn find-lr --data photos/ --model small_cnn --resize 64x64 --png rates.png

The network is trained for some steps; after each the learning rate is multiplied by the same
factor (Smith, 2017). Too small rates leave the loss where it is, too large ones make it rise, and
the sweep ends where its moving average is four times the least one. The suggestion, for --lr of
gpucnn train, is the rate at which the average falls fastest. Nothing is saved."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``parser``."""

    # As in gpucnn train: options that are not given have the values of the recipe.
    def option(name: str, help: str, **rest: object) -> None:
        parser.add_argument(name, help=help, default=argparse.SUPPRESS, **rest)  # type: ignore[arg-type]

    data_and_model_options(option)
    step_options(option)
    parser.add_argument(
        "--from", dest="lowest", type=float, default=1e-5, metavar="X",
        help="first learning rate (default: 1e-5)",
    )  # fmt: skip
    parser.add_argument(
        "--to", dest="highest", type=float, default=10.0, metavar="X",
        help="last learning rate (default: 10)",
    )  # fmt: skip
    parser.add_argument(
        "--steps", type=int, default=200, metavar="N", help="number of steps (default: 200)"
    )
    parser.add_argument("--png", metavar="FILE", help="draw the losses into an image (Matplotlib)")
    parser.add_argument("--json", action="store_true", help="print JSON")
