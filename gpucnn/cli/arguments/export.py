"""The options of ``gpucnn export``."""

from __future__ import annotations

import argparse

from gpucnn.cli.arguments.shared import CHECKPOINT_HELP, SOURCE_HELP

EPILOG = """\
An ONNX file takes "images", uint8 (N, C, H, W), normalises them itself and gives "probabilities",
(N, classes). It runs wherever opset 13 does: ONNX Runtime since 1.6, browsers, phones, TensorRT.
A safetensors file has PyTorch's names: model.load_state_dict(safetensors.torch.load_file(FILE)).

examples:
  gpucnn export lenet5 digits.onnx              the ready-trained network for digits
  gpucnn export runs/mine net.onnx --raw        from normalised float32 "input" to "scores"
  gpucnn export runs/mine weights.safetensors   for PyTorch
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``parser``."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=CHECKPOINT_HELP)
    parser.add_argument(
        "file", metavar="FILE", help="file to write: *.onnx, *.safetensors, or *.npz (a state_dict)"
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="the network alone, for ONNX: without normalisation and probabilities",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    parser.add_argument("--model", metavar="FILE.py:FUNCTION", help=SOURCE_HELP)
