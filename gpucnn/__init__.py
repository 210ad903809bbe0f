"""Convolutional networks in NumPy, and in CUDA C behind the same interface.

>>> import gpucnn
>>> data = gpucnn.data.mnist().limit(200)
>>> model = gpucnn.models.lenet5(seed=0)
>>> history = gpucnn.fit(model, data, epochs=2, batch_size=20)
>>> len(history)
2

``evaluate`` measures the accuracy of a model, ``predict_file`` classifies an image file,
``save_model`` and ``load_model`` write and read a model, and ``get_backend`` gives access to single
operations. ``nn`` has layers and losses, ``optim`` optimizers and learning-rate schedules,
``data`` readers of data sets, ``models`` networks. ``exchange`` writes ONNX and safetensors files.
The file ``README.md`` in this folder is a map of the package.
"""

from __future__ import annotations

from gpucnn.version import __version__

# The command can handle signals only after this file has run, so it imports nothing, not typing.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gpucnn import (
        arithmetic,
        backends,
        data,
        errors,
        exchange,
        models,
        nn,
        optim,
        plots,
        rbm,
        rng,
        training,
    )
    from gpucnn.backends import Augmentation, Backend, get_backend
    from gpucnn.data import Data, Split
    from gpucnn.errors import GpucnnError
    from gpucnn.nn import Sequential
    from gpucnn.training.files.model_files import load_model, save_model
    from gpucnn.training.files.weight_files import load_weights
    from gpucnn.training.fit import fit
    from gpucnn.training.history import History
    from gpucnn.training.results.evaluation import evaluate
    from gpucnn.training.results.figures import Evaluation
    from gpucnn.training.results.prediction import Prediction, predict_file
    from gpucnn.training.settings import Settings

__all__ = [
    "Augmentation",
    "Backend",
    "Data",
    "Evaluation",
    "GpucnnError",
    "History",
    "Prediction",
    "Sequential",
    "Settings",
    "Split",
    "__version__",
    "arithmetic",
    "backends",
    "data",
    "errors",
    "evaluate",
    "exchange",
    "fit",
    "get_backend",
    "load_model",
    "load_weights",
    "models",
    "nn",
    "optim",
    "plots",
    "predict_file",
    "rbm",
    "rng",
    "save_model",
    "training",
]

_HOMES = {
    "Augmentation": "backends",
    "Backend": "backends",
    "Data": "data",
    "Evaluation": "training.results.figures",
    "GpucnnError": "errors",
    "History": "training.history",
    "Prediction": "training.results.prediction",
    "Sequential": "nn",
    "Settings": "training.settings",
    "Split": "data",
    "evaluate": "training.results.evaluation",
    "fit": "training.fit",
    "get_backend": "backends",
    "load_model": "training.files.model_files",
    "load_weights": "training.files.weight_files",
    "predict_file": "training.results.prediction",
    "save_model": "training.files.model_files",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: the command must set up NumPy's libraries before NumPy loads."""
    if name not in __all__:
        raise AttributeError(f"module 'gpucnn' has no attribute {name!r}")
    from importlib import import_module

    if name in _HOMES:
        value = getattr(import_module(f"gpucnn.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    return import_module(f"gpucnn.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)
