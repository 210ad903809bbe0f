"""Convolutional networks in NumPy and CUDA C: see ``gpucnn.models`` and ``gpucnn.fit``."""
