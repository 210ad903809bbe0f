"""``python -m gpucnn.training.pretrained RUN FILE``: write a run's network as a ready-trained one.

The file has everything of the run's checkpoint but what only resuming the run and recognising its
training images need: those are of MNIST, which comes with gpucnn.
"""

from __future__ import annotations

import sys

from gpucnn.training.checkpoint import Checkpoint, load, save

run, file = sys.argv[1:]
saved = load(run)
weights = {name: a for name, a in saved.arrays.items() if name.startswith("parameters/")}
save(file, Checkpoint(saved.metadata, weights))
