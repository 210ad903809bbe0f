"""The options of ``gpucnn import``."""

from __future__ import annotations

import argparse

EPILOG = """\
Names and shapes must be those of the network's state_dict, which are PyTorch's: see gpucnn summary.
A prefix that all names share, such as "module.", is left out. In PyTorch, weights are saved with
safetensors.torch.save_file(model.state_dict(), "w.safetensors").

examples:
  gpucnn import w.safetensors model.npz --model lenet5 --mean 0.1307 --std 0.3081 --prepare digit
  gpucnn import w.npz model.npz --model net.py:build --input 3x32x32 --classes cat,dog
  gpucnn evaluate model.npz --data mnist
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``parser``."""
    parser.add_argument(
        "weights", metavar="WEIGHTS", help="a state_dict: *.safetensors, or *.npz by numpy.savez"
    )
    parser.add_argument("file", metavar="FILE", help="file of the saved network to write: *.npz")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="network: {models}, or FILE.py:FUNCTION; not needed for files of gpucnn export",
    )
    parser.add_argument("--input", metavar="CxHxW", help="shape of the images (default: 1x28x28)")
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        help="names of the classes, such as cat,dog, or their number (default: as in WEIGHTS)",
    )
    parser.add_argument(
        "--mean",
        metavar="X[,X,X]",
        help="mean of each channel, of pixels from 0 to 1, that the network was trained with",
    )
    parser.add_argument("--std", metavar="X[,X,X]", help="standard deviation of each channel")
    parser.add_argument(
        "--output",
        metavar="NAME",
        help="function from scores to probabilities: softmax (default), sigmoid or none",
    )
    parser.add_argument(
        "--prepare",
        metavar="HOW",
        help="how gpucnn predict prepares images: digit, as for MNIST, or plain, only resized",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
