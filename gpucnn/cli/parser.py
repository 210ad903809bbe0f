"""What the command line takes: commands, options and their help."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from gpucnn.errors import SettingError, unknown
from gpucnn.version import __version__

EPILOG = """\
examples:
  gpucnn train                                        LeNet-5 on MNIST, with the default recipe
  gpucnn train --epochs 1 --limit 6000                a minute's look
  gpucnn train --data fashion-mnist/                  any folder with the four IDX files
  gpucnn train --data pictures/ --model small_cnn --resize 64x64
  gpucnn train --out runs/mine --resume               go on where it stopped
  gpucnn evaluate runs/mine                           how well it reads the test images
  gpucnn predict runs/mine photo.png --show           what a picture shows
  gpucnn summary lenet5                               shapes, parameters, receptive fields
  gpucnn check --backend emulated                     the CUDA kernels against NumPy
  gpucnn doctor                                       what this machine has, and what mends it
"""

BACKEND_HELP = "auto (default), cuda, emulated or numpy"
PRECISION_HELP = "ieee (default), or tf32: round what large products take, for a GPU's tensor cores"

TRAIN_EPILOG = """\
examples:
  gpucnn train --seed 1 --out runs/seed1
  gpucnn train --validation 5000 --early-stopping 3 --keep-best --epochs 30
  gpucnn train --optimizer adam --lr 0.003 --schedule one-cycle
  gpucnn train --model mynet.py:build                 build() returns a gpucnn.Sequential
  gpucnn train --out runs/seed1 --resume              to the same bits as without a stop
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with the nearest known name."""

    commands: Mapping[str, argparse.ArgumentParser]

    def error(self, message: str) -> NoReturn:
        """Raise SettingError instead of printing the usage and leaving."""
        raise SettingError(f"{message}; see {self.prog} --help")

    def parse(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """Parse ``argv``; an option that is unknown gets the nearest known one as a hint."""
        words = list(sys.argv[1:] if argv is None else argv)
        if words and not words[0].startswith("-") and words[0] not in self.commands:
            raise unknown("command", words[0], self.commands)
        arguments, extra = self.parse_known_args(words)
        for word in extra:
            if word.startswith("-") and len(word) > 1:
                options = self.commands[arguments.command]._option_string_actions
                raise unknown("option", word.split("=")[0], options)
            raise SettingError(f"one argument too many: {word!r}")
        return arguments


def make_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="gpucnn",
        description="Train convolutional networks, and use them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    parser.add_argument("--version", action="version", version=f"gpucnn {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, text: str, epilog: str | None = None) -> argparse.ArgumentParser:
        command = subparsers.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_argument("--debug", action="store_true", help="show tracebacks of errors")
        return command

    _train_options(add("train", "train a network and save it", TRAIN_EPILOG))
    _evaluate_options(add("evaluate", "say how well a saved network does on test images"))
    _predict_options(add("predict", "say what pictures show"))
    _summary_options(add("summary", "list a network's layers"))
    _check_options(add("check", "compare every operation of a backend with NumPy in float64"))
    add("doctor", "say what this machine has and lacks, and what mends it")
    parser.commands = subparsers.choices
    return parser


def _train_options(parser: argparse.ArgumentParser) -> None:
    # No defaults here: whether an option was given decides what a resumed run may differ in.
    def option(name: str, help: str, **rest: object) -> None:
        parser.add_argument(name, help=help, default=argparse.SUPPRESS, **rest)  # type: ignore[arg-type]

    option("--backend", BACKEND_HELP)
    option("--precision", PRECISION_HELP)
    option("--data", "mnist (default), a folder of IDX files or of pictures, or an .npz file")
    option("--resize", "scale pictures of a folder to this size", metavar="HxW")
    option("--limit", "use only the first N training images", type=int, metavar="N")
    option("--model", "lenet5 (default), lenet5_1998, mlp, small_cnn, or FILE.py:FUNCTION")
    option("--recipe", "settings to begin with: default, adam or fast")
    option("--epochs", "times to go through the training images", type=int, metavar="N")
    option("--batch-size", "images a step", type=int, metavar="N")
    option("--optimizer", "sgd, adam or adamw")
    option("--lr", "peak learning rate", type=float)
    option("--momentum", "momentum of sgd", type=float)
    option("--weight-decay", "weight decay", type=float)
    option("--schedule", "constant, step, cosine, warmup, warmup-cosine or one-cycle")
    option("--loss", "cross-entropy, mse, half-squared-error, bce or bce-with-logits")
    option("--seed", "decides weights, order and dropout (0)", type=int)
    option("--validation", "hold out N training images", type=int, metavar="N")
    option(
        "--early-stopping",
        "stop after N epochs without a better validation accuracy",
        type=int,
        metavar="N",
    )
    option("--keep-best", "end with the weights of the best epoch", action="store_true")
    option(
        "--workers",
        "processes that share each batch, on the numpy backend (one a physical core where it pays)",
        type=int,
        metavar="N",
    )
    option("--checkpoint-every", "save every N steps, too", type=int, metavar="N")
    option("--out", "folder to save to (runs/MODEL-DATA-N)", metavar="DIR")
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        default=None,
        metavar="DIR",
        help="go on with the run in DIR, by default that of --out",
    )


def _checkpoint_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint.npz or its folder")
    parser.add_argument("--backend", default="auto", help=BACKEND_HELP)
    parser.add_argument("--precision", default="ieee", help=PRECISION_HELP)
    parser.add_argument(
        "--model",
        metavar="FILE.py:FUNCTION",
        help="the model's source, where it has layers of its own",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _evaluate_options(parser: argparse.ArgumentParser) -> None:
    _checkpoint_options(parser)
    parser.add_argument("--data", help="as for train; by default MNIST if that was trained on")
    parser.add_argument("--resize", metavar="HxW", help="scale pictures of a folder to this size")


def _predict_options(parser: argparse.ArgumentParser) -> None:
    _checkpoint_options(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a picture file")
    parser.add_argument("--show", action="store_true", help="draw what the network sees")
    parser.add_argument(
        "--prepare",
        default="auto",
        metavar="HOW",
        help="digit: crop, centre and scale as MNIST does; plain: only scale; "
        "auto (default): digit for networks trained on MNIST",
    )


def _summary_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "network",
        nargs="?",
        default="lenet5",
        metavar="MODEL",
        help="a name as for train --model, or a checkpoint (lenet5)",
    )
    parser.add_argument(
        "--model",
        metavar="FILE.py:FUNCTION",
        help="the source of a checkpoint's model, where it has layers of its own",
    )
    parser.add_argument("--data", help="shape the network for this data, as for train")
    parser.add_argument("--resize", metavar="HxW", help="scale pictures of a folder to this size")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _check_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backend", default="auto", help=BACKEND_HELP)
    parser.add_argument("--dtype", default="float32", help="float32 (default) or float64")
    parser.add_argument("--precision", default="ieee", help=PRECISION_HELP)
    parser.add_argument("--json", action="store_true", help="print JSON")
