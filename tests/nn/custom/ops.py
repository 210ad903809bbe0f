"""Operations of a user: one that needs its input, one that saves, one with weights."""

from dataclasses import dataclass

import numpy as np

from gpucnn import nn


@dataclass(eq=False, repr=False)
class Leaky(nn.CustomOp):
    slope: float = 0.25

    source = "ops.cu"

    def forward_numpy(self, input):
        return np.where(input > 0, input, self.slope * input)

    def backward_numpy(self, grad, input):
        return np.where(input > 0, grad, self.slope * grad)

    def forward_cuda(self, kernels, input, output):
        n = input.size
        kernels.leaky[nn.cdiv(n, 64), 64](input, output, n, self.slope)

    def backward_cuda(self, kernels, grad, input, input_grad):
        n = input.size
        kernels["leaky_backward"][(nn.cdiv(n, 64),), (64, 1)](
            grad, input, input_grad, n, self.slope
        )


@dataclass(eq=False, repr=False)
class Clamp(nn.CustomOp):
    """The forward saves where it kept its input."""

    limit: float = 1.0

    source = "ops.cu"

    def forward_numpy(self, input):
        output = np.clip(input, -self.limit, self.limit)
        return output, output == input

    def backward_numpy(self, grad, saved):
        return grad * saved

    def forward_cuda(self, kernels, input, output):
        n, kept = input.size, kernels.empty(input.shape)
        kernels.clamped[nn.cdiv(n, 256), 256](input, output, kept, n, self.limit, True)
        return kept

    def backward_cuda(self, kernels, grad, saved, input_grad):
        n = grad.size
        kernels.multiply[nn.cdiv(n, 128), 128](grad, saved, input_grad, n)


@dataclass(eq=False, repr=False)
class ScaleChannels(nn.CustomOp):
    channels: int

    source = "ops.cu"

    def __post_init__(self):
        self.register_parameter("weight", nn.Parameter((self.channels,), init=0.5))

    @staticmethod
    def examples():
        return [(ScaleChannels(3), (3, 5, 7)), (ScaleChannels(1), (1, 4, 9))]

    def forward_numpy(self, input, weight):
        return weight[:, None, None] * input

    def backward_numpy(self, grad, input, weight):
        return weight[:, None, None] * grad, (grad * input).sum((0, 2, 3))

    def forward_cuda(self, kernels, input, weight, output):
        self.scale(kernels, input, weight, output)

    def backward_cuda(self, kernels, grad, input, weight, input_grad, weight_grad):
        batch, channels, height, width = input.shape
        self.scale(kernels, grad, weight, input_grad)
        kernels.scale_channels_weight[channels, 32, 32 * grad.dtype.itemsize](
            grad, input, weight_grad, batch, channels, height * width
        )

    def scale(self, kernels, x, weight, y):
        batch, channels, height, width = x.shape
        grid = (nn.cdiv(width, 8), nn.cdiv(height, 4), batch * channels)
        kernels.scale_channels[grid, (8, 4)](x, weight, y, channels, height, width)


def build(channels, size, classes):
    layers = {
        "scale": ScaleChannels(channels),
        "leaky": Leaky(),
        "clamp": Clamp(2.0),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(channels * size[0] * size[1], classes),
    }
    return nn.Sequential(layers, (channels, *size))
