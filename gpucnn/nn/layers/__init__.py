"""Layers: each computes its output shape and calls the backend's operations.

Shapes of layers leave out the batch: (C, H, W) for feature maps, (F,) for features, (T, F) for
sequences of T steps. Names, arguments and defaults are PyTorch's.
"""

from gpucnn.nn.layers.activations import (
    ELU,
    GELU,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from gpucnn.nn.layers.base import Layer, TrainingPass
from gpucnn.nn.layers.containers import Concat, Residual
from gpucnn.nn.layers.convolution import Conv2d, ConvTranspose2d
from gpucnn.nn.layers.dropout import Dropout, Dropout2d
from gpucnn.nn.layers.linear import Flatten, Linear
from gpucnn.nn.layers.normalization import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm
from gpucnn.nn.layers.pooling import AvgPool2d, LPPool2d, MaxPool2d, SumPool2d
from gpucnn.nn.layers.recurrent import GRU, RNN, Rows
from gpucnn.nn.layers.resampling import AdaptiveAvgPool2d, AdaptiveMaxPool2d, Upsample
from gpucnn.nn.layers.state import Buffer, Parameter

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "RNN",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Buffer",
    "Concat",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "GroupNorm",
    "LPPool2d",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MaxPool2d",
    "Parameter",
    "ReLU",
    "Residual",
    "Rows",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "SumPool2d",
    "Tanh",
    "TrainingPass",
    "Upsample",
]
