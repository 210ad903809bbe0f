"""What ``python -m bench scale`` is made of.

``model.py`` computes the time of a step of several ranks, ``assumptions.py`` has the figures for
machines that were not measured, ``predictions.py`` what follows from both. ``measurements.py``
and ``../sides/ranks.py`` measure on this machine, and ``plot.py`` draws.
"""
