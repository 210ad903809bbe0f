"""The commands and options of the command line, and their help."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import NoReturn

from gpucnn.errors import SettingError, unknown
from gpucnn.version import __version__

EPILOG = """\
examples:
  gpucnn train                                  train LeNet-5 on MNIST with the default recipe
  gpucnn train --epochs 1 --limit 6000          train for a few seconds
  gpucnn train --data fashion-mnist/            train on a folder with four IDX files
  gpucnn train --data photos/ --model small_cnn --resize 64x64
                                                train on a folder of image files
  gpucnn train --resume runs/mine               continue a run that was interrupted
  gpucnn evaluate runs/mine                     measure the accuracy on the test images
  gpucnn predict runs/mine photo.png --show     classify an image and draw it
  gpucnn summary lenet5                         show shapes, parameters and receptive fields
  gpucnn check --backend emulated               check the CUDA kernels, without a GPU
  gpucnn profile lenet5 --gpu h100              count what the CUDA kernels ask of a GPU
  gpucnn doctor                                 show what is installed and what is missing
"""

TRAIN_EPILOG = """\
examples:
  gpucnn train --seed 1 --out runs/seed1
  gpucnn train --validation 5000 --early-stopping 3 --keep-best --epochs 30
  gpucnn train --optimizer adam --lr 0.003 --schedule one-cycle
  gpucnn train --model mynet.py:build           build() returns a gpucnn.Sequential
  gpucnn train --backend emulated --check --data mine/ --limit 64 --epochs 1
                                                look for faults of the kernels, without a GPU
  gpucnn train --resume runs/seed1              gives the same weights as an uninterrupted run
  gpucnn train --init runs/seed1 --data mine/ --lr 0.01
                                                fine-tune its weights on other data
"""

BACKEND_HELP = "backend: {backends} (default: auto, which is cuda if available, else numpy)"
PRECISION_HELP = "precision of float32 matrix products: {precisions} (default: ieee); tf32 rounds "
PRECISION_HELP += "the operands of large products for the tensor cores of a GPU"
RESIZE_HELP = "resize the images of a folder to HEIGHTxWIDTH pixels"
TRANSPOSE_HELP = "exchange rows and columns of the images: yes, no or auto (default: auto, which "
TRANSPOSE_HELP += "recognises digits that are stored transposed, and EMNIST's files); no also "
TRANSPOSE_HELP += "leaves EMNIST's labels as they are"
PREDICT_EPILOG = """\
The exit status is 0 if every image has a class, 1 if an image shows no digit or several digits, and
2 if a file cannot be read. The other images are classified in any case."""
PROFILE_HELP = "count what the kernels of a training step ask of a GPU, without one"
PROFILE_EPILOG = """\
examples:
  gpucnn profile lenet5 --gpu a100
  gpucnn profile small_cnn --input 3x32x32 --batch-size 16
  gpucnn profile mynet.py:build --general --json

The counts are of loads and stores of warps: sectors of global memory, bank conflicts of shared
memory, active lanes, floating-point operations. Registers, spills and occupancy need NVRTC (pip
install 'gpucnn[nvrtc]'), which needs no GPU. gpucnn/emulator/README.md describes what is counted,
and what cannot be known without a GPU."""
CHECK_HELP = "operation, such as conv2d, or a pattern, such as '*pool2d' or 'conv2d-*stride*' for "
CHECK_HELP += "cases, or FILE.py:CLASS for a custom operation (default: all of gpucnn's)"
CHECK_EPILOG = """\
Each operation is run on small arrays: with negative numbers, zeros, ties, large numbers, NaN and
infinities, of sizes next to those of blocks and tiles, with strides and paddings. Its results are
compared with plain loops in float64. On the emulated backend the kernels run in check mode, which
also finds invalid accesses, races and uninitialised reads.

examples:
  gpucnn check --backend emulated               every kernel, without a GPU
  gpucnn check conv2d relu --backend cuda       two operations on a GPU
  gpucnn check leaky_relu.py:LeakyRelu          an operation of your own (gpucnn new-op)
  gpucnn check --backend emulated --json        every run that failed, for a program

The exit status is 0 if all results are correct, 1 if one is wrong or a kernel has a fault, and 2 if
an option is wrong."""
SOURCE_HELP = "Python function that builds the network, needed if it has custom layers"

REGISTRIES = {
    "backends": ("gpucnn.backends", "BACKENDS"),
    "precisions": ("gpucnn.backends", "PRECISIONS"),
    "models": ("gpucnn.models", "MODELS"),
    "recipes": ("gpucnn.training.settings", "RECIPES"),
    "optimizers": ("gpucnn.optim", "OPTIMIZERS"),
    "schedules": ("gpucnn.optim", "SCHEDULES"),
    "losses": ("gpucnn.nn.losses", "LOSSES"),
    "gpus": ("gpucnn.machine.gpus.table", "GPUS"),
}
"""Where the names are that stand in help texts as {backends}, {models}, …"""


class Parser(argparse.ArgumentParser):
    """A parser that raises one-line errors and looks names up only when help is printed.

    The registries of names import NumPy, which takes longer than everything else here.
    """

    commands: Mapping[str, argparse.ArgumentParser]

    def error(self, message: str) -> NoReturn:
        """Raise SettingError instead of printing the usage and exiting."""
        raise SettingError(f"{message}; see {self.prog} --help")

    def parse(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """Parse ``argv``. The error for an unknown option suggests the closest known one."""
        words = list(sys.argv[1:] if argv is None else argv)
        if words and not words[0].startswith("-") and words[0] not in self.commands:
            raise unknown("command", words[0], self.commands)
        arguments, extra = self.parse_known_args(words)
        for word in extra:
            if word.startswith("-") and len(word) > 1:
                options = self.commands[arguments.command]._option_string_actions
                raise unknown("option", word.split("=")[0], options)
            raise SettingError(f"unexpected argument {word!r}")
        for action in self.commands[arguments.command]._actions:
            value = getattr(arguments, action.dest, None)
            if value == "" or (isinstance(value, list) and "" in value):  # an unset variable
                name = action.option_strings[0] if action.option_strings else action.metavar
                raise SettingError(f"{name} is empty: see {self.prog} {arguments.command} --help")
        return arguments

    def format_help(self) -> str:
        """Return the help with the names from ``REGISTRIES`` filled in."""
        for action in self._actions:
            for key, (module, registry) in REGISTRIES.items():
                if action.help and f"{{{key}}}" in action.help:
                    *names, last = getattr(import_module(module), registry)
                    action.help = action.help.replace(f"{{{key}}}", f"{', '.join(names)} or {last}")
        return super().format_help()


def make_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="gpucnn",
        description="Train convolutional networks, evaluate them and classify images.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action="version", version=f"gpucnn {__version__}")
    subparsers = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )

    def add(name: str, text: str, epilog: str | None = None) -> argparse.ArgumentParser:
        command = subparsers.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return command

    _train_options(add("train", "train a network and save it", TRAIN_EPILOG))
    _evaluate_options(add("evaluate", "measure the accuracy of a saved network on test images"))
    _predict_options(add("predict", "classify image files with a saved network", PREDICT_EPILOG))
    _summary_options(add("summary", "show the layers of a network"))
    text = "compare the operations of a backend with plain loops in float64"
    _check_options(add("check", text, CHECK_EPILOG))
    _profile_options(add("profile", PROFILE_HELP, PROFILE_EPILOG))
    _new_op_options(add("new-op", "write the files of a new operation of your own, as a start"))
    add("doctor", "show the hardware and libraries found, and how to fix what is missing")
    parser.commands = subparsers.choices
    return parser


def _train_options(parser: argparse.ArgumentParser) -> None:
    # No defaults here: a resumed run takes the options that are not given from its config.json.
    def option(name: str, help: str, **rest: object) -> None:
        parser.add_argument(name, help=help, default=argparse.SUPPRESS, **rest)  # type: ignore[arg-type]

    _data_and_model_options(option)
    _settings_options(option)
    _run_options(option)
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        default=None,
        metavar="DIR",
        help="continue the run in DIR (default: the folder given by --out)",
    )


def _data_and_model_options(option: Callable[..., None]) -> None:
    option("--backend", BACKEND_HELP, metavar="NAME")
    option("--precision", PRECISION_HELP, metavar="NAME")
    option(
        "--data",
        "mnist (default), a folder of IDX files or of images, or an .npz or .csv file",
        metavar="PATH",
    )
    option("--resize", RESIZE_HELP, metavar="HxW")
    option("--transpose", TRANSPOSE_HELP, metavar="HOW")
    option("--limit", "use only the first N training images", type=int, metavar="N")
    option("--model", "network: {models}, or FILE.py:FUNCTION (default: lenet5)", metavar="NAME")
    option(
        "--init",
        "start from the weights of a run or of a file: a checkpoint, a saved model or an .npz file "
        "of a state_dict; without --model, its network is used",
        metavar="PATH",
    )


def _settings_options(option: Callable[..., None]) -> None:
    option(
        "--recipe",
        "values of the options below that are not given: {recipes} (default: default)",
        metavar="NAME",
    )
    option("--epochs", "number of training epochs", type=int, metavar="N")
    option("--batch-size", "number of images in a training step", type=int, metavar="N")
    option("--optimizer", "optimizer: {optimizers}", metavar="NAME")
    option("--lr", "maximum learning rate", type=float, metavar="X")
    option("--momentum", "momentum, for sgd", type=float, metavar="X")
    option("--weight-decay", "weight decay", type=float, metavar="X")
    option("--schedule", "learning rate schedule: {schedules}", metavar="NAME")
    option("--loss", "loss function: {losses}", metavar="NAME")
    option(
        "--label-smoothing",
        "part of each label, 0 to 1, that cross-entropy spreads over all classes (default: 0)",
        type=float,
        metavar="X",
    )
    option(
        "--seed",
        "seed of the initial weights, the order of the images and dropout (default: 0)",
        type=int,
        metavar="N",
    )
    option("--validation", "hold out N training images for validation", type=int, metavar="N")
    option(
        "--early-stopping",
        "stop after N epochs without a better validation accuracy",
        type=int,
        metavar="N",
    )
    option(
        "--keep-best",
        "keep the weights of the epoch with the best validation accuracy",
        action="store_true",
    )


def _run_options(option: Callable[..., None]) -> None:
    option(
        "--check",
        "with --backend emulated: run the kernels in check mode, which finds invalid accesses, "
        "races and uninitialised reads; the 10,000 test images of mnist then take minutes",
        action="store_true",
    )
    option(
        "--workers",
        "number of processes that share each batch, on the numpy backend (default: the number of "
        "physical cores, or 1 for short runs)",
        type=int,
        metavar="N",
    )
    option(
        "--checkpoint-every",
        "save a checkpoint every N steps, in addition to those after each epoch",
        type=int,
        metavar="N",
    )
    option("--out", "folder for the results (default: runs/MODEL-DATA-N)", metavar="DIR")


def _checkpoint_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder of a run, or .npz file")
    parser.add_argument("--backend", default="auto", metavar="NAME", help=BACKEND_HELP)
    parser.add_argument("--precision", default="ieee", metavar="NAME", help=PRECISION_HELP)
    parser.add_argument("--model", metavar="FILE.py:FUNCTION", help=SOURCE_HELP)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _evaluate_options(parser: argparse.ArgumentParser) -> None:
    _checkpoint_options(parser)
    parser.add_argument(
        "--data", metavar="PATH", help="data as for train (default: mnist, if trained on it)"
    )
    parser.add_argument("--resize", metavar="HxW", help=RESIZE_HELP)
    parser.add_argument("--transpose", metavar="HOW", help=TRANSPOSE_HELP)
    parser.add_argument(
        "--skip-trained",
        action="store_true",
        help="leave out test images that the network was trained on, which are refused otherwise",
    )


def _predict_options(parser: argparse.ArgumentParser) -> None:
    _checkpoint_options(parser)
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


def _summary_options(parser: argparse.ArgumentParser) -> None:
    _network_options(parser, "network as for train --model, or a checkpoint (default: lenet5)")
    parser.add_argument("--model", metavar="FILE.py:FUNCTION", help=SOURCE_HELP)


def _network_options(parser: argparse.ArgumentParser, network: str) -> None:
    parser.add_argument("network", nargs="?", default="lenet5", metavar="MODEL", help=network)
    parser.add_argument("--data", metavar="PATH", help="data, as for train, that sets the shape")
    parser.add_argument("--input", metavar="CxHxW", help="shape of the images, such as 3x32x32")
    parser.add_argument("--classes", type=int, metavar="N", help="number of classes")
    parser.add_argument("--resize", metavar="HxW", help=RESIZE_HELP)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _profile_options(parser: argparse.ArgumentParser) -> None:
    _network_options(parser, "network as for train --model (default: lenet5)")
    parser.add_argument(
        "--backend",
        default="emulated",
        metavar="NAME",
        help="emulated (default), which counts what a GPU would do; no other counts",
    )
    parser.add_argument(
        "--gpu", default="h100", metavar="NAME", help="GPU of the estimates: {gpus} (default: h100)"
    )
    parser.add_argument(
        "--batch-size", type=int, default=64, metavar="N", help="images in the step (default: 64)"
    )
    parser.add_argument(
        "--general",
        action="store_true",
        help="use each layer's own kernels, not those that compute several layers together",
    )
    parser.add_argument(
        "--lines",
        type=int,
        default=10,
        metavar="N",
        help="show the N source lines that waste most (default: 10)",
    )


def _check_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help=CHECK_HELP)
    parser.add_argument("--backend", default="auto", metavar="NAME", help=BACKEND_HELP)
    parser.add_argument(
        "--dtype", default="float32", metavar="NAME", help="float32 (default) or float64"
    )
    parser.add_argument(
        "--precision",
        metavar="NAME",
        help="precision of matrix products: {precisions} (default: each that the backend has)",
    )
    parser.add_argument(
        "--fast",
        action="store_true",
        help="run the emulator in its fast mode, with guards around arrays, instead of check mode",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _new_op_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name of the operation, such as leaky_relu")
    parser.add_argument(
        "--out", default=".", metavar="DIR", help="folder of the files (default: the current one)"
    )
