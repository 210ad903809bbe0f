"""What a network is made of: ``Sequential``, layers and losses, with PyTorch's names and meaning.

Shapes of layers leave out the batch: (C, H, W) for feature maps, (F,) for features, (T, F) for
sequences of T steps.
"""

from gpucnn.nn.filters import apply_filter, filter_matrix
from gpucnn.nn.layers import (
    ELU,
    GELU,
    GRU,
    RNN,
    AvgPool2d,
    Buffer,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Dropout2d,
    Flatten,
    Layer,
    LeakyReLU,
    Linear,
    LPPool2d,
    MaxPool2d,
    Parameter,
    ReLU,
    Residual,
    Rows,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    SumPool2d,
    Tanh,
    TrainingPass,
)
from gpucnn.nn.layers.custom import CustomOp, cdiv
from gpucnn.nn.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HalfSquaredError,
    Loss,
    MSELoss,
)
from gpucnn.nn.saliency import gradient_saliency, occlusion_saliency
from gpucnn.nn.sequential import Sequential
from gpucnn.nn.units import receptive_field

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "RNN",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "Buffer",
    "Concat",
    "Conv2d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "CustomOp",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "HalfSquaredError",
    "LPPool2d",
    "Layer",
    "LeakyReLU",
    "Linear",
    "Loss",
    "MSELoss",
    "MaxPool2d",
    "Parameter",
    "ReLU",
    "Residual",
    "Rows",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "SumPool2d",
    "Tanh",
    "TrainingPass",
    "apply_filter",
    "cdiv",
    "filter_matrix",
    "gradient_saliency",
    "occlusion_saliency",
    "receptive_field",
]
