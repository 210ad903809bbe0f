"""The table of cases. A case supplies the forward, backward and gradient tests of an operation.

To cover a new operation, write its loops in naive/ and add a case to its family here. The tests
find it, and take the arguments of its backward from the contract's signature.
"""

from gpucnn.testing.case import Case
from gpucnn.testing.cases.activations import ACTIVATIONS
from gpucnn.testing.cases.augmentation import AUGMENTATIONS
from gpucnn.testing.cases.boltzmann import BOLTZMANN
from gpucnn.testing.cases.convolution import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS
from gpucnn.testing.cases.joining import JOINING
from gpucnn.testing.cases.lenet5 import LENET5_STEPS
from gpucnn.testing.cases.linear import LINEAR
from gpucnn.testing.cases.losses import LOSSES
from gpucnn.testing.cases.normalization import NORMALIZATIONS
from gpucnn.testing.cases.pooling import POOLINGS
from gpucnn.testing.cases.random import RANDOM
from gpucnn.testing.cases.recurrent import RECURRENT
from gpucnn.testing.cases.resampling import RESAMPLINGS
from gpucnn.testing.cases.training import TRAINING

__all__ = ["ALL_CASES", "CASES", "CONVOLUTIONS", "LINEAR", "TRANSPOSED_CONVOLUTIONS"]

CASES: list[Case] = [
    *BOLTZMANN,
    *CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS, *POOLINGS, *RESAMPLINGS, *ACTIVATIONS,
    *NORMALIZATIONS, *RANDOM, *LINEAR, *JOINING, *RECURRENT, *LOSSES, *AUGMENTATIONS, *TRAINING,
]  # fmt: skip
"""The cases of the contract's operations."""

ALL_CASES = [*CASES, *LENET5_STEPS]
