"""Convolutional networks in NumPy, and in CUDA C behind the same interface.

``data = gpucnn.data.mnist()``, ``model = gpucnn.models.lenet5()``, and
``for event in gpucnn.fit(model, data): ...`` train LeNet-5 on MNIST; ``gpucnn.get_backend`` gives
the operations one by one.
"""

from gpucnn import arithmetic, data, errors, events, layers, losses, models, optim, schedules
from gpucnn.backends import Backend, get_backend
from gpucnn.checkpoint import load_model
from gpucnn.data import Data, Split
from gpucnn.errors import GpucnnError
from gpucnn.evaluation import Evaluation, evaluate
from gpucnn.model import Sequential
from gpucnn.settings import Settings
from gpucnn.train import fit
from gpucnn.version import __version__

__all__ = [
    "Backend",
    "Data",
    "Evaluation",
    "GpucnnError",
    "Sequential",
    "Settings",
    "Split",
    "__version__",
    "arithmetic",
    "data",
    "errors",
    "evaluate",
    "events",
    "fit",
    "get_backend",
    "layers",
    "load_model",
    "losses",
    "models",
    "optim",
    "schedules",
]
