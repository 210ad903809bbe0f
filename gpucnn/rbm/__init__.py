"""Restricted Boltzmann machines: trained without labels, by contrastive divergence.

>>> import gpucnn
>>> data = gpucnn.data.mnist().limit(200)
>>> machine = gpucnn.rbm.RBM((1, 28, 28), hidden=32)
>>> history = gpucnn.rbm.fit(machine, data, epochs=1, batch_size=20)
>>> machine.reconstruct(data.test.images[:3]).shape, machine.sample(2, steps=5).shape
((3, 1, 28, 28), (2, 1, 28, 28))

Its hidden units are the first layer of a network, which is then trained with labels:

>>> model = gpucnn.models.mlp(hidden=32)
>>> model.normalization = data.statistics()
>>> machine.initialize_layer(model)
'fc1'

Where to find what: ``model.py`` (units, energies, samples), ``contrast.py`` (gradients),
``evaluation.py`` (figures), ``fit.py`` and ``run.py`` (training), ``state.py`` and ``files.py``
(what is saved), ``events.py`` and ``progress.py`` (what is shown).
"""

from __future__ import annotations

from gpucnn.rbm.evaluation import Figures, evaluate
from gpucnn.rbm.events import EpochEnded, History
from gpucnn.rbm.files import load_rbm, save_rbm
from gpucnn.rbm.fit import events, fit
from gpucnn.rbm.model import RBM
from gpucnn.rbm.settings import Settings

__all__ = [
    "RBM",
    "EpochEnded",
    "Figures",
    "History",
    "Settings",
    "evaluate",
    "events",
    "fit",
    "load_rbm",
    "save_rbm",
]
