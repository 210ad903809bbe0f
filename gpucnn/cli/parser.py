"""The commands of the command line and their help."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

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
  gpucnn pack photos/ packed/ --resize 64x64    prepare a data set that may not fit in memory
  gpucnn find-lr --model small_cnn --data photos/ --resize 64x64
                                                suggest a learning rate for gpucnn train
  gpucnn runs --sort test_accuracy --reverse    list the runs in runs/, the best first
  gpucnn evaluate runs/mine                     measure the accuracy on the test images
  gpucnn predict digit.png                      read a digit with a ready-trained LeNet-5
  gpucnn predict runs/mine photo.png --show     classify an image and draw it
  gpucnn report runs/mine                       write a page on what the network learned
  gpucnn serve runs/mine                        draw digits on a page, and see the feature maps
  gpucnn export runs/mine model.onnx            write the network for ONNX Runtime
  gpucnn import w.safetensors model.npz --model lenet5
                                                take over weights of PyTorch
  gpucnn summary lenet5                         show shapes, parameters and receptive fields
  gpucnn filter photo.jpg sobel --out edges.png
                                                apply a fixed filter to an image
  gpucnn time lenet5 --batch-size 128           measure where its time goes
  gpucnn check --backend emulated               check the CUDA kernels, without a GPU
  gpucnn profile lenet5 --gpu h100              count what the CUDA kernels ask of a GPU
  gpucnn doctor                                 show what is installed and what is missing
"""

COMMANDS = {
    "train": ("train a network and save it", "train:train_command"),
    "pack": (
        "write a data set of any size as files to train from without loading it",
        "pack:pack_command",
    ),
    "find-lr": (
        "suggest a learning rate, by steps with rising ones",
        "rates:find_lr_command",
    ),
    "evaluate": (
        "measure the accuracy of a saved network on test images",
        "inference:evaluate_command",
    ),
    "predict": ("classify image files with a saved network", "predict:predict_command"),
    "report": (
        "write a page on runs: curves, mistakes, filters, feature maps",
        "report:report_command",
    ),
    "runs": ("list runs with their settings and results", "listing:runs_command"),
    "serve": (
        "serve a page on which one draws, and which shows every layer of a network",
        "serve:serve_command",
    ),
    "export": (
        "write a saved network for other programs, as ONNX, safetensors or .npz",
        "exchange:export_command",
    ),
    "import": (
        "make a saved network of weights from PyTorch or another program",
        "importing:import_command",
    ),
    "summary": ("show the layers of a network", "inference:summary_command"),
    "filter": ("filter an image: edges, blur, or a matrix of your own", "filter:filter_command"),
    "time": ("measure the time of each layer of a network", "times:time_command"),
    "check": (
        "compare the operations of a backend with plain loops in float64",
        "check:check_command",
    ),
    "profile": (
        "count what the kernels of a training step ask of a GPU, without one",
        "profile:profile_command",
    ),
    "new-op": (
        "write the files of a new operation of your own, as a start",
        "new_op:new_op_command",
    ),
    "doctor": (
        "show the hardware and libraries found, and how to fix what is missing",
        "machine:doctor_command",
    ),
}
"""Each command: what it does, and the file and function of ``cli/`` that run it.

Its options are in the file of ``cli/arguments/`` with its name.
"""

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

    def __init__(self, **rest: Any) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **rest
        )
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def error(self, message: str) -> NoReturn:
        """Raise SettingError instead of printing the usage and exiting."""
        raise SettingError(f"{message}; see {self.prog} --help")

    def format_help(self) -> str:
        """Return the help with the names from ``REGISTRIES`` filled in."""
        for action in self._actions:
            for key, (module, registry) in REGISTRIES.items():
                if action.help and f"{{{key}}}" in action.help:
                    *names, last = getattr(import_module(module), registry)
                    action.help = action.help.replace(f"{{{key}}}", f"{', '.join(names)} or {last}")
        return super().format_help()


class CommandParser(Parser):
    """The parser of one command, which reads the file with its options when it is first used."""

    complete = False
    intermixed = False
    """Whether options may stand between positional arguments of variable number."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the options of the command, as argparse does."""
        if self.completed().intermixed:
            self.intermixed = False  # argparse parses twice then, with this method
            try:
                return self.parse_known_intermixed_args(args, namespace)
            finally:
                self.intermixed = True
        return super().parse_known_args(args, namespace)

    def completed(self) -> CommandParser:
        """Return this parser with all its options."""
        if not self.complete:
            name = self.prog.split()[-1].replace("-", "_")
            module = import_module(f"gpucnn.cli.arguments.{name}")
            module.add_arguments(self)
            self.epilog = getattr(module, "EPILOG", None)
            self.intermixed = getattr(module, "INTERMIXED", False)
            self.complete = True
        return self


class MainParser(Parser):
    """The parser of the whole command line."""

    def __init__(self) -> None:
        super().__init__(
            prog="gpucnn",
            description="Train convolutional networks, evaluate them and classify images.",
            epilog=EPILOG,
        )
        self.add_argument("--version", action="version", version=f"gpucnn {__version__}")
        self._commands = self.add_subparsers(
            title="commands",
            dest="command",
            metavar="COMMAND",
            required=True,
            parser_class=CommandParser,
        )
        for name, (text, _) in COMMANDS.items():
            self._commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")

    def command(self, name: str) -> CommandParser:
        """Return the parser of a command, with its options."""
        parser: CommandParser = self._commands.choices[name]
        return parser.completed()

    def parse(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """Parse ``argv``. The error for an unknown option suggests the closest known one."""
        words = list(sys.argv[1:] if argv is None else argv)
        if words and not words[0].startswith("-") and words[0] not in COMMANDS:
            raise unknown("command", words[0], COMMANDS)
        arguments, extra = self.parse_known_args(words)
        command = self.command(arguments.command)
        for word in extra:
            if word.startswith("-") and len(word) > 1:
                raise unknown("option", word.split("=")[0], command._option_string_actions)
            raise SettingError(f"unexpected argument {word!r}")
        for action in command._actions:
            value = getattr(arguments, action.dest, None)
            if value == "" or (isinstance(value, list) and "" in value):  # an unset variable
                name = action.option_strings[0] if action.option_strings else action.metavar
                raise SettingError(f"{name} is empty: see {command.prog} --help")
        return arguments
