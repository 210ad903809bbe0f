"""The options of ``gpucnn train``."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from gpucnn.cli.arguments.shared import (
    BACKEND_HELP,
    PRECISION_HELP,
    REGRESSION_HELP,
    RESIZE_HELP,
    TARGETS_HELP,
    TRANSPOSE_HELP,
)

EPILOG = """\
examples:
  gpucnn train --seed 1 --out runs/seed1
  gpucnn train --validation 5000 --early-stopping 3 --keep-best --epochs 30
  gpucnn train --optimizer adam --lr 0.003 --schedule one-cycle
  gpucnn train --augment default,rotate=15      change training images at random
  gpucnn train --model mynet.py:build           build() returns a gpucnn.Sequential
  gpucnn train --backend emulated --check --data mine/ --limit 64 --epochs 1
                                                look for faults of the kernels, without a GPU
  gpucnn train --tensorboard                    then: tensorboard --logdir runs
  gpucnn train --resume runs/seed1              gives the same weights as an uninterrupted run
  mpiexec -n 4 gpucnn train     four processes share each batch, also on several machines
  gpucnn train --init runs/seed1 --data mine/ --lr 0.01
                                                fine-tune its weights on other data
  gpucnn train --model rbm --hidden 256 --out runs/rbm
                                                a restricted Boltzmann machine, without labels
  gpucnn train --model mlp --init runs/rbm --limit 1000
                                                a network that begins with its weights
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``parser``."""

    # No defaults here: a resumed run takes the options that are not given from its config.json.
    def option(name: str, help: str, **rest: object) -> None:
        parser.add_argument(name, help=help, default=argparse.SUPPRESS, **rest)  # type: ignore[arg-type]

    data_and_model_options(option)
    step_options(option)
    _course_options(option)
    _rbm_options(option)
    _run_options(option)
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        default=None,
        metavar="DIR",
        help="continue the run in DIR (default: the folder given by --out)",
    )


def data_and_model_options(option: Callable[..., None]) -> None:
    """Add what is trained, on which data, and by which backend."""
    option("--backend", BACKEND_HELP, metavar="NAME")
    option("--precision", PRECISION_HELP, metavar="NAME")
    option(
        "--data",
        "mnist (default), a folder of IDX files, of images or of gpucnn pack, or an .npz, .csv or "
        ".parquet file",
        metavar="PATH",
    )
    option("--resize", RESIZE_HELP, metavar="HxW")
    option("--transpose", TRANSPOSE_HELP, metavar="HOW")
    option("--regression", REGRESSION_HELP, action="store_true")
    option("--targets", TARGETS_HELP, metavar="COLUMN[,COLUMN]")
    option("--limit", "use only the first N training images", type=int, metavar="N")
    option("--model", "network: {models}, or FILE.py:FUNCTION (default: lenet5)", metavar="NAME")
    option(
        "--init",
        "start from the weights of a run, of lenet5, which is ready-trained, or of a file: a "
        "checkpoint, a saved model, or a state_dict in a .safetensors or .npz file; without "
        "--model, its network is used",
        metavar="PATH",
    )


def step_options(option: Callable[..., None]) -> None:
    """Add what a training step depends on, except the learning rate."""
    option(
        "--recipe",
        "values of the options below that are not given: {recipes} (default: default); best is "
        "for the model digits_cnn and chooses it",
        metavar="NAME",
    )
    option("--batch-size", "number of images in a training step", type=int, metavar="N")
    option("--optimizer", "optimizer: {optimizers}", metavar="NAME")
    option("--momentum", "momentum, for sgd", type=float, metavar="X")
    option("--weight-decay", "weight decay", type=float, metavar="X")
    option("--loss", "loss function: {losses} (default for numbers: mse)", metavar="NAME")
    option(
        "--label-smoothing",
        "part of each label, 0 to 1, that cross-entropy spreads over all classes (default: 0)",
        type=float,
        metavar="X",
    )
    option(
        "--class-weights",
        "weight of each class in cross-entropy, such as 1,2.5,0.5, or balanced, with which all "
        "classes count alike",
        metavar="LIST",
    )
    option(
        "--clip-grad-norm",
        "scale gradients whose L2 norm, all together, is above X",
        type=float,
        metavar="X",
    )
    option(
        "--seed",
        "seed of the initial weights, the order of the images and what is drawn (default: 0)",
        type=int,
        metavar="N",
    )


def _course_options(option: Callable[..., None]) -> None:
    option("--epochs", "number of training epochs", type=int, metavar="N")
    option("--lr", "maximum learning rate", type=float, metavar="X")
    option("--schedule", "learning rate schedule: {schedules}", metavar="NAME")
    option(
        "--ema",
        "decay of a moving average of the weights, such as 0.999, which is evaluated and saved "
        "instead of them",
        type=float,
        metavar="X",
    )
    option(
        "--augment",
        "random changes of the training images, such as shift=2,rotate=10: shift and elastic in "
        "pixels, rotate and shear in degrees, scale as a part of the size, and the probabilities "
        "erase, flip and flip_vertical; default: changes for digits; none",
        metavar="LIST",
    )
    option(
        "--mixup",
        "mix each training image with another one, in shares from Beta(X, X), such as 0.2",
        type=float,
        metavar="X",
    )
    option("--validation", "hold out N training images for validation", type=int, metavar="N")
    option(
        "--early-stopping",
        "stop after N epochs without a better validation accuracy (for numbers: loss)",
        type=int,
        metavar="N",
    )
    option(
        "--keep-best",
        "keep the weights of the epoch with the best validation accuracy (for numbers: loss)",
        action="store_true",
    )


def _rbm_options(option: Callable[..., None]) -> None:
    option(
        "--hidden",
        "number of hidden units, for --model rbm and mlp (default: 128)",
        type=int,
        metavar="N",
    )
    option("--cd-k", "Gibbs steps of --model rbm in each step (default: 1)", type=int, metavar="K")
    option(
        "--persistent",
        "with --model rbm: chains that continue from step to step, instead of from the images",
        action="store_true",
    )
    option("--binarize", "with --model rbm: round pixels to 0 or 1", action="store_true")


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
        "--change-workers",
        "with --resume: continue with another number of processes; the results are then no longer "
        "those of a run that was never stopped",
        action="store_true",
    )
    option(
        "--group",
        "how processes that mpiexec started train together: auto (default) by MPI if there are "
        "several, and by NCCL between their GPUs if it works; mpi; nccl, which must work; or "
        "alone, each by itself",
        metavar="NAME",
    )
    option(
        "--checkpoint-every",
        "save a checkpoint every N steps, in addition to those after each epoch",
        type=int,
        metavar="N",
    )
    option(
        "--tensorboard",
        "write event files for TensorBoard to the folder of the run, or to DIR/NAME with the name "
        "of that folder",
        nargs="?",
        const=True,
        metavar="DIR",
    )
    option(
        "--report",
        "at the end, write report.html into the folder of the run, as gpucnn report does",
        action="store_true",
    )
    option("--out", "folder for the results (default: runs/MODEL-DATA-N)", metavar="DIR")
