"""Every operation of the contract as plain loops over numbers, in float64.

These are the references for the backends, and share no code with gpucnn. Each is written from the
definition of the operation, for small arrays, one element at a time. A function has the name and
arguments of the contract's method. Arguments may have any dtype; results are float64, and int64 for
indices and labels. Operations that work in place change their arguments.
"""

from gpucnn.testing.naive.activations import *  # noqa: F403
from gpucnn.testing.naive.augmentation import *  # noqa: F403
from gpucnn.testing.naive.boltzmann import *  # noqa: F403
from gpucnn.testing.naive.convolution import *  # noqa: F403
from gpucnn.testing.naive.joining import *  # noqa: F403
from gpucnn.testing.naive.linear import *  # noqa: F403
from gpucnn.testing.naive.losses import *  # noqa: F403
from gpucnn.testing.naive.normalization import *  # noqa: F403
from gpucnn.testing.naive.pooling import *  # noqa: F403
from gpucnn.testing.naive.random import *  # noqa: F403
from gpucnn.testing.naive.recurrent import *  # noqa: F403
from gpucnn.testing.naive.resampling import *  # noqa: F403
from gpucnn.testing.naive.training import *  # noqa: F403
