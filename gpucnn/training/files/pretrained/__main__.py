"""``python -m gpucnn.training.files.pretrained RUN FILE``: make a ready-trained network of a run.

The file has everything of the run's checkpoint but what only resuming the run and recognising its
training images need: those are of MNIST, which comes with gpucnn.
"""

from __future__ import annotations

import sys

from gpucnn.training.files.checkpoint import Checkpoint, load, save

run, file = sys.argv[1:]
saved = load(run)
weights = {name: a for name, a in saved.arrays.items() if name.startswith("parameters/")}
save(file, Checkpoint(saved.metadata, weights))
